"""A batch of random features and captions for small decoders."""

from __future__ import annotations

import numpy as np
import torch

from showtell.training.batches import Batch, collate
from showtell.vocabulary import FIRST_WORD

CHANNELS, REGIONS, WORDS = 12, 6, 15


def random_batch(photos: int = 3, width: int = 2) -> Batch:
    """Return `width` captions of 1 to 7 words for each photo, the same in every call."""
    random = np.random.default_rng(1)
    regions = torch.randn(photos, REGIONS, CHANNELS, generator=torch.Generator().manual_seed(2))
    captions = [
        random.integers(FIRST_WORD, WORDS, random.integers(1, 8)).tolist()
        for _ in range(photos * width)
    ]
    return collate({"regions": regions, "pooled": regions.mean(1)}, captions)
