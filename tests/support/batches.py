"""Photos with numbered captions, and batches from a source that returns photo numbers."""

from __future__ import annotations

from pathlib import Path

import torch

from showtell.data.dataset import CaptionedPhoto
from showtell.training.batches import CaptionBatches
from showtell.training.recipe import Recipe
from showtell.vocabulary import Vocabulary

WORDS = ("a", "dog", "runs", "left", "right", "leftover")
VOCABULARY = Vocabulary.build([" ".join(WORDS)])


def photos_of(count: int, captions: int = 3) -> list[CaptionedPhoto]:
    texts = [" ".join(("a", "dog", *WORDS[:number])) for number in range(captions)]
    return [
        CaptionedPhoto(f"{n}.png", Path(f"{n}.png"), tuple(texts[: 1 + n % captions]), "train")
        for n in range(count)
    ]


class Numbers:
    """A source that returns the numbers of the photos, and which are mirrored."""

    def take(self, photos: list[int], flips: list[bool], seed: object) -> dict[str, torch.Tensor]:
        return {"photo": torch.tensor(photos), "flip": torch.tensor(flips)}


def batches_of(photos: list[CaptionedPhoto], **keys: object) -> CaptionBatches:
    recipe = Recipe(**({"batch_photos": 4, "captions_per_photo": 3, "min_count": 1} | keys))  # type: ignore[arg-type]
    return CaptionBatches(photos, range(len(photos)), VOCABULARY, recipe)
