"""`Dataset`: one table of photos with captions and split, from every layout."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from showtell.data.shard_photo import ShardPhoto

SPLITS = ("train", "dev", "test")


@dataclass(frozen=True, slots=True)
class CaptionedPhoto:
    """One photo with its captions; `split` is None if the official split lists leave it out.

    `path` is a file's path or a photo in a shard. `open_photo` and `Captioner` accept both, and
    both have `read_bytes()`.
    """

    name: str
    path: Path | ShardPhoto
    captions: tuple[str, ...]
    split: str | None


@dataclass(frozen=True)
class Dataset:
    """A captioned dataset, in the order of its split lists, else of its caption file.

    `root` is its folder, or the address of its shards.
    """

    root: Path | str
    layout: str
    photos: tuple[CaptionedPhoto, ...]

    def split(self, name: str) -> list[CaptionedPhoto]:
        """Return the photos of one split, in the order of the split's list."""
        return [photo for photo in self.photos if photo.split == name]


def fingerprint(names: Sequence[str]) -> str:
    """Return the sha256, in 64 hexadecimal digits, of a set of photo names."""
    return hashlib.sha256("\n".join(sorted(names)).encode("utf-8", "surrogateescape")).hexdigest()
