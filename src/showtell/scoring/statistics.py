"""BLEU and METEOR from counts per photo, so that any subset of photos is scored exactly.

Both are scores of a corpus, not means over photos: counts are summed first. With counts per photo,
half of a split or a bootstrap resample needs a sum instead of a run of the scorer.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Counts = NDArray[np.float64]

METEOR_COUNTS = 23  # 2 lengths, 2 counts of function words, 4 stages x 4, chunks, 2 matched words

# coco-caption's guards against division by zero (bleu_scorer.py).
_SMALL, _TINY = 1e-9, 1e-15

# METEOR 1.5's settings for English and its task "rank", which the jar uses for "-l en".
_ALPHA, _BETA, _GAMMA, _DELTA = 0.85, 0.2, 0.6, 0.75
_STAGE_WEIGHTS = np.array([1.0, 0.6, 0.8, 0.6])  # exact, stem, synonym, paraphrase
_CHUNKS = 20


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


def meteor(counts: Counts) -> Counts:
    """Return METEOR as [...], from 0 to 1, from counts [..., 23] of one photo or summed.

    "Meteor Universal: Language Specific Translation Evaluation for Any Target Language" (Denkowski
    and Lavie, 2014), computed from the alignments of the METEOR 1.5 jar.
    """
    lengths, functions = counts[..., 0:2], counts[..., 2:4]  # of candidate, of reference
    stages = counts[..., 4:20].reshape(*counts.shape[:-1], 4, 4)
    content, function = stages[..., 0:2], stages[..., 2:4]  # (..., stage, candidate or reference)
    weighted = _DELTA * content + (1 - _DELTA) * function
    matches = np.einsum("...sc,s->...c", weighted, _STAGE_WEIGHTS)
    possible = _DELTA * (lengths - functions) + (1 - _DELTA) * functions
    chunks, matched_words = counts[..., _CHUNKS], counts[..., 21:23].mean(axis=-1)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = matches / possible
        precision, recall = ratios[..., 0], ratios[..., 1]
        mean = 1.0 / ((1 - _ALPHA) / precision + _ALPHA / recall)
        penalty = _GAMMA * (chunks / matched_words) ** _BETA
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
