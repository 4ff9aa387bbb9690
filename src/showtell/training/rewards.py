"""Rewards of single captions for self-critical training. Words are ids.

CIDEr is Consensus-based Image Description Evaluation (Vedantam, Zitnick and Parikh, 2015) in the
form that coco-caption computes: n-grams of up to 4 words, clipped counts, and a Gaussian penalty
on the difference in length. Document frequencies and the references' vectors are computed once.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

MAX_NGRAM = 4  # words in an n-gram
SIGMA = 6.0  # of the length penalty, in words

NGram = tuple[int, ...]


@dataclass(frozen=True)
class _Vector:
    """A caption's weighted n-grams, their norm for each n, and its length by coco-caption."""

    weights: dict[NGram, float]
    norms: tuple[float, ...]
    length: int


def ngrams(words: Sequence[int]) -> Counter[NGram]:
    """Count a caption's n-grams of one to four words."""
    counts: Counter[NGram] = Counter()
    for n in range(1, MAX_NGRAM + 1):
        counts.update(tuple(words[i : i + n]) for i in range(len(words) - n + 1))
    return counts


class Reward(Protocol):
    """Scores captions of known photos; higher is better."""

    def score(self, photo: int, words: Sequence[int]) -> float:
        """Return the reward of a caption of photo number `photo`."""
        ...


class CiderReward:
    """CIDEr of captions of known photos, equal to that of `pycocoevalcap` for the same photos.

    `references` holds each photo's captions as ids. With END as the last id of references and
    candidates, n-grams include the end of the sentence, so that an incomplete one scores less.
    """

    def __init__(self, references: Sequence[Sequence[Sequence[int]]]) -> None:
        counted = [[ngrams(words) for words in captions] for captions in references]
        self._frequency: Counter[NGram] = Counter()
        for captions in counted:
            self._frequency.update({ngram for counts in captions for ngram in counts})
        self._log_photos = math.log(max(1, len(references)))
        self._references = [[self._vector(counts) for counts in captions] for captions in counted]

    def score(self, photo: int, words: Sequence[int]) -> float:
        """Return the CIDEr, 0 to 10, of a caption of photo number `photo`."""
        candidate = self._vector(ngrams(words))
        references = self._references[photo]
        total = sum(_similarity(candidate, reference) for reference in references)
        return 10 * total / max(1, len(references))

    def _vector(self, counts: Counter[NGram]) -> _Vector:
        weights: dict[NGram, float] = {}
        squares = [0.0] * MAX_NGRAM
        length = 0
        for ngram, count in counts.items():
            rarity = self._log_photos - math.log(max(1, self._frequency[ngram]))
            weight = count * rarity
            weights[ngram] = weight
            squares[len(ngram) - 1] += weight * weight
            if len(ngram) == 2:  # coco-caption uses the number of bigrams as the length
                length += count
        return _Vector(weights, tuple(math.sqrt(s) for s in squares), length)


def _similarity(candidate: _Vector, reference: _Vector) -> float:
    """Return the mean over n of the clipped cosine similarity of two captions' n-grams."""
    sums = [0.0] * MAX_NGRAM
    for ngram, weight in candidate.weights.items():
        reference_weight = reference.weights.get(ngram)
        if reference_weight is not None:
            sums[len(ngram) - 1] += min(weight, reference_weight) * reference_weight
    total = 0.0
    for dot, a, b in zip(sums, candidate.norms, reference.norms, strict=True):
        if a and b:
            total += dot / (a * b)
    penalty = math.exp(-((candidate.length - reference.length) ** 2) / (2 * SIGMA**2))
    return total * penalty / MAX_NGRAM


class BleuReward:
    """BLEU-4 of single captions, 0 to 1, smoothed so that short matches count.

    Papineni et al. (2002), with one added to the counts of bigrams and longer n-grams (Lin and
    Och, ORANGE: a Method for Evaluating Automatic Evaluation Metrics, 2004). The penalty on
    captions that are shorter than the closest reference keeps self-critical training from
    shortening captions.
    """

    def __init__(self, references: Sequence[Sequence[Sequence[int]]]) -> None:
        self._limits: list[Counter[NGram]] = []
        self._lengths = [[len(words) for words in captions] for captions in references]
        for captions in references:
            limits: Counter[NGram] = Counter()
            for words in captions:
                limits |= ngrams(words)  # the larger count of each n-gram
            self._limits.append(limits)

    def score(self, photo: int, words: Sequence[int]) -> float:
        """Return the smoothed BLEU-4 of a caption of photo number `photo`."""
        matched, total = [0] * MAX_NGRAM, [0] * MAX_NGRAM
        limits = self._limits[photo]
        for ngram, count in ngrams(words).items():
            total[len(ngram) - 1] += count
            matched[len(ngram) - 1] += min(count, limits[ngram])
        if not matched[0]:
            return 0.0
        logs = math.log(matched[0] / total[0])
        logs += sum(math.log((matched[n] + 1) / (total[n] + 1)) for n in range(1, MAX_NGRAM))
        closest = min(self._lengths[photo], key=lambda n: (abs(n - len(words)), n))
        return math.exp(logs / MAX_NGRAM + min(0.0, 1 - closest / len(words)))


class RecallReward:
    """METEOR's unigram F-mean of exact matches, 0 to 1: recall weighs nine times as precision.

    Banerjee and Lavie, METEOR: An Automatic Metric for MT Evaluation (2005), without stems,
    synonyms and the order penalty. The best reference counts.
    """

    def __init__(self, references: Sequence[Sequence[Sequence[int]]]) -> None:
        self._references = [[Counter(words) for words in captions] for captions in references]

    def score(self, photo: int, words: Sequence[int]) -> float:
        """Return the F-mean of a caption of photo number `photo`."""
        candidate = Counter(words)
        best = 0.0
        for reference in self._references[photo]:
            matched = (candidate & reference).total()
            if matched:
                precision, recall = matched / len(words), matched / reference.total()
                best = max(best, 10 * precision * recall / (recall + 9 * precision))
        return best


class MixedReward:
    """A weighted sum of rewards."""

    def __init__(self, parts: Sequence[tuple[float, Reward]]) -> None:
        self.parts = parts

    def score(self, photo: int, words: Sequence[int]) -> float:
        """Return the weighted sum of a caption's rewards."""
        return sum(weight * reward.score(photo, words) for weight, reward in self.parts)
