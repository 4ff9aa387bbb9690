"""Captioned datasets: readers, checks, the synthetic set; no PyTorch at import.

`open_dataset(directory)` is the entrance: one table of photo, captions and split for every layout.
"""

from __future__ import annotations

from showtell.data.dataset import SPLITS, CaptionedPhoto, Dataset
from showtell.data.readers.registry import open_dataset

__all__ = ["SPLITS", "CaptionedPhoto", "Dataset", "open_dataset"]
