"""pycocoevalcap's scorers on tokenised captions: one value per photo, and no output."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from showtell.errors import MissingExtraError


def scorer_package() -> Path:
    """Return the folder of pycocoevalcap, which contains the scorers and their jars.

    Raises MissingExtraError if it is not installed.
    """
    module = _scorer_module("bleu.bleu_scorer")
    return Path(str(module.__file__)).resolve().parents[1]


def bleu_counts(
    candidates: Sequence[str], references: Sequence[Sequence[str]]
) -> list[tuple[float, ...]]:
    """Return each caption's counts for BLEU, which `statistics.bleu` takes summed."""
    scorer = _scorer_module("bleu.bleu_scorer").BleuScorer(n=4)
    counts = []
    for candidate, photo_references in zip(candidates, references, strict=True):
        scorer += (candidate, list(photo_references))
        statistics = scorer.ctest[-1]
        length = statistics["testlen"]
        # Of two references that are equally close in length, coco-caption takes the shorter one.
        closest = min((abs(words - length), words) for words in statistics["reflen"])[1]
        counts.append(tuple(map(float, (closest, *statistics["guess"], *statistics["correct"]))))
    return counts


def rouge_l_per_photo(
    candidates: Sequence[str], references: Sequence[Sequence[str]]
) -> list[float]:
    """Return each caption's ROUGE-L multiplied by 100 (Lin, 2004)."""
    scorer = _scorer_module("rouge.rouge").Rouge()
    pairs = zip(candidates, references, strict=True)
    return [
        100.0 * float(scorer.calc_score([candidate], photo_references))
        for candidate, photo_references in pairs
    ]


def cider_per_photo(candidates: Sequence[str], references: Sequence[Sequence[str]]) -> list[float]:
    """Return each caption's CIDEr multiplied by 100 (Vedantam et al., 2015).

    The word frequencies come from these references, so a photo's score depends on the photos that
    it is scored with.
    """
    scorer = _scorer_module("cider.cider_scorer").CiderScorer()
    for candidate, photo_references in zip(candidates, references, strict=True):
        scorer += (candidate, list(photo_references))
    return [100.0 * float(value) for value in scorer.compute_score()[1]]


def _scorer_module(name: str) -> Any:
    try:
        return importlib.import_module(f"pycocoevalcap.{name}")
    except ImportError:
        raise MissingExtraError("scoring captions (pycocoevalcap)", "train") from None
