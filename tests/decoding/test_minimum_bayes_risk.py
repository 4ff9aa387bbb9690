from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from showtell.decoding.beam_search import Hypothesis
from showtell.decoding.minimum_bayes_risk import minimum_bayes_risk, ngram_similarity

captions = st.lists(st.integers(4, 8), min_size=1, max_size=9)


def hypothesis_of(tokens: list[int], score: float = -1.0) -> Hypothesis:
    return Hypothesis(tuple(tokens), score, score, (0.0,) * len(tokens), None, True)


@given(captions, captions)
def test_similarity_is_symmetric_and_one_only_for_equal_captions(
    first: list[int], second: list[int]
) -> None:
    value = ngram_similarity(first, second)
    assert value == ngram_similarity(second, first)
    assert 0 <= value <= 1 + 1e-12
    assert ngram_similarity(first, first) == pytest.approx(1)
    if sorted(first) != sorted(second):
        assert value < 1


def test_caption_that_most_others_resemble_comes_first() -> None:
    outlier = hypothesis_of([30, 31, 32, 33], score=-0.1)  # the likeliest one
    alike = [hypothesis_of([4, 5, 6, last], score=-2.0) for last in (7, 8, 9)]
    centre = hypothesis_of([4, 5, 6], score=-3.0)
    ordered = minimum_bayes_risk([outlier, *alike, centre])
    assert ordered[0] == centre
    assert ordered[-1] == outlier


def test_caption_drawn_twice_counts_twice_and_is_listed_once() -> None:
    first, second = hypothesis_of([4, 5], score=-1.0), hypothesis_of([6, 7], score=-2.0)
    assert minimum_bayes_risk([first, second]) == [first, second]
    assert minimum_bayes_risk([first, second, second]) == [second, first]


def test_sharpness_lets_likely_candidates_count_more() -> None:
    likely = [hypothesis_of([4, 5, 6], score=-1.0), hypothesis_of([4, 5, 7], score=-1.1)]
    unlikely = [hypothesis_of([8, 9, last], score=-9.0) for last in (10, 11, 12)]
    assert minimum_bayes_risk([*likely, *unlikely])[0] in unlikely
    assert minimum_bayes_risk([*likely, *unlikely], sharpness=1.0)[0] in likely


@given(st.lists(st.tuples(captions, st.floats(-9, 0)), min_size=1, max_size=6))
def test_order_of_candidates_does_not_matter(items: list[tuple[list[int], float]]) -> None:
    candidates = list({tuple(t): hypothesis_of(t, s) for t, s in items}.values())
    assert minimum_bayes_risk(candidates) == minimum_bayes_risk(candidates[::-1])
