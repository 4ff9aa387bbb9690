"""Captioned datasets: readers, shards, checks, downloads and a synthetic dataset.

`open_dataset` reads every layout into one table of photos with captions and split. Nothing here
imports PyTorch.
"""

from __future__ import annotations

from showtell.data.dataset import SPLITS, CaptionedPhoto, Dataset
from showtell.data.readers.registry import open_dataset

__all__ = ["SPLITS", "CaptionedPhoto", "Dataset", "open_dataset"]
