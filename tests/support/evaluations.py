"""Evaluations without a model: captions made up, really scored, METEOR's counts made up too."""

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
    """Three captions a photo that share their noun."""
    draw = random.Random(seed)
    return [
        tuple(f"A {noun} {draw.choice(VERBS)} in the {draw.choice(PLACES)} ." for _ in range(3))
        for noun in draw.choices(NOUNS, k=photos)
    ]


def make_captions(references: Sequence[tuple[str, ...]], right: float, seed: int = 1) -> list[str]:
    """Captions of which a share `right` is a reference, the others anything."""
    draw = random.Random(seed)
    return [
        own[0].strip(" .").lower()
        if draw.random() < right
        else f"a {draw.choice(NOUNS)} {draw.choice(VERBS)} near the {draw.choice(PLACES)}"
        for own in references
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
    """Score captions without Java."""
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
            name=names[place],
            path=str(paths[place]),
            text=texts[place],
            log_probability=-1.5,
            confidence=confidence,
            references=tuple(references[place]),
            tokens=tokenized.candidates[place],
            reference_tokens=tokenized.references[place],
            scores=scores.per_photo[place],
        )
        for place in range(len(texts))
    )
    return Evaluation(model, "made up", "dev", 3, {ALL: scores}, photos, seconds=1.25)


def _counts(text: str, references: tuple[str, ...]) -> tuple[float, ...]:
    """Counts such as METEOR's: the words in common with the first reference, each a chunk."""
    said, meant = text.split(), references[0].lower().split()
    common = float(len(set(said) & set(meant)))
    exact = (common, common, 0.0, 0.0)
    return (float(len(said)), float(len(meant)), 0.0, 0.0, *exact, *[0.0] * 12, *[common] * 3)


def draw_photo(path: Path, size: int = 48, seed: int = 0) -> Path:
    """A small photo of noise, which compresses worse than anything a camera makes."""
    noise = random.Random(seed).randbytes(size * size * 3)
    Image.frombytes("RGB", (size, size), noise).save(path, quality=85)
    return path
