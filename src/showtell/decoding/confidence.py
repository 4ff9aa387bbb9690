"""Confidence: the probability that a caption is good, from the log-probabilities of its search.

A logistic regression over a few features of a photo's hypotheses (Platt, "Probabilistic Outputs
for Support Vector Machines", 1999). The caller decides which captions count as good; `showtell
export` uses a threshold on CIDEr.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from showtell.decoding.beam_search import Hypothesis

_MAX_ROUNDS = 50  # of Newton's method
_LARGEST_LOGIT = 500.0  # beyond it exp overflows
_BOUNDS = {"ge": -1e9, "le": 1e9}  # of coefficients

Hypotheses = Sequence[Hypothesis]  # of one photo, best first


def _mean_log_probability(hypotheses: Hypotheses) -> float:
    best = hypotheses[0]
    return best.log_probability / (len(best.tokens) + best.finished)


def _least_word_log_probability(hypotheses: Hypotheses) -> float:
    return min(hypotheses[0].word_log_probabilities)


def _words(hypotheses: Hypotheses) -> float:
    return float(len(hypotheses[0].tokens))


def _margin(hypotheses: Hypotheses) -> float:
    return hypotheses[0].score - hypotheses[1].score if len(hypotheses) > 1 else 0.0


FEATURES: dict[str, Callable[[Hypotheses], float]] = {
    "mean_log_probability": _mean_log_probability,
    "least_word_log_probability": _least_word_log_probability,
    "words": _words,
    "margin": _margin,
}


@dataclass(frozen=True)
class ConfidenceLevel:
    """What a confidence of at least `minimum` means to a person; the web page has the same."""

    minimum: float
    name: str
    title: str

    @property
    def mark(self) -> str:
        """The title as a mark behind a caption: `[unsure: check it]`."""
        return f"[{self.title[0].lower()}{self.title[1:]}]"


CONFIDENCE_LEVELS = (
    ConfidenceLevel(0.6, "sure", "Fairly sure"),
    ConfidenceLevel(0.3, "unsure", "Unsure: check it"),
    ConfidenceLevel(0.0, "guess", "A guess: probably wrong"),
)


def confidence_level(confidence: float) -> ConfidenceLevel:
    """Return the level of a confidence, from 0 to 1; a number below is a guess."""
    *surer, guess = CONFIDENCE_LEVELS
    return next((level for level in surer if confidence >= level.minimum), guess)


GUESS_BELOW = CONFIDENCE_LEVELS[1].minimum  # a caption with a lower confidence is probably wrong


def doubt_about(confidence: float | None) -> ConfidenceLevel | None:
    """Return the level of a caption that is not sure, else None; so too without a confidence."""
    level = None if confidence is None else confidence_level(confidence)
    return None if level is CONFIDENCE_LEVELS[0] else level


@dataclass(frozen=True)
class ReliabilityBin:
    """Captions of similar confidence: their mean confidence, and the share that is good."""

    confidence: float = field(metadata={"ge": 0, "le": 1})
    good: float = field(metadata={"ge": 0, "le": 1})
    count: int = field(metadata={"ge": 1, "le": 10**12})


@dataclass(frozen=True)
class CalibrationCheck:
    """How well a calibration holds on photos that it was not fitted on."""

    photos: int = field(metadata={"ge": 1, "le": 10**12})
    good: float = field(metadata={"ge": 0, "le": 1})  # share
    expected_calibration_error: float = field(metadata={"ge": 0, "le": 1})
    reliability: tuple[ReliabilityBin, ...] = field(metadata={"longest": 1000})


@dataclass(frozen=True)
class Calibration:
    """A fitted logistic regression; a bundle's manifest holds one as `confidence`.

    `measure` says what a good caption is. `mean`, `scale` and `weights` have one value per
    feature. `photos` and `good` count the captions it was fitted on.
    """

    measure: str = field(metadata={"longest": 1000})
    features: tuple[str, ...] = field(metadata={"longest": 100})
    mean: tuple[float, ...] = field(metadata=_BOUNDS)
    scale: tuple[float, ...] = field(metadata={"ge": 1e-9, "le": 1e9})
    weights: tuple[float, ...] = field(metadata=_BOUNDS)
    intercept: float = field(metadata=_BOUNDS)
    photos: int = field(default=0, metadata={"ge": 0, "le": 10**12})
    good: int = field(default=0, metadata={"ge": 0, "le": 10**12})
    dev_second_half: CalibrationCheck | None = None

    def __post_init__(self) -> None:
        for name in ("mean", "scale", "weights"):
            if len(getattr(self, name)) != len(self.features):
                raise ValueError(f"{name}: must hold one number for each of the features")


def features_of(hypotheses: Hypotheses, names: Sequence[str] = tuple(FEATURES)) -> list[float]:
    """Return the features of a photo's best hypothesis; `hypotheses` are sorted, best first.

    The margin is 0 where there is no second hypothesis.
    """
    return [FEATURES[name](hypotheses) for name in names]


def fit(
    features: ArrayLike,
    is_good: ArrayLike,
    *,
    measure: str,
    ridge: float = 1.0,
    names: Sequence[str] = tuple(FEATURES),
) -> Calibration:
    """Fit the probability that a caption is good, by Newton's method with halved steps.

    `features` is [photos, features], `is_good` is bool [photos]; `measure` says what good means.
    Features are standardised and weights penalised by `ridge`. Labels are smoothed as Platt does,
    so that a set in which every caption is good does not lead to certainty.

    Raises ValueError where there are no photos or the shapes do not fit.
    """
    values = np.asarray(features, np.float64)
    labels = np.asarray(is_good, np.bool_)
    if values.ndim != 2 or values.shape != (len(labels), len(names)) or not len(labels):
        raise ValueError(f"features {list(values.shape)} do not fit {len(labels)} labels")
    mean, scale = values.mean(axis=0), values.std(axis=0)
    scale[scale < 1e-9] = 1.0
    inputs = np.column_stack([np.ones(len(values)), (values - mean) / scale])
    good_count = int(labels.sum())
    bad_count = len(labels) - good_count
    targets = np.where(labels, (good_count + 1) / (good_count + 2), 1 / (bad_count + 2))
    penalty = np.full(inputs.shape[1], ridge)
    penalty[0] = 0.0  # the intercept is free
    weights = _newton(inputs, targets, penalty)
    return Calibration(
        measure=measure,
        features=tuple(names),
        mean=tuple(mean.tolist()),
        scale=tuple(scale.tolist()),
        weights=tuple(weights[1:].tolist()),
        intercept=float(weights[0]),
        photos=len(labels),
        good=good_count,
    )


def predict(hypotheses: Hypotheses, calibration: Calibration) -> float | None:
    """Return the probability that the best of a photo's hypotheses is a good caption.

    None where the calibration uses features that this version does not know.
    """
    if not set(calibration.features) <= FEATURES.keys():
        return None
    values = features_of(hypotheses, calibration.features)
    logit = calibration.intercept + sum(
        weight * (value - mean) / scale
        for weight, value, mean, scale in zip(
            calibration.weights, values, calibration.mean, calibration.scale, strict=True
        )
    )
    return 1 / (1 + math.exp(-min(max(logit, -_LARGEST_LOGIT), _LARGEST_LOGIT)))


def reliability(confidences: ArrayLike, is_good: ArrayLike, bins: int = 10) -> list[ReliabilityBin]:
    """Sort captions into `bins` equal intervals of confidence, for a reliability diagram.

    `is_good` is bool, or the probability that each caption is good. Empty bins are left out; a
    confidence of exactly 1 belongs to the last bin.
    """
    values, labels = np.asarray(confidences, np.float64), np.asarray(is_good, np.float64)
    indices = np.minimum((values * bins).astype(int), bins - 1)
    return [
        ReliabilityBin(
            confidence=float(values[members].mean()),
            good=float(labels[members].mean()),
            count=int(members.sum()),
        )
        for index in range(bins)
        if (members := indices == index).any()
    ]


def expected_calibration_error(confidences: ArrayLike, is_good: ArrayLike, bins: int = 10) -> float:
    """Return the mean distance between confidence and share of good captions, over all captions.

    Naeini et al., "Obtaining Well Calibrated Probabilities Using Bayesian Binning", 2015.
    """
    filled = reliability(confidences, is_good, bins)
    total = sum(item.count for item in filled)
    return sum(item.count * abs(item.confidence - item.good) for item in filled) / max(1, total)


def _newton(
    inputs: NDArray[np.float64], targets: NDArray[np.float64], penalty: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Minimise the penalised cross-entropy of `targets` [photos] given `inputs` [photos, n]."""
    weights = np.zeros(inputs.shape[1])
    loss = _loss(weights, inputs, targets, penalty)
    for _ in range(_MAX_ROUNDS):
        chance = _logistic(inputs @ weights)
        gradient = inputs.T @ (chance - targets) + penalty * weights
        hessian = (inputs.T * (chance * (1 - chance))) @ inputs + np.diag(penalty + 1e-9)
        step = np.linalg.solve(hessian, gradient)
        next_loss = _loss(weights - step, inputs, targets, penalty)
        while next_loss > loss and np.abs(step).max() > 1e-9:
            step = step / 2
            next_loss = _loss(weights - step, inputs, targets, penalty)
        if loss - next_loss < 1e-10 * (1 + loss):
            break
        weights, loss = weights - step, next_loss
    return weights


def _logistic(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return 1 / (1 + np.exp(-np.clip(values, -_LARGEST_LOGIT, _LARGEST_LOGIT)))


def _loss(
    weights: NDArray[np.float64],
    inputs: NDArray[np.float64],
    targets: NDArray[np.float64],
    penalty: NDArray[np.float64],
) -> float:
    logits = inputs @ weights
    # log(1 + exp(s)) - t s, without overflow
    return float(
        (np.logaddexp(0, logits) - targets * logits).sum() + (penalty * weights**2).sum() / 2
    )
