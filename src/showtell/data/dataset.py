"""`Dataset`: one table of photos with captions and split, from every layout."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
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

    `root` is its folder, or the address of its shards. `shortened` names the splits of which only
    the first photos are here. `language` is the BCP 47 tag of the captions' language, where the
    dataset's files give it.
    """

    root: Path | str
    layout: str
    photos: tuple[CaptionedPhoto, ...]
    shortened: frozenset[str] = frozenset()
    language: str | None = None

    def split(self, name: str) -> list[CaptionedPhoto]:
        """Return the photos of one split, in the order of the split's list."""
        return [photo for photo in self.photos if photo.split == name]

    def first(self, limit: int) -> Dataset:
        """Return the dataset with the first `limit` photos of each split only; 0: all photos.

        Raises ValueError if `limit` is negative.
        """
        if limit < 0:
            raise ValueError(f"limit: must be 0 (all photos) or more, not {limit}")
        if not limit:
            return self
        of_split: defaultdict[str | None, list[CaptionedPhoto]] = defaultdict(list)
        for photo in self.photos:
            of_split[photo.split].append(photo)
        photos = tuple(photo for photos in of_split.values() for photo in photos[:limit])
        cut = {name for name, photos in of_split.items() if name and len(photos) > limit}
        return replace(self, photos=photos, shortened=self.shortened | cut)


def fingerprint(names: Sequence[str]) -> str:
    """Return the sha256, in 64 hexadecimal digits, of a set of photo names."""
    return hashlib.sha256("\n".join(sorted(names)).encode("utf-8", "surrogateescape")).hexdigest()
