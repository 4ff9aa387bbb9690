"""Reader of Flickr30k: the authors' token file, or the table that Kaggle distributes.

Young, Lai, Hodosh and Hockenmaier: From Image Descriptions to Visual Denotations (2014). The
dataset has no splits of its own. Papers use Karpathy's: if his file is in the folder, `karpathy`
reads that file instead.
"""

from __future__ import annotations

import re
from pathlib import Path

from showtell.data.readers.caption_files import (
    BrokenLineError,
    check_photo_name,
    first_folder,
    read_first_line,
    read_lines,
)
from showtell.data.readers.flickr8k import read_token_file
from showtell.data.readers.kaggle import unquote_caption
from showtell.data.readers.listing import DatasetFinding, DatasetLayout, DatasetListing
from showtell.errors import DatasetError

_TOKEN_FILE = "results_20130124.token"  # noqa: S105 (a file's name, not a secret)
# Kaggle's zip contains its folder twice, and unzipping it "into a folder" adds an outer one.
FLICKR30K_PHOTO_FOLDERS = (
    "flickr30k_images/flickr30k_images",
    "flickr30k-images/flickr30k-images",
    "flickr30k-images",
    "flickr30k_images",
    "Images",
    "images",
)
_TOKEN_FILES = (_TOKEN_FILE, f"flickr30k/{_TOKEN_FILE}")
_TABLES = ("results.csv", "flickr30k_images/results.csv", "captions.txt")
_COLUMNS = ["image_name", "comment_number", "comment"]
# One row of Kaggle's table lacks its second separator: "2199200615.jpg| 4   A dog runs across ...".
_WITHOUT_SEPARATOR = re.compile(r"\s*([0-9])\s+(\S.*)")


def _recognise(directory: Path) -> bool:
    """Return whether there is Flickr30k's token file, or a table with Kaggle's three columns."""
    return _find_source(directory) is not None


def _read(directory: Path) -> DatasetListing:
    """Read the token file or the table; splits are drawn by the hash of a photo's name.

    Raises DatasetError if the photo folder is missing.
    """
    source = _find_source(directory)
    if source is None:
        raise DatasetError(f"{directory}: no {_TOKEN_FILE}")
    folder = first_folder(directory, FLICKR30K_PHOTO_FOLDERS)
    if folder is None and any(directory.glob("*.jpg")):
        folder = directory
    if folder is None:
        raise DatasetError(
            f"{source}: the photos are missing: unpack them into {directory / 'flickr30k-images'}"
        )
    listing = DatasetListing(directory, FLICKR30K_LAYOUT.name, source, folder)
    if source.name == _TOKEN_FILE:
        read_token_file(source, listing)
    else:
        _read_table(source, listing)
    listing.assign_splits_by_hash()
    return listing


def _find_source(directory: Path) -> Path | None:
    for name in _TOKEN_FILES:
        if (directory / name).is_file():
            return directory / name
    for name in _TABLES:
        if _separator(read_first_line(directory / name)):
            return directory / name
    return None


def _separator(header: str) -> str | None:
    """Return the column separator of Kaggle's table, None if this is not its header."""
    for separator in "|,":
        if [column.strip().lower() for column in header.split(separator)] == _COLUMNS:
            return separator
    return None


def _read_table(source: Path, listing: DatasetListing) -> None:
    """Read by lines, not as CSV: captions contain quotes and commas; two separators count."""
    prefix = f"{listing.photo_folder}/"
    lines = read_lines(source)
    _, header = next(lines)
    separator = _separator(header) or "|"
    for location, line in lines:
        try:
            name, caption = _parse_row(line, separator, location, listing)
        except BrokenLineError as error:
            listing.note_broken(error)
        else:
            listing.add_caption(name, prefix + name, caption, location)


def _parse_row(
    line: str, separator: str, location: str, listing: DatasetListing
) -> tuple[str, str]:
    fields = line.split(separator, 2)
    if len(fields) == 3 and fields[1].strip().isdecimal():
        name, caption = check_photo_name(fields[0], location), fields[2]
        return name, unquote_caption(caption.strip()) if separator == "," else caption
    repaired = _WITHOUT_SEPARATOR.fullmatch(fields[1]) if len(fields) == 2 else None
    if repaired is None:
        form = separator.join(("photo.jpg", "0", "caption"))
        raise BrokenLineError(location, f"not of the form {form}: {line[:60]!r}")
    name = check_photo_name(fields[0], location)
    detail = f"{location}: no {separator} after the caption's number: read as if it were there"
    listing.findings.append(DatasetFinding("repaired line", name, detail, "note"))
    return name, repaired[2]


FLICKR30K_LAYOUT = DatasetLayout(
    "Flickr30k",
    f"flickr30k-images/ with the photos, {_TOKEN_FILE} or Kaggle's results.csv",
    _recognise,
    _read,
)
