"""Captioned datasets: readers, checks, the synthetic set; no PyTorch at import.

`open_dataset(directory)` is the entrance: one table of photo, captions and split for every layout.
"""

from __future__ import annotations

from showtell.data.readers import open_dataset
from showtell.data.table import SPLITS, CaptionedPhoto, Dataset

__all__ = ["SPLITS", "CaptionedPhoto", "Dataset", "open_dataset"]
