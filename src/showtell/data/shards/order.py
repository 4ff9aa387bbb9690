"""An order for an epoch that reads shards far away as a stream, and still mixes photos well."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from showtell.data.dataset import CaptionedPhoto
from showtell.data.shards.index import ShardPhoto

STRETCH = 64  # photos that lie side by side in a shard
WINDOW = 512  # photos that are in no order any more: those of eight stretches


def local_order(
    photos: Sequence[CaptionedPhoto], random: np.random.Generator
) -> NDArray[np.int64] | None:
    """Return a permutation of photos at an address that reads it in stretches; None of others.

    Stretches of neighbours are shuffled and laid end to end, and what comes of that is shuffled
    in windows: whoever reads in this order goes back and forth in a few megabytes at a time, which
    `ShardPhoto.read_bytes` keeps. Photos on disk need none of it: any order costs the same.
    """
    if not photos or not all(
        isinstance(photo.path, ShardPhoto) and isinstance(photo.path.shard, str) for photo in photos
    ):
        return None
    rows = np.arange(len(photos))
    stretches = [rows[start : start + STRETCH] for start in rows[::STRETCH]]
    order = np.concatenate([stretches[place] for place in random.permutation(len(stretches))])
    windows = [order[start : start + WINDOW] for start in rows[::WINDOW]]
    return np.concatenate([random.permutation(window) for window in windows])
