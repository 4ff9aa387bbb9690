"""pycocoevalcap's scorers on tokenised captions, one value a photo, and silent."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from showtell.errors import MissingExtraError


def scorer_package() -> Path:
    """Return the folder of pycocoevalcap, which holds the scorers and their jars.

    Raises MissingExtraError where it is not installed.
    """
    module = _scorer("bleu.bleu_scorer")
    return Path(str(module.__file__)).resolve().parents[1]


def bleu_counts(
    candidates: Sequence[str], references: Sequence[Sequence[str]]
) -> list[tuple[float, ...]]:
    """Return what BLEU counts in each caption, as `statistics.bleu` sums it."""
    scorer = _scorer("bleu.bleu_scorer").BleuScorer(n=4)
    counts = []
    for candidate, own in zip(candidates, references, strict=True):
        scorer += (candidate, list(own))
        found = scorer.ctest[-1]
        # Of two references equally close in length, coco-caption takes the shorter.
        closest = min((abs(words - found["testlen"]), words) for words in found["reflen"])[1]
        counts.append(tuple(map(float, (closest, *found["guess"], *found["correct"]))))
    return counts


def rouge_l(candidates: Sequence[str], references: Sequence[Sequence[str]]) -> list[float]:
    """Return each caption's ROUGE-L in hundredths (Lin, 2004)."""
    scorer = _scorer("rouge.rouge").Rouge()
    pairs = zip(candidates, references, strict=True)
    return [100.0 * float(scorer.calc_score([candidate], own)) for candidate, own in pairs]


def cider(candidates: Sequence[str], references: Sequence[Sequence[str]]) -> list[float]:
    """Return each caption's CIDEr in hundredths (Vedantam et al., 2015).

    How rare a word is comes from the references given here, so a photo's score depends on which
    others it is scored with.
    """
    scorer = _scorer("cider.cider_scorer").CiderScorer()
    for candidate, own in zip(candidates, references, strict=True):
        scorer += (candidate, list(own))
    return [100.0 * float(value) for value in scorer.compute_score()[1]]


def _scorer(module: str) -> Any:
    try:
        return importlib.import_module(f"pycocoevalcap.{module}")
    except ImportError:
        raise MissingExtraError("scoring captions (pycocoevalcap)", "train") from None
