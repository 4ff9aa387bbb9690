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
from typing import Protocol

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


class Reward(Protocol):
    """Scores a caption of a known photo; more is better."""

    def score(self, photo: int, words: Sequence[int]) -> float:
        """Return the reward of a caption of photo number `photo`."""
        ...


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


class BleuReward:
    """BLEU-4 of single captions, 0 to 1, smoothed so that a short match still counts.

    Papineni et al. (2002), with one added to the counts of bigrams and longer (Lin and Och,
    ORANGE: a Method for Evaluating Automatic Evaluation Metrics, 2004). Its penalty on captions
    shorter than the closest reference keeps self-critical training from cutting captions short.
    """

    def __init__(self, references: Sequence[Sequence[Sequence[int]]]) -> None:
        self._most: list[Counter[NGram]] = []
        self._lengths = [[len(words) for words in own] for own in references]
        for own in references:
            most: Counter[NGram] = Counter()
            for words in own:
                most |= ngrams(words)  # the larger count of each
            self._most.append(most)

    def score(self, photo: int, words: Sequence[int]) -> float:
        """Return the smoothed BLEU-4 of a caption of photo number `photo`."""
        matched, said = [0] * LONGEST, [0] * LONGEST
        most = self._most[photo]
        for ngram, count in ngrams(words).items():
            said[len(ngram) - 1] += count
            matched[len(ngram) - 1] += min(count, most[ngram])
        if not matched[0]:
            return 0.0
        logs = math.log(matched[0] / said[0])
        logs += sum(math.log((matched[n] + 1) / (said[n] + 1)) for n in range(1, LONGEST))
        closest = min(self._lengths[photo], key=lambda n: (abs(n - len(words)), n))
        return math.exp(logs / LONGEST + min(0.0, 1 - closest / len(words)))


class RecallReward:
    """METEOR's unigram F-mean on exact matches, 0 to 1: recall weighs nine times precision.

    Banerjee and Lavie, METEOR: An Automatic Metric for MT Evaluation (2005), without stems,
    synonyms and the penalty on order; of several references the best counts.
    """

    def __init__(self, references: Sequence[Sequence[Sequence[int]]]) -> None:
        self._references = [[Counter(words) for words in own] for own in references]

    def score(self, photo: int, words: Sequence[int]) -> float:
        """Return the F-mean of a caption of photo number `photo`."""
        said = Counter(words)
        best = 0.0
        for own in self._references[photo]:
            matched = (said & own).total()
            if matched:
                precision, recall = matched / len(words), matched / own.total()
                best = max(best, 10 * precision * recall / (recall + 9 * precision))
        return best


class MixedReward:
    """A weighted sum of rewards."""

    def __init__(self, parts: Sequence[tuple[float, Reward]]) -> None:
        self.parts = parts

    def score(self, photo: int, words: Sequence[int]) -> float:
        """Return the weighted sum of a caption's rewards."""
        return sum(weight * reward.score(photo, words) for weight, reward in self.parts)
