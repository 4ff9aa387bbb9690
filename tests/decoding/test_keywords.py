from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from showtell.decoding.keywords import (
    FEATURES,
    LEAST_PROBABILITY,
    MOST_KEYWORDS,
    KeywordCalibration,
    KeywordModel,
)
from showtell.errors import BundleError
from showtell.files.typed_settings import load_settings

WORDS = ("a", "dog", "dogs", "puppy", "ball", "runs")
CALIBRATION = KeywordCalibration(
    measure="for tests",
    features=("log_odds", "said"),
    weights=(1.0, 2.0),
    words={"ball": "ball", "dog": "dog puppy dogs"},
    biases={"ball": 0.0, "dog": -0.5},
)


@dataclass(frozen=True)
class Section:
    """A settings file with a calibration."""

    keywords: KeywordCalibration


def logits(**of_words: float) -> np.ndarray:
    """Logits of `WORDS`, [words]; a word that is not given is nearly impossible."""
    return np.array([of_words.get(word, -30.0) for word in WORDS], np.float32)


def logistic(value: float) -> float:
    return float(1 / (1 + np.exp(-value)))


def probabilities(
    caption: str = "", calibration: KeywordCalibration = CALIBRATION, **of_words: float
) -> dict[str, float]:
    model = KeywordModel(calibration, WORDS)
    return dict(model.of_photo(logits(**of_words), caption.split()))


def test_a_keyword_is_as_probable_as_any_of_its_words() -> None:
    assert probabilities(ball=1.5) == pytest.approx({"ball": logistic(1.5)}, abs=1e-6)
    # each half: one of both is there with 3/4, log-odds log 3
    assert probabilities(dog=0, puppy=0) == pytest.approx({"dog": logistic(np.log(3) - 0.5)})


def test_a_keyword_that_the_caption_says_is_more_probable() -> None:
    silent, spoken = probabilities(ball=0), probabilities("a ball", ball=0)
    assert silent["ball"] == pytest.approx(0.5)
    assert spoken["ball"] == pytest.approx(logistic(2.0))


def test_a_caption_says_a_keyword_by_any_of_its_words() -> None:
    assert probabilities("the puppy runs", dog=0) == probabilities("dogs", dog=0)
    assert probabilities("the puppy runs", dog=0)["dog"] > probabilities("a ball", dog=0)["dog"]


def test_keywords_are_nouns_of_the_table_only_most_probable_first() -> None:
    shown = KeywordModel(CALIBRATION, WORDS).of_photo(logits(a=9, runs=9, ball=1, dog=4), [])
    assert [word for word, _ in shown] == ["dog", "ball"]


def test_improbable_keywords_are_left_out() -> None:
    assert probabilities(ball=-2.1).keys() == {"ball"}
    assert probabilities(ball=-2.3) == {}


def test_a_broader_keyword_is_left_out_where_a_narrower_one_is_as_probable() -> None:
    pets = replace(CALIBRATION, kinds={"ball": "dog cat"})
    assert probabilities(calibration=pets, ball=0.4, dog=1).keys() == {"dog"}
    assert probabilities(calibration=pets, ball=0.6, dog=1).keys() == {"dog", "ball"}


def test_a_photo_has_a_limited_number_of_keywords() -> None:
    words = tuple(f"thing{number}" for number in range(2 * MOST_KEYWORDS))
    many = replace(CALIBRATION, words={w: w for w in words}, biases=dict.fromkeys(words, 0.0))
    values = np.linspace(0, 5, len(words)).astype(np.float32)
    shown = KeywordModel(many, words).of_photo(values, [])
    assert [word for word, _ in shown] == [*reversed(words)][:MOST_KEYWORDS]


def test_keywords_whose_words_are_not_detected_are_left_out() -> None:
    model = KeywordModel(CALIBRATION, ("ball", "runs"))
    assert model.names == ("ball",)
    assert KeywordModel(CALIBRATION, ("runs",)).of_photo(np.zeros(1, np.float32), ["runs"]) == []


def test_a_calibration_with_features_of_a_newer_version_gives_no_keywords() -> None:
    newer = replace(CALIBRATION, features=("log_odds", "smell"))
    assert probabilities(calibration=newer, dog=5) == {}


@given(
    st.lists(st.floats(width=32, allow_nan=True, allow_infinity=True), min_size=6, max_size=6),
    st.lists(st.sampled_from([*WORDS, "<unknown>", "cat"])),
)
def test_any_logits_give_sorted_probabilities(values: list[float], caption: list[str]) -> None:
    every = replace(CALIBRATION, features=tuple(FEATURES), weights=(90.0, -3.0, 50.0))
    for calibration in (CALIBRATION, every):
        model = KeywordModel(calibration, WORDS)
        with np.errstate(all="raise"):
            shown = model.of_photo(np.array(values, np.float32), caption)
        given_out = [probability for _, probability in shown]
        assert given_out == sorted(given_out, reverse=True)
        assert all(LEAST_PROBABILITY <= probability <= 1 for probability in given_out)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"weights": [1.0]}, "manifest.json: keywords.weights: must hold one number for each"),
        ({"biases": {"dog": 1.0}}, "keywords.biases: must hold one number for each keyword"),
        ({"words": {"ball": "ball", "dog": " "}}, "keywords.words.dog: names no word"),
        ({"biases": {"ball": 1e9, "dog": 0}}, "keywords.biases.ball: must be at least -100"),
        ({"words": {"ball": "ball", "dog": 1}}, "keywords.words.dog: must be text"),
    ],
)
def test_a_wrong_calibration_is_refused_by_name(changes: dict[str, Any], message: str) -> None:
    text = {
        "measure": "for tests",
        "features": ["log_odds", "said"],
        "weights": [1.0, 2.0],
        "words": dict(CALIBRATION.words),
        "biases": dict(CALIBRATION.biases),
    }
    with pytest.raises(BundleError) as failure:
        load_settings(
            Section, {"keywords": text | changes}, error=BundleError, source="manifest.json"
        )
    assert message in str(failure.value)
