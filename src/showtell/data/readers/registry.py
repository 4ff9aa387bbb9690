"""From a folder of any known layout to one table: `open_dataset`.

A new layout is one module with a `LAYOUT` and one line in `LAYOUTS`.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path

from showtell.data.dataset import CaptionedPhoto, Dataset
from showtell.data.readers import (
    coco,
    flickr8k,
    flickr30k,
    kaggle,
    karpathy,
    table_file,
    text_files,
)
from showtell.data.readers.listing import Layout, Listing
from showtell.data.shards.index import OnBroken, is_shards, read_shards
from showtell.data.shards.remote_files import parse_address
from showtell.errors import DatasetError
from showtell.files.printable_names import printable

logger = logging.getLogger(__name__)

# Asked in this order. Karpathy's file is put beside a set for its splits, so it comes before what
# has none. "Your own" comes late, since any folder may hold some CSV file, and after it texts
# beside photos, since any folder of photos may hold some notes.
LAYOUTS: tuple[Layout, ...] = (
    flickr8k.LAYOUT,
    karpathy.LAYOUT,
    flickr30k.LAYOUT,
    kaggle.LAYOUT,
    coco.LAYOUT,
    table_file.LAYOUT,
    text_files.LAYOUT,
)
_NAMED = 3  # broken lines that an error names


def open_dataset(directory: Path | str, *, on_broken: OnBroken = "fail") -> Dataset:
    """Read a captioned dataset: a folder of a known layout, one caption file, or shards.

    Shards may lie at any address of fsspec, such as s3://bucket/flickr8k; `on_broken` says what
    becomes of one that is gone or cut off, see `read_shards`.

    Photos that are not on disk or have no caption are left out, with one warning; no photo is
    decoded (`check_dataset` does that and names each). Photos stand in the order of the split
    lists where there are some, else of the caption file.
    Raises DatasetError where the layout is unknown, lines are broken (it names the first ones) or
    nothing is left.
    """
    address = parse_address(directory)
    if is_shards(address):
        return read_shards(address, on_broken)
    listing = read_listing(Path(directory))
    _refuse_broken_lines(listing)
    photos = usable_photos(listing)
    if not photos:
        raise DatasetError(_nothing_left(listing))
    left_out = len(listing.photos) - len(photos)
    if left_out:
        logger.warning(
            "%s: %d of %d photos are left out, missing or without captions:"
            " showtell data check names each",
            listing.source,
            left_out,
            len(listing.photos),
        )
    return Dataset(listing.root, listing.layout, photos)


def read_listing(directory: Path) -> Listing:
    """Read what a dataset's files say, photos on disk or not.

    Raises DatasetError where the layout is unknown or its file cannot be read at all; lines that
    are broken are among the listing's findings.
    """
    if not directory.exists():
        raise DatasetError(f"{directory}: there is no such folder")
    for layout in LAYOUTS:
        if layout.recognise(directory):
            return layout.read(directory)
    if directory.is_dir():
        raise DatasetError(_unknown_layout(directory))
    raise DatasetError(
        f"{directory}: not a dataset: give a folder, or a .csv or .jsonl file,"
        " COCO's captions_*.json or Karpathy's dataset_*.json"
    )


def usable_photos(listing: Listing) -> tuple[CaptionedPhoto, ...]:
    """Return the listed photos that are on disk and have a caption."""
    return tuple(
        CaptionedPhoto(photo.name, Path(photo.path), tuple(photo.captions), photo.split)
        for photo in listing.photos.values()
        if photo.captions and listing.folders.has(photo.path)
    )


def _refuse_broken_lines(listing: Listing) -> None:
    """Raise DatasetError where lines are broken: what is left of them would train, unnoticed."""
    broken = listing.broken_lines()
    if not broken:
        return
    named = "; ".join(f"{line.name}: {line.detail}" for line in broken[:_NAMED])
    more = len(broken) - _NAMED
    if more > 0:
        named += f"; and {more:,} more broken lines: showtell data check names them all"
    raise DatasetError(named)


def _unknown_layout(directory: Path) -> str:
    known = "; ".join(f"{layout.name}: {layout.looks_like}" for layout in LAYOUTS)
    with os.scandir(directory) as entries:
        names = sorted(printable(e.name) + ("/" if e.is_dir() else "") for e in entries)
    seen = ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
    return f"{directory}: no known layout. It holds {seen or 'nothing'}. Known are {known}"


def _nothing_left(listing: Listing) -> str:
    if not listing.photos:
        return f"{listing.source}: it names no photos"
    first = next(iter(listing.photos.values()))
    if not first.captions:
        return f"{listing.source}: no photo in it has a caption"
    return (
        f"{listing.source}: none of its {len(listing.photos)} photos is there;"
        f" the first would be {first.path}"
    )
