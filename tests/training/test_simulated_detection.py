"""Simulated detection is calibrated, and better for words with a larger separation."""

from __future__ import annotations

import numpy as np
import pytest

from showtell.training.simulated_detection import Floats, simulate_detection

FREQUENCY, PHOTOS = 0.1, 400_000


def detected(separation: float) -> tuple[Floats, Floats]:
    """Return whether a word of frequency 0.1 is in each photo's captions, and its probability."""
    random = np.random.default_rng(0)
    shares = (random.random((PHOTOS, 1)) < FREQUENCY).astype(np.float32)
    words = np.float32([FREQUENCY]), np.float32([separation])
    logits = simulate_detection(shares, *words, random)
    return shares[:, 0], 1 / (1 + np.exp(-logits[:, 0]))


@pytest.mark.parametrize("separation", [1.0, 2.0, 3.5])
@pytest.mark.parametrize(("least", "most"), [(0.05, 0.15), (0.2, 0.4), (0.6, 0.9)])
def test_words_are_present_as_often_as_their_probability_says(
    separation: float, least: float, most: float
) -> None:
    present, probability = detected(separation)
    chosen = (probability > least) & (probability < most)
    assert present[chosen].mean() == pytest.approx(probability[chosen].mean(), abs=0.06)


def test_a_larger_separation_detects_better() -> None:
    def found(separation: float) -> float:
        present, probability = detected(separation)
        return float(probability[present > 0].mean())

    assert found(1.0) < found(2.0) < found(3.5)


def test_a_word_of_few_captions_counts_half_of_the_time() -> None:
    random = np.random.default_rng(0)
    shares = np.full((PHOTOS, 1), 0.2, np.float32)
    logits = simulate_detection(shares, np.float32([0.1]), np.float32([4.0]), random)
    assert (logits > np.log(0.1 / 0.9)).mean() == pytest.approx(0.5, abs=0.03)
