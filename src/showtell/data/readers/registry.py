"""`open_dataset`: read a dataset in any known layout.

To add a layout, write a module with a `DatasetLayout` and add it to `LAYOUTS`.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path

from showtell.data.dataset import CaptionedPhoto, Dataset
from showtell.data.readers.coco import COCO_LAYOUT
from showtell.data.readers.flickr8k import FLICKR8K_LAYOUT
from showtell.data.readers.flickr30k import FLICKR30K_LAYOUT
from showtell.data.readers.hugging_face import HUGGING_FACE_LAYOUT
from showtell.data.readers.kaggle import KAGGLE_LAYOUT
from showtell.data.readers.karpathy import KARPATHY_LAYOUT
from showtell.data.readers.listing import DatasetLayout, DatasetListing
from showtell.data.readers.table_file import TABLE_LAYOUT
from showtell.data.readers.text_files import TEXT_FILES_LAYOUT
from showtell.data.shards.address import parse_address
from showtell.data.shards.index import OnBroken, is_shards, read_shards
from showtell.errors import DatasetError
from showtell.files.counts import count_of
from showtell.files.printable_names import printable

logger = logging.getLogger(__name__)

# The first layout that matches is read. Karpathy's file adds splits to a dataset, so it comes
# before layouts without splits. Tables come late because any folder may contain some CSV file, and
# text files last because any folder of photos may contain some notes.
LAYOUTS: tuple[DatasetLayout, ...] = (
    FLICKR8K_LAYOUT,
    KARPATHY_LAYOUT,
    FLICKR30K_LAYOUT,
    KAGGLE_LAYOUT,
    COCO_LAYOUT,
    HUGGING_FACE_LAYOUT,
    TABLE_LAYOUT,
    TEXT_FILES_LAYOUT,
)
_NAMED_LINES = 3  # broken lines that an error names


def open_dataset(directory: Path | str, *, on_broken: OnBroken = "fail") -> Dataset:
    """Read a captioned dataset: a folder in a known layout, one caption file, or shards.

    Shards may be at any address that fsspec opens, such as s3://bucket/flickr8k. `on_broken`
    selects what happens to a shard that is missing or truncated, see `read_shards`.

    Photos that are not on disk or have no caption are left out, with one warning. No photo is
    decoded; `check_dataset` does that and names each fault. Photos are in the order of the split
    lists if there are any, else of the caption file.

    Raises DatasetError if the layout is unknown, if lines are broken (the first ones are named), or
    if no photo is left.
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
            "%s: %d of %d photos are left out, because they are missing or have no captions:"
            " showtell data check names them",
            listing.source,
            left_out,
            len(listing.photos),
        )
    return Dataset(listing.root, listing.layout, photos, language=listing.language)


def read_listing(directory: Path) -> DatasetListing:
    """Return what a dataset's files say, whether or not the photos are on disk.

    Broken lines are among the listing's findings. Raises DatasetError if the layout is unknown or a
    file cannot be read at all.
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


def usable_photos(listing: DatasetListing) -> tuple[CaptionedPhoto, ...]:
    """Return the listed photos that are on disk and have a caption."""
    return tuple(
        CaptionedPhoto(photo.name, Path(photo.path), tuple(photo.captions), photo.split)
        for photo in listing.photos.values()
        if photo.captions and listing.folders.has(photo.path)
    )


def _refuse_broken_lines(listing: DatasetListing) -> None:
    """Raise DatasetError for broken lines: training must not silently use only the other lines."""
    broken = listing.broken_lines()
    if not broken:
        return
    message = "; ".join(f"{line.name}: {line.detail}" for line in broken[:_NAMED_LINES])
    others = len(broken) - _NAMED_LINES
    if others > 0:
        message += f"; and {others:,} more broken lines: showtell data check names them all"
    raise DatasetError(message)


def _unknown_layout(directory: Path) -> str:
    known = "; ".join(f"{layout.name}: {layout.description}" for layout in LAYOUTS)
    with os.scandir(directory) as entries:
        names = sorted(printable(e.name) + ("/" if e.is_dir() else "") for e in entries)
    content = ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
    return f"{directory}: no known layout. It holds {content or 'nothing'}. Known are {known}"


def _nothing_left(listing: DatasetListing) -> str:
    if not listing.photos:
        return f"{listing.source}: it names no photos"
    first = next(iter(listing.photos.values()))
    if not first.captions:
        return f"{listing.source}: no photo in it has a caption"
    return (
        f"{listing.source}: none of the listed photos exists"
        f" ({count_of(len(listing.photos), 'photo')}); the first would be {first.path}"
    )
