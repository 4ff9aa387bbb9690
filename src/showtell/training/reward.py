"""CIDEr as a reward: the coco-caption score of single captions, fast enough for training.

Consensus-based Image Description Evaluation (Vedantam, Zitnick and Parikh, 2015), in the form that
coco-caption computes: n-grams to 4, counts clipped, a Gaussian penalty on the difference of
lengths. Document frequencies and the references' vectors are counted once. Words are ids.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

LONGEST = 4  # words of an n-gram
SIGMA = 6.0  # of the penalty on length, in words

NGram = tuple[int, ...]


@dataclass(frozen=True)
class _Vector:
    """A caption's weighted n-grams, the norm for each n, and its length as coco-caption counts."""

    weights: dict[NGram, float]
    norms: tuple[float, ...]
    length: int


def ngrams(words: Sequence[int]) -> Counter[NGram]:
    """Count a caption's n-grams of one to four words."""
    counts: Counter[NGram] = Counter()
    for n in range(1, LONGEST + 1):
        counts.update(tuple(words[i : i + n]) for i in range(len(words) - n + 1))
    return counts


class CiderReward:
    """Scores captions of known photos; as `pycocoevalcap` does for the same set of photos.

    `references` holds each photo's captions as ids. With END as the last id of references and
    candidates, n-grams see where a sentence ends, so that a broken end costs.
    """

    def __init__(self, references: Sequence[Sequence[Sequence[int]]]) -> None:
        counted = [[ngrams(words) for words in own] for own in references]
        self._frequency: Counter[NGram] = Counter()
        for own in counted:
            self._frequency.update({ngram for counts in own for ngram in counts})
        self._log_photos = math.log(max(1, len(references)))
        self._references = [[self._vector(counts) for counts in own] for own in counted]

    def score(self, photo: int, words: Sequence[int]) -> float:
        """Return the CIDEr, 0 to 10, of a caption of photo number `photo`."""
        said = self._vector(ngrams(words))
        references = self._references[photo]
        return 10 * sum(_similarity(said, own) for own in references) / max(1, len(references))

    def _vector(self, counts: Counter[NGram]) -> _Vector:
        weights: dict[NGram, float] = {}
        squares = [0.0] * LONGEST
        length = 0
        for ngram, count in counts.items():
            rarity = self._log_photos - math.log(max(1, self._frequency[ngram]))
            weight = count * rarity
            weights[ngram] = weight
            squares[len(ngram) - 1] += weight * weight
            if len(ngram) == 2:  # coco-caption takes the number of bigrams for the length
                length += count
        return _Vector(weights, tuple(math.sqrt(s) for s in squares), length)


def _similarity(said: _Vector, reference: _Vector) -> float:
    """Return the mean over n of the clipped cosine of two captions' n-grams."""
    sums = [0.0] * LONGEST
    theirs = reference.weights
    for ngram, weight in said.weights.items():
        other = theirs.get(ngram)
        if other is not None:
            sums[len(ngram) - 1] += min(weight, other) * other
    total = 0.0
    for dot, a, b in zip(sums, said.norms, reference.norms, strict=True):
        if a and b:
            total += dot / (a * b)
    penalty = math.exp(-((said.length - reference.length) ** 2) / (2 * SIGMA**2))
    return total * penalty / LONGEST
