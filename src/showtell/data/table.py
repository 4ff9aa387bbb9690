"""One table of photo, captions and split: what every dataset becomes once it is read."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

SPLITS = ("train", "dev", "test")


@dataclass(frozen=True, slots=True)
class CaptionedPhoto:
    """One photo with its captions; `split` is None where official lists leave the photo out."""

    name: str
    path: Path
    captions: tuple[str, ...]
    split: str | None


@dataclass(frozen=True)
class Dataset:
    """A captioned dataset on disk: in the order of its split lists, else of its caption file."""

    root: Path
    layout: str
    photos: tuple[CaptionedPhoto, ...]

    def split(self, name: str) -> list[CaptionedPhoto]:
        """Return the photos of one split, in the order of the split's list."""
        return [photo for photo in self.photos if photo.split == name]


def fingerprint(names: Sequence[str]) -> str:
    """Return a sha256 over sorted photo names: which photos a model has seen, in 64 letters."""
    return hashlib.sha256("\n".join(sorted(names)).encode("utf-8", "surrogateescape")).hexdigest()
