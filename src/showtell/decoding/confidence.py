"""How likely a caption is a good one: logistic regression on what the beam search saw.

Whether a caption is good is for the caller to say (the exporter: its CIDEr against the photo's
references reaches a threshold); what is fitted here turns log-probabilities into the chance of
that (Platt, "Probabilistic Outputs for Support Vector Machines", 1999).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from showtell.decoding.beam_search import Hypothesis

_ROUNDS = 50


def _margin(hypotheses: Sequence[Hypothesis]) -> float:
    return hypotheses[0].score - hypotheses[1].score if len(hypotheses) > 1 else 0.0


def _mean_log_probability(hypotheses: Sequence[Hypothesis]) -> float:
    best = hypotheses[0]
    return best.log_probability / (len(best.tokens) + best.finished)


# each is a function of a photo's hypotheses, best first
FEATURES: dict[str, Callable[[Sequence[Hypothesis]], float]] = {
    "mean_log_probability": _mean_log_probability,
    "least_word_log_probability": lambda found: min(found[0].word_log_probabilities),
    "words": lambda found: float(len(found[0].tokens)),
    "margin": _margin,
}


def features_of(
    hypotheses: Sequence[Hypothesis], names: Sequence[str] = tuple(FEATURES)
) -> list[float]:
    """Return the features of a photo's best hypothesis; `hypotheses` come best first, two or more.

    With one hypothesis only, the margin to the second is 0.
    """
    return [FEATURES[name](hypotheses) for name in names]


def fit(
    features: ArrayLike,
    good: ArrayLike,
    *,
    measure: str,
    ridge: float = 1.0,
    names: Sequence[str] = tuple(FEATURES),
) -> dict[str, Any]:
    """Fit the chance that a caption is good to `features` [photos, features] and `good` [photos].

    `measure` says what good means. Returns plain data for `predict`. Features are standardised,
    weights held back by `ridge`, and labels smoothed as Platt does, so that a set on which
    everything is good gives no certainty. Newton's method with halved steps.

    Raises ValueError where there are no photos or the shapes do not fit.
    """
    values = np.asarray(features, np.float64)
    labels = np.asarray(good, np.bool_)
    if values.ndim != 2 or values.shape != (len(labels), len(names)) or not len(labels):
        raise ValueError(f"features {list(values.shape)} do not fit {len(labels)} labels")
    mean, scale = values.mean(axis=0), values.std(axis=0)
    scale[scale < 1e-9] = 1.0
    inputs = np.column_stack([np.ones(len(values)), (values - mean) / scale])
    yes = int(labels.sum())
    targets = np.where(labels, (yes + 1) / (yes + 2), 1 / (len(labels) - yes + 2))
    penalty = np.full(inputs.shape[1], ridge)
    penalty[0] = 0.0  # the base rate is free
    weights = np.zeros(inputs.shape[1])
    loss = _loss(weights, inputs, targets, penalty)
    for _ in range(_ROUNDS):
        chance = _logistic(inputs @ weights)
        slope = inputs.T @ (chance - targets) + penalty * weights
        curve = (inputs.T * (chance * (1 - chance))) @ inputs + np.diag(penalty + 1e-9)
        step = np.linalg.solve(curve, slope)
        reached = _loss(weights - step, inputs, targets, penalty)
        while reached > loss and np.abs(step).max() > 1e-9:
            step = step / 2
            reached = _loss(weights - step, inputs, targets, penalty)
        if loss - reached < 1e-10 * (1 + loss):
            break
        weights, loss = weights - step, reached
    return {
        "measure": measure,
        "features": list(names),
        "mean": mean.tolist(),
        "scale": scale.tolist(),
        "weights": weights[1:].tolist(),
        "intercept": float(weights[0]),
        "photos": len(labels),
        "good": yes,
    }


def predict(hypotheses: Sequence[Hypothesis], fitted: Mapping[str, Any]) -> float | None:
    """Return the chance, 0 to 1, that the best of `hypotheses` is a good caption.

    None where `fitted` uses features that this version does not know.
    """
    if not set(fitted["features"]) <= FEATURES.keys():
        return None
    values = features_of(hypotheses, fitted["features"])
    total = fitted["intercept"] + sum(
        weight * (value - mean) / scale
        for weight, value, mean, scale in zip(
            fitted["weights"], values, fitted["mean"], fitted["scale"], strict=True
        )
    )
    return 1 / (1 + math.exp(-min(max(total, -500.0), 500.0)))


@dataclass(frozen=True)
class ReliabilityBin:
    """Captions of similar confidence: how sure the model was, and how often it was right."""

    low: float
    high: float
    count: int
    confidence: float  # mean
    good: float  # share


def reliability(confidences: ArrayLike, good: ArrayLike, bins: int = 10) -> list[ReliabilityBin]:
    """Sort captions into `bins` equal steps of confidence, for a reliability diagram.

    Empty bins are left out; a confidence of exactly 1 belongs to the last bin.
    """
    values, labels = np.asarray(confidences, np.float64), np.asarray(good, np.bool_)
    place = np.minimum((values * bins).astype(int), bins - 1)
    return [
        ReliabilityBin(
            index / bins,
            (index + 1) / bins,
            int(own.sum()),
            float(values[own].mean()),
            float(labels[own].mean()),
        )
        for index in range(bins)
        if (own := place == index).any()
    ]


def expected_calibration_error(confidences: ArrayLike, good: ArrayLike, bins: int = 10) -> float:
    """Return the mean distance of confidence from share of good, weighted by bin size.

    Naeini et al., "Obtaining Well Calibrated Probabilities Using Bayesian Binning", 2015.
    """
    found = reliability(confidences, good, bins)
    total = sum(item.count for item in found)
    return sum(item.count * abs(item.confidence - item.good) for item in found) / max(1, total)


def _logistic(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return 1 / (1 + np.exp(-np.clip(values, -500, 500)))


def _loss(
    weights: NDArray[np.float64],
    inputs: NDArray[np.float64],
    targets: NDArray[np.float64],
    penalty: NDArray[np.float64],
) -> float:
    scores = inputs @ weights
    # log(1 + exp(s)) - t s, without overflow
    return float(
        (np.logaddexp(0, scores) - targets * scores).sum() + (penalty * weights**2).sum() / 2
    )
