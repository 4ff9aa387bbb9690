"""The rewards of self-critical training; CIDEr equals coco-caption's."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocoevalcap.cider.cider import Cider

from showtell.training.rewards import BleuReward, CiderReward, MixedReward, RecallReward
from showtell.vocabulary import END

caption = st.lists(st.integers(4, 9), min_size=1, max_size=9)
photo = st.tuples(caption, st.lists(caption, min_size=1, max_size=4))


def coco_cider(candidates, references):
    def text(words):
        return " ".join(f"w{word}" for word in words)

    _, scores = Cider().compute_score(
        {i: [text(words) for words in own] for i, own in enumerate(references)},
        {i: [text(words)] for i, words in enumerate(candidates)},
    )
    return list(scores)


@settings(max_examples=60)
@given(st.lists(photo, min_size=1, max_size=6))
def test_the_cider_reward_equals_coco_caption(photos):
    candidates = [words for words, _ in photos]
    references = [own for _, own in photos]
    reward = CiderReward(references)
    ours = [reward.score(i, words) for i, words in enumerate(candidates)]
    assert ours == pytest.approx(coco_cider(candidates, references), abs=1e-9)


def test_a_reference_scores_more_than_another_photo_s_reference():
    reward = CiderReward([[[4, 5, 6, 7]], [[8, 9, 10, 11]], [[4, 9, 6, 12]]])
    assert reward.score(0, [4, 5, 6, 7]) == pytest.approx(10)
    assert reward.score(0, [8, 9, 10, 11]) == 0


def test_a_missing_end_lowers_the_reward():
    end = 2
    reward = CiderReward([[[4, 5, 6, end]], [[7, 5, 8, end]], [[9, 9, 9, end]]])
    assert reward.score(0, [4, 5, 6, end]) > reward.score(0, [4, 5, 6])


def test_bleu_reward_is_one_for_a_reference_and_lower_for_short_or_wrong_captions() -> None:
    reward = BleuReward([[[4, 5, 6, 7, 8, END], [9, 5, 6, END]]])
    assert reward.score(0, [4, 5, 6, 7, 8, END]) == pytest.approx(1)
    short, swapped = reward.score(0, [4, 5, 6]), reward.score(0, [4, 6, 5, 7, 8, END])
    assert 0 < short < 1
    assert 0 < swapped < 1
    # three of three words right, but the closest reference has four
    smoothed = math.exp((math.log(1) + math.log(1) + math.log(1) + math.log(1)) / 4 + 1 - 4 / 3)
    assert short == pytest.approx(smoothed)
    assert reward.score(0, [10, 11]) == 0


def test_recall_reward_is_meteors_f_mean_for_the_best_reference() -> None:
    reward = RecallReward([[[4, 5, 6, 7], [8, 9]]])
    precision, recall = 2 / 3, 2 / 4
    expected = 10 * precision * recall / (recall + 9 * precision)
    assert reward.score(0, [4, 5, 10]) == pytest.approx(expected)
    assert reward.score(0, [8, 9]) == pytest.approx(1)
    assert reward.score(0, [10]) == 0
    assert reward.score(0, [4, 5, 6]) > reward.score(0, [4, 5])  # more of the reference


def test_a_mixed_reward_is_the_weighted_sum() -> None:
    references = [[[4, 5, 6, END], [4, 5, 7, END]], [[8, 9, END]]]
    cider, bleu = CiderReward(references), BleuReward(references)
    mixed = MixedReward([(1.0, cider), (0.5, bleu)])
    words = [4, 5, 6, END]
    assert mixed.score(0, words) == pytest.approx(
        cider.score(0, words) + 0.5 * bleu.score(0, words)
    )
