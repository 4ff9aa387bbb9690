"""Old data mixed into new, so that a model that learns something new forgets less.

Rehearsal (Robins, Catastrophic Forgetting, Rehearsal and Pseudorehearsal, 1995): every epoch sees
all new photos and, beside them, as many old ones as `mix_share` says, others each time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from showtell.data import open_dataset
from showtell.data.dataset import CaptionedPhoto
from showtell.errors import TrainingError

REHEARSED = 20  # epochs for which there are old photos that were not seen yet
DEV = 100  # old dev photos that have their share in the choice of the best epoch


@dataclass(frozen=True)
class Mix:
    """Old photos: those that training draws from, and those that an epoch is judged by."""

    layout: str
    share: float
    train: tuple[CaptionedPhoto, ...]
    dev: tuple[CaptionedPhoto, ...]

    def score(self, captions: Sequence[str], photos: Sequence[CaptionedPhoto]) -> float:
        """Return CIDEr of captions, one for each photo: of new and of old dev photos, by shares.

        Apart, since an n-gram's weight in CIDEr hangs on the photos that are scored with it.
        """
        from showtell.scoring.metrics import cider

        old_photos = set(self.dev)
        total = weight = 0.0
        for old, share in ((False, 1 - self.share), (True, self.share)):
            rows = [row for row, photo in enumerate(photos) if (photo in old_photos) is old]
            if rows:
                score = cider([captions[r] for r in rows], [photos[r].captions for r in rows])
                total, weight = total + share * score, weight + share
        return total / weight


def drawn_in_epoch(new: int, old: int, share: float) -> int:
    """Return how many of `old` photos stand beside `new` ones in an epoch to make up `share`."""
    return min(old, round(new * share / (1 - share)))


def open_mix(directory: Path | str, share: float, new: int, seed: int) -> Mix:
    """Read the old dataset in `directory` for a run with `new` new photos.

    Of a large one only some photos are taken, drawn by `seed`: enough for REHEARSED epochs.
    Raises TrainingError where it has no training photos with captions.
    """
    dataset = open_dataset(directory)
    old = [photo for photo in dataset.split("train") if photo.captions]
    if not old:
        raise TrainingError(f"mix: {directory}: no photo of the split train: nothing to mix in")
    count = min(len(old), REHEARSED * drawn_in_epoch(new, len(old), share))
    chosen = np.sort(np.random.default_rng((seed, new)).permutation(len(old))[:count])
    dev = [photo for photo in dataset.split("dev") if photo.captions][:DEV]
    return Mix(dataset.layout, share, tuple(old[row] for row in chosen), tuple(dev))
