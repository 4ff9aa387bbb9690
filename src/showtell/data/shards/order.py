"""A shuffled order of photos that reads remote shards in long stretches."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from showtell.data.dataset import CaptionedPhoto
from showtell.data.shard_photo import ShardPhoto

STRETCH = 64  # neighbouring photos of a shard that stay together before the second shuffle
WINDOW = 512  # photos that are shuffled among each other: eight stretches


def local_order(
    photos: Sequence[CaptionedPhoto], random: np.random.Generator
) -> NDArray[np.int64] | None:
    """Return a permutation of photos at a remote address, None if any photo is on disk.

    Stretches of neighbours are shuffled, then the photos within windows of several stretches. So
    reading in this order needs only a few megabytes of the shards at a time, and
    `ShardPhoto.read_bytes` keeps those blocks in memory. For photos on disk, every order costs the
    same.
    """
    if not photos or not all(
        isinstance(photo.path, ShardPhoto) and isinstance(photo.path.shard, str) for photo in photos
    ):
        return None
    rows = np.arange(len(photos))
    stretches = [rows[start : start + STRETCH] for start in rows[::STRETCH]]
    order = np.concatenate([stretches[index] for index in random.permutation(len(stretches))])
    windows = [order[start : start + WINDOW] for start in rows[::WINDOW]]
    return np.concatenate([random.permutation(window) for window in windows])
