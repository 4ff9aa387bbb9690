"""BLEU and METEOR from counts per photo, so that any subset of photos is scored exactly.

Both are scores of a corpus, not means over photos: counts are summed first. With counts per photo,
half of a split or a bootstrap resample needs a sum instead of a run of the scorer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Counts = NDArray[np.float64]

METEOR_COUNTS = 23  # 2 lengths, 2 counts of function words, 4 stages x 4, chunks, 2 matched words

# coco-caption's guards against division by zero (bleu_scorer.py).
_SMALL, _TINY = 1e-9, 1e-15

_CHUNKS = 20


@dataclass(frozen=True)
class MeteorSettings:
    """METEOR 1.5's settings for a language and its task "rank", which the jar uses for `-l`.

    `weights` are those of exact matches, stems, synonyms and paraphrases. pycocoevalcap has
    paraphrases for English only, and METEOR has synonyms for English only. So matches in other
    languages are exact or of stems by Snowball's stemmer.
    """

    language: str  # the jar's option -l
    alpha: float
    beta: float
    gamma: float
    delta: float
    weights: tuple[float, float, float, float]

    @property
    def modules(self) -> str:
        """The jar's option -m: the kinds of matches with a weight."""
        names = ("exact", "stem", "synonym", "paraphrase")
        return " ".join(name for name, weight in zip(names, self.weights, strict=True) if weight)


ENGLISH_METEOR = MeteorSettings("en", 0.85, 0.2, 0.6, 0.75, (1.0, 0.6, 0.8, 0.6))
_METEOR = {  # by language without region, as the jar prints them
    "en": ENGLISH_METEOR,
    "de": MeteorSettings("de", 0.95, 1.0, 0.55, 0.55, (1.0, 0.8, 0.0, 0.0)),
    "es": MeteorSettings("es", 0.65, 1.3, 0.5, 0.8, (1.0, 0.8, 0.0, 0.0)),
    "fr": MeteorSettings("fr", 0.9, 1.4, 0.6, 0.65, (1.0, 0.2, 0.0, 0.0)),
}


def meteor_settings(code: str) -> MeteorSettings | None:
    """Return METEOR's settings for a BCP 47 tag, None for a language without."""
    return _METEOR.get(code.partition("-")[0])


def bleu(counts: Counts) -> Counts:
    """Return BLEU-1 to 4 as [..., 4], from 0 to 1, from counts [..., 9] of one photo or summed.

    The counts are the length of the closest reference, the 1- to 4-grams of the caption, and the 1-
    to 4-grams that match. "BLEU: a Method for Automatic Evaluation of Machine Translation"
    (Papineni et al., 2002), with the closest reference length, as in coco-caption.
    """
    reference_length = counts[..., 0]
    candidate, matched = counts[..., 1:5], counts[..., 5:9]
    precisions = np.cumprod((matched + _TINY) / (candidate + _SMALL), axis=-1)
    scores: Counts = precisions ** (1.0 / np.arange(1, 5))
    ratio = (candidate[..., 0] + _TINY) / (reference_length + _SMALL)
    penalty = np.exp(np.minimum(0.0, 1.0 - 1.0 / ratio))
    return scores * penalty[..., None]


def meteor(counts: Counts, settings: MeteorSettings = ENGLISH_METEOR) -> Counts:
    """Return METEOR as [...], from 0 to 1, from counts [..., 23] of one photo or summed.

    "Meteor Universal: Language Specific Translation Evaluation for Any Target Language" (Denkowski
    and Lavie, 2014), computed from the alignments of the METEOR 1.5 jar with the same `settings`.
    """
    alpha, delta = settings.alpha, settings.delta
    lengths, functions = counts[..., 0:2], counts[..., 2:4]  # of candidate, of reference
    stages = counts[..., 4:20].reshape(*counts.shape[:-1], 4, 4)
    content, function = stages[..., 0:2], stages[..., 2:4]  # (..., stage, candidate or reference)
    weighted = delta * content + (1 - delta) * function
    matches = np.einsum("...sc,s->...c", weighted, np.array(settings.weights))
    possible = delta * (lengths - functions) + (1 - delta) * functions
    chunks, matched_words = counts[..., _CHUNKS], counts[..., 21:23].mean(axis=-1)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = matches / possible
        precision, recall = ratios[..., 0], ratios[..., 1]
        mean = 1.0 / ((1 - alpha) / precision + alpha / recall)
        penalty = settings.gamma * (chunks / matched_words) ** settings.beta
        score = np.asarray(mean * (1.0 - penalty), dtype=np.float64)
    score[np.isnan(score)] = 0.0  # no match, or an empty caption
    return score


def meteor_counts(line: str) -> tuple[float, ...]:
    """Return the counts in one line of METEOR's statistics, in a form that can be summed.

    METEOR counts no chunk for a candidate that equals its reference, alone or in a sum. Raises
    ValueError if the line is not METEOR's.
    """
    counts = [float(number) for number in line.split()]
    if len(counts) != METEOR_COUNTS:
        raise ValueError(f"{len(counts)} numbers where METEOR writes {METEOR_COUNTS}")
    if counts[_CHUNKS] == 1 and counts[21:23] == counts[0:2]:
        counts[_CHUNKS] = 0.0
    return tuple(counts)


def as_counts(rows: Sequence[Sequence[float]]) -> Counts:
    """Return counts per photo as an array [photos, counts]."""
    return np.asarray(rows, dtype=np.float64)
