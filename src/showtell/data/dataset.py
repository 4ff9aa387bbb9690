"""One table of photo, captions and split: what every dataset becomes once it is read."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from showtell.data.shards.index import ShardPhoto

SPLITS = ("train", "dev", "test")


@dataclass(frozen=True, slots=True)
class CaptionedPhoto:
    """One photo with its captions; `split` is None where official lists leave the photo out.

    `path` is a loose file's, or a place in a shard: `open_photo` and `Captioner` take both, and
    both have `read_bytes()`.
    """

    name: str
    path: Path | ShardPhoto
    captions: tuple[str, ...]
    split: str | None


@dataclass(frozen=True)
class Dataset:
    """A captioned dataset: in the order of its split lists, else of its caption file.

    `root` is its folder, or the address of its shards.
    """

    root: Path | str
    layout: str
    photos: tuple[CaptionedPhoto, ...]

    def split(self, name: str) -> list[CaptionedPhoto]:
        """Return the photos of one split, in the order of the split's list."""
        return [photo for photo in self.photos if photo.split == name]


def fingerprint(names: Sequence[str]) -> str:
    """Return a sha256 over sorted photo names: which photos a model has seen, in 64 letters."""
    return hashlib.sha256("\n".join(sorted(names)).encode("utf-8", "surrogateescape")).hexdigest()
