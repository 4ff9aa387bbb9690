"""Reader of Flickr30k: the authors' token file, or the table in which Kaggle hands it out.

Young, Lai, Hodosh and Hockenmaier: From Image Descriptions to Visual Denotations (2014). The set
comes without splits: Karpathy's file beside it has those that papers use (see `karpathy`).
"""

from __future__ import annotations

import re
from pathlib import Path

from showtell.data.readers.flickr8k import read_token_file
from showtell.data.readers.kaggle import unquote
from showtell.data.readers.listing import (
    BrokenLineError,
    Finding,
    Layout,
    Listing,
    first_folder,
    first_line,
    plain_name,
    read_lines,
)
from showtell.errors import DatasetError

TOKEN_FILE = "results_20130124.token"  # noqa: S105 (a file's name, not a secret)
# Kaggle's zip holds its folder twice over; who unzips it "into a folder" has the outer one too.
PHOTO_FOLDERS = (
    "flickr30k_images/flickr30k_images",
    "flickr30k-images/flickr30k-images",
    "flickr30k-images",
    "flickr30k_images",
    "Images",
    "images",
)
_TOKEN_FILES = (TOKEN_FILE, f"flickr30k/{TOKEN_FILE}")
_TABLES = ("results.csv", "flickr30k_images/results.csv", "captions.txt")
_COLUMNS = ["image_name", "comment_number", "comment"]
# In Kaggle's table one row lacks its second mark: "2199200615.jpg| 4   A dog runs across ...".
_UNMARKED = re.compile(r"\s*([0-9])\s+(\S.*)")


def recognise(directory: Path) -> bool:
    """Say whether there is Flickr30k's token file, or a table with Kaggle's three columns."""
    return _source(directory) is not None


def read(directory: Path) -> Listing:
    """Read the token file or the table; splits are drawn by the hash of a photo's name.

    Raises DatasetError where the photo folder is missing.
    """
    source = _source(directory)
    if source is None:
        raise DatasetError(f"{directory}: {TOKEN_FILE} is not there")
    folder = first_folder(directory, PHOTO_FOLDERS)
    if folder is None and any(directory.glob("*.jpg")):
        folder = directory
    if folder is None:
        raise DatasetError(
            f"{source}: is there, the photos are not: unpack them into"
            f" {directory / 'flickr30k-images'}"
        )
    listing = Listing(directory, LAYOUT.name, source, folder)
    if source.name == TOKEN_FILE:
        read_token_file(source, listing)
    else:
        _read_table(source, listing)
    listing.draw_splits()
    return listing


def _source(directory: Path) -> Path | None:
    for name in _TOKEN_FILES:
        if (directory / name).is_file():
            return directory / name
    for name in _TABLES:
        if _mark(first_line(directory / name)):
            return directory / name
    return None


def _mark(header: str) -> str | None:
    """Return what separates the columns of a table with this header, where it is Kaggle's."""
    for mark in "|,":
        if [column.strip().lower() for column in header.split(mark)] == _COLUMNS:
            return mark
    return None


def _read_table(source: Path, listing: Listing) -> None:
    """Read by the line, not as CSV: captions hold quotes and commas, and only two marks count."""
    prefix = f"{listing.photo_folder}/"
    lines = read_lines(source)
    _, header = next(lines)
    mark = _mark(header) or "|"
    for where, line in lines:
        try:
            name, caption = _row(line, mark, where, listing)
        except BrokenLineError as error:
            listing.note_broken(error)
        else:
            listing.add(name, prefix + name, caption, where)


def _row(line: str, mark: str, where: str, listing: Listing) -> tuple[str, str]:
    fields = line.split(mark, 2)
    if len(fields) == 3 and fields[1].strip().isdecimal():
        name, caption = plain_name(fields[0], where), fields[2]
        return name, unquote(caption.strip()) if mark == "," else caption
    repaired = _UNMARKED.fullmatch(fields[1]) if len(fields) == 2 else None
    if repaired is None:
        form = mark.join(("photo.jpg", "0", "caption"))
        raise BrokenLineError(where, f"not of the form {form}: {line[:60]!r}")
    name = plain_name(fields[0], where)
    detail = f"{where}: no {mark} after the caption's number: taken as if it were there"
    listing.findings.append(Finding("repaired line", name, detail, "note"))
    return name, repaired[2]


LAYOUT = Layout(
    "Flickr30k",
    f"flickr30k-images/ with the photos, {TOKEN_FILE} or Kaggle's results.csv",
    recognise,
    read,
)
