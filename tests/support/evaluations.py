"""Evaluations without a model: invented captions with real scores, METEOR's counts invented."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from showtell.scoring.evaluation import ALL, EvaluatedPhoto, Evaluation
from showtell.scoring.metrics import score_tokenized
from showtell.scoring.tokenized import PTB_SCORER, TokenizedCaptions

NOUNS = ["dog", "cat", "man", "woman", "child", "horse", "ball", "boat"]
VERBS = ["runs", "jumps", "sits", "swims", "plays", "sleeps"]
PLACES = ["grass", "snow", "water", "sand", "street", "field"]


def make_references(photos: int, seed: int = 0) -> list[tuple[str, ...]]:
    """Return three captions per photo that share their noun."""
    draw = random.Random(seed)
    return [
        tuple(f"A {noun} {draw.choice(VERBS)} in the {draw.choice(PLACES)} ." for _ in range(3))
        for noun in draw.choices(NOUNS, k=photos)
    ]


def make_captions(references: Sequence[tuple[str, ...]], right: float, seed: int = 1) -> list[str]:
    """Return captions of which a share `right` equals a reference; the others are random."""
    draw = random.Random(seed)
    return [
        photo_references[0].strip(" .").lower()
        if draw.random() < right
        else f"a {draw.choice(NOUNS)} {draw.choice(VERBS)} near the {draw.choice(PLACES)}"
        for photo_references in references
    ]


def make_evaluation(
    texts: Sequence[str],
    references: Sequence[tuple[str, ...]],
    *,
    model: str = "made",
    scorer: str = PTB_SCORER,
    meteor: bool = True,
    paths: Sequence[Path] | None = None,
    names: Sequence[str] | None = None,
    confidence: float | None = None,
) -> Evaluation:
    """Return the evaluation of captions, scored without Java."""
    names = names or [f"{number}.jpg" for number in range(len(texts))]
    paths = paths or [Path("gone") / name for name in names]
    tokenized = TokenizedCaptions(
        texts=tuple(texts),
        candidates=tuple(texts),
        references=tuple(tuple(r.lower().replace(" .", "") for r in own) for own in references),
        scorer=scorer,
        alignments=tuple(map(_counts, texts, references)) if meteor else None,
    )
    scores = score_tokenized(tokenized)
    photos = tuple(
        EvaluatedPhoto(
            name=names[row],
            path=str(paths[row]),
            text=texts[row],
            log_probability=-1.5,
            confidence=confidence,
            references=tuple(references[row]),
            tokens=tokenized.candidates[row],
            reference_tokens=tokenized.references[row],
            scores=scores.per_photo[row],
        )
        for row in range(len(texts))
    )
    return Evaluation(model, "made up", "dev", 3, {ALL: scores}, photos, seconds=1.25)


def _counts(text: str, references: tuple[str, ...]) -> tuple[float, ...]:
    """Return counts in METEOR's form: common words with the first reference, each a chunk."""
    words, reference = text.split(), references[0].lower().split()
    common = float(len(set(words) & set(reference)))
    exact = (common, common, 0.0, 0.0)
    return (float(len(words)), float(len(reference)), 0.0, 0.0, *exact, *[0.0] * 12, *[common] * 3)


def draw_photo(path: Path, size: int = 48, seed: int = 0) -> Path:
    """Write a small photo of noise, which compresses worse than any real photo."""
    noise = random.Random(seed).randbytes(size * size * 3)
    Image.frombytes("RGB", (size, size), noise).save(path, quality=85)
    return path
