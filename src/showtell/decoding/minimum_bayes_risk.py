"""Minimum Bayes risk: choose the caption that agrees most with the other candidates.

The likeliest caption is often a bland one. The caption that is on average most similar to all
that the model may write has the least expected loss (Kumar and Byrne, "Minimum Bayes-Risk
Decoding", 2004; Devlin et al., "Exploring Nearest Neighbor Approaches for Image Captioning", 2015,
call it the consensus caption).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

from showtell.decoding.beam_search import Hypothesis

__all__ = ["minimum_bayes_risk", "ngram_similarity"]

Grams = list[Counter[tuple[int, ...]]]  # n-grams with their counts, for n = 1, 2
LONGEST = 2  # longer n-grams chose worse captions on Flickr8k's dev photos


def ngram_similarity(first: Sequence[int], second: Sequence[int]) -> float:
    """Return how similar two captions are, 0 to 1: the mean of their n-gram F1 for n = 1 and 2.

    n-grams are counted with clipping, as in BLEU; an n for which both captions are too short is
    left out. The similarity is symmetric, and 1 only for equal captions of at least one word.
    """
    return _similarity(_grams(first), _grams(second))


def minimum_bayes_risk(
    candidates: Sequence[Hypothesis], *, sharpness: float = 0.0
) -> list[Hypothesis]:
    """Sort distinct candidates by their mean similarity to all candidates, best first.

    A candidate has the weight of its probability to the power of `sharpness`: 0 is right for
    samples from the model (a caption drawn twice counts twice), a value between 0 and 1 for the
    n best of a beam. Equal agreement is sorted by score, then by token ids.
    """
    best = max((candidate.log_probability for candidate in candidates), default=0.0)
    weights: dict[tuple[int, ...], float] = {}
    distinct: dict[tuple[int, ...], Hypothesis] = {}
    for candidate in candidates:
        weight = math.exp(sharpness * (candidate.log_probability - best))
        weights[candidate.tokens] = weights.get(candidate.tokens, 0.0) + weight
        distinct.setdefault(candidate.tokens, candidate)
    grams = {tokens: _grams(tokens) for tokens in distinct}
    agreement = {
        tokens: sum(
            weight * _similarity(grams[tokens], grams[other]) for other, weight in weights.items()
        )
        for tokens in distinct
    }
    return sorted(
        distinct.values(),
        key=lambda item: (-round(agreement[item.tokens], 9), -item.score, item.tokens),
    )


def _grams(tokens: Sequence[int]) -> Grams:
    return [
        Counter(tuple(tokens[i : i + n]) for i in range(len(tokens) - n + 1))
        for n in range(1, LONGEST + 1)
    ]


def _similarity(first: Grams, second: Grams) -> float:
    scores = []
    for one, other in zip(first, second, strict=True):
        total = sum(one.values()) + sum(other.values())
        if total:
            scores.append(2 * sum((one & other).values()) / total)
    return sum(scores) / len(scores) if scores else 0.0
