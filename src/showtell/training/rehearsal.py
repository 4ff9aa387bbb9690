"""Rehearsal: photos of an earlier dataset in every epoch, so that a model forgets less.

Robins, Catastrophic Forgetting, Rehearsal and Pseudorehearsal, 1995. Every epoch has all new
photos and a sample of the earlier ones, of the size that the recipe's `rehearsal_share` gives.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from showtell.data import open_dataset
from showtell.data.dataset import CaptionedPhoto
from showtell.errors import TrainingError
from showtell.language.languages import ENGLISH, Language

MAX_EPOCHS = 20  # of earlier photos that are kept: this many epochs see each of them once
DEV_PHOTOS = 100  # earlier dev photos that count in the choice of the best epoch


@dataclass(frozen=True)
class Rehearsal:
    """Photos of an earlier dataset: `train` to sample from, `dev` to judge an epoch by."""

    layout: str
    share: float
    train: tuple[CaptionedPhoto, ...]
    dev: tuple[CaptionedPhoto, ...]

    def score(
        self,
        captions: Sequence[str],
        photos: Sequence[CaptionedPhoto],
        language: Language = ENGLISH,
    ) -> float:
        """Return the CIDEr of captions, one per photo: the mean of new and earlier photos by share.

        The two are scored separately, because the weight of an n-gram in CIDEr depends on the
        photos that are scored together.
        """
        from showtell.scoring.metrics import cider

        earlier = set(self.dev)
        total = weight = 0.0
        for is_earlier, share in ((False, 1 - self.share), (True, self.share)):
            rows = [row for row, photo in enumerate(photos) if (photo in earlier) is is_earlier]
            if rows:
                references = [photos[r].captions for r in rows]
                score = cider([captions[r] for r in rows], references, language)
                total, weight = total + share * score, weight + share
        return total / weight


def photos_per_epoch(new: int, earlier: int, share: float) -> int:
    """Return how many of `earlier` photos an epoch with `new` new ones has, to reach `share`."""
    return min(earlier, round(new * share / (1 - share)))


def open_rehearsal(directory: Path | str, share: float, new: int, seed: int) -> Rehearsal:
    """Read the earlier dataset in `directory` for a run with `new` new photos.

    From a large dataset only a sample is kept, chosen by `seed`: enough for MAX_EPOCHS epochs.
    Raises TrainingError where it has no training photos with captions.
    """
    dataset = open_dataset(directory)
    train = [photo for photo in dataset.split("train") if photo.captions]
    if not train:
        raise TrainingError(f"rehearsal: {directory}: no training photos with captions")
    count = min(len(train), MAX_EPOCHS * photos_per_epoch(new, len(train), share))
    rows = np.sort(np.random.default_rng((seed, new)).permutation(len(train))[:count])
    dev = [photo for photo in dataset.split("dev") if photo.captions][:DEV_PHOTOS]
    return Rehearsal(dataset.layout, share, tuple(train[row] for row in rows), tuple(dev))
