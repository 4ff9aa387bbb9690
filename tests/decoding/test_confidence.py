from __future__ import annotations

import json
from dataclasses import asdict, replace

import numpy as np
import pytest

from showtell.decoding.beam_search import Hypothesis
from showtell.decoding.confidence import (
    FEATURES,
    Calibration,
    confidence_level,
    expected_calibration_error,
    features_of,
    fit,
    predict,
    reliability,
)
from showtell.errors import BundleError
from showtell.files.typed_settings import load_settings


def hypotheses(*word_log_probabilities: float, margin: float = 0.1) -> list[Hypothesis]:
    total = sum(word_log_probabilities) - 0.1
    count = len(word_log_probabilities)
    best = Hypothesis(
        (5,) * count, total, total / (count + 1), tuple(word_log_probabilities), None, True
    )
    second = Hypothesis((6,), -9.0, best.score - margin, (-9.0,), None, True)
    return [best, second]


def test_features_are_those_of_the_best_hypothesis() -> None:
    values = features_of(hypotheses(-0.5, -2.0, -0.4, margin=0.25))
    assert dict(zip(FEATURES, values, strict=True)) == pytest.approx(
        {
            "mean_log_probability": -0.75,
            "least_word_log_probability": -2.0,
            "words": 3,
            "margin": 0.25,
        }
    )


def test_lone_hypothesis_has_no_margin() -> None:
    assert features_of(hypotheses(-0.5)[:1])[-1] == 0


def drawn(count: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features, labels, and the true chances that the labels were drawn by."""
    draw = np.random.default_rng(seed)
    values = draw.normal(size=(count, 4)) * [1, 5, 0.1, 3] + [-1, 7, 0, 2]
    logits = 1.5 * (values[:, 0] + 1) - 0.4 * (values[:, 1] - 7) + 0.5
    chances = 1 / (1 + np.exp(-logits))
    return values, draw.random(count) < chances, chances


def test_fit_recovers_the_chances_that_labels_were_drawn_by() -> None:
    fitted = fit(*drawn(5000, 1)[:2], measure="drawn")
    values, good, chances = drawn(2000, 2)
    logits = fitted.intercept + (values - fitted.mean) / fitted.scale @ fitted.weights
    found = 1 / (1 + np.exp(-logits))
    assert np.abs(found - chances).mean() < 0.03
    assert expected_calibration_error(found, good) < 0.04


def test_prediction_rises_with_what_made_captions_good_and_survives_json() -> None:
    draw = np.random.default_rng(0)
    photos = [hypotheses(*(-draw.exponential(1, size=5))) for _ in range(300)]
    values = [features_of(found) for found in photos]
    good = [row[0] > -1 for row in values]
    fitted = load_settings(
        Calibration,
        json.loads(json.dumps(asdict(fit(values, good, measure="surer than -1")))),
        error=BundleError,
    )
    sure, unsure = hypotheses(-0.1, -0.2, -0.1), hypotheses(-3.0, -4.0, -2.0)
    high, low = predict(sure, fitted), predict(unsure, fitted)
    assert high is not None
    assert low is not None
    assert 0 <= low < 0.2 < 0.8 < high <= 1
    assert fitted.measure == "surer than -1"


@pytest.mark.parametrize("label", [True, False])
def test_set_of_one_kind_gives_no_certainty(label: bool) -> None:
    values = drawn(50, 3)[0]
    fitted = fit(values, [label] * 50, measure="all alike")
    chance = predict(hypotheses(-1.0), fitted)
    assert chance is not None
    assert 0 < chance < 1
    assert (chance > 0.5) == label


def test_constant_and_separating_features_do_not_break_the_fit() -> None:
    values = np.column_stack([np.arange(40.0), np.ones(40), np.ones(40), np.arange(40.0)])
    fitted = fit(values, np.arange(40) >= 20, measure="separable")
    assert np.isfinite([*fitted.weights, fitted.intercept]).all()


def test_shapes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="labels"):
        fit(np.zeros((3, 4)), [True], measure="x")
    with pytest.raises(ValueError, match="labels"):
        fit(np.zeros((0, 4)), [], measure="x")


def test_calibration_of_a_newer_version_gives_no_confidence() -> None:
    fitted = replace(fit(*drawn(50, 1)[:2], measure="x"), features=("something_new",) * 4)
    assert predict(hypotheses(-1.0), fitted) is None


def test_reliability_counts_every_caption_once() -> None:
    found = reliability([0.05, 0.15, 0.18, 1.0], [False, True, False, True])
    assert [(b.count, min(int(10 * b.confidence), 9) / 10, b.good) for b in found] == [
        (1, 0.0, 0.0),
        (2, 0.1, 0.5),
        (1, 0.9, 1.0),
    ]
    error = expected_calibration_error([0.05, 0.15, 0.18, 1.0], [False, True, False, True])
    assert error == pytest.approx((0.05 + 2 * (0.5 - 0.165) + 0) / 4)


def test_number_below_zero_is_a_guess() -> None:
    assert confidence_level(-1.0).name == "guess"
