"""Splits of a dataset: the names that files use for them, and a split for datasets without one."""

from __future__ import annotations

import hashlib

from showtell.data.dataset import SPLITS
from showtell.data.readers.caption_files import BrokenLineError

_SPLIT_NAMES = {
    **{name: name for name in SPLITS},
    **dict.fromkeys(("val", "valid", "validation"), "dev"),
    "training": "train",
    # Karpathy's name for COCO's val photos outside his val and test splits. Papers train on them.
    "restval": "train",
}


def split_by_hash(name: str) -> str:
    """Return the split that the hash of a photo's name assigns: 80 % train, 10 % dev, 10 % test."""
    digest = hashlib.sha256(name.encode("utf-8", "surrogateescape")).digest()
    fraction = int.from_bytes(digest[:8], "big") / 2**64
    return "train" if fraction < 0.8 else "dev" if fraction < 0.9 else "test"


def parse_split(text: str, location: str) -> str:
    """Return train, dev or test for a split's name in a file.

    Raises BrokenLineError for any other name.
    """
    split = _SPLIT_NAMES.get(text.strip().lower())
    if split is None:
        raise BrokenLineError(location, f"unknown split {text!r}: use train, dev (or val) or test")
    return split
