"""Reader of the layout in which Kaggle hands out Flickr8k: `Images/` and `captions.txt`."""

from __future__ import annotations

import csv
from pathlib import Path

from showtell.data.readers.flickr8k import apply_split_lists
from showtell.data.readers.listing import BrokenLineError, Layout, Listing, plain_name, read_lines
from showtell.errors import DatasetError


def recognise(directory: Path) -> bool:
    """Say whether there are both a caption file and a folder of photos of Kaggle's names."""
    return (directory / "captions.txt").is_file() and (directory / "Images").is_dir()


def read(directory: Path) -> Listing:
    """Read `captions.txt`; the official split lists count where somebody put them beside it.

    Raises DatasetError where the header is another one.
    """
    source = directory / "captions.txt"
    listing = Listing(directory, LAYOUT.name, source, directory / "Images")
    prefix = f"{listing.photo_folder}/"
    lines = read_lines(source)
    where, header = next(lines, (f"{source}:1", ""))
    if header.replace(" ", "").lower() != "image,caption":
        raise DatasetError(f"{where}: the header must be image,caption: {header[:60]!r}")
    for where, line in lines:
        name, comma, caption = line.partition(",")
        try:
            if not comma:
                raise BrokenLineError(where, f"not of the form photo.jpg,caption: {line[:60]!r}")
            name = plain_name(name, where)
        except BrokenLineError as error:
            listing.note_broken(error)
        else:
            listing.add(name, prefix + name, unquote(caption), where)
    apply_split_lists(listing)
    return listing


def unquote(caption: str) -> str:
    """Undo CSV quotes where the whole caption is quoted; commas and other quotes are the caption's.

    The file is read by the line, not as CSV, so that one caption with a lone quote at its start
    cannot swallow the lines after it.
    """
    if not caption.startswith('"'):
        return caption
    try:
        fields = next(csv.reader([caption.rstrip()], strict=True))
    except csv.Error:
        return caption
    return fields[0] if len(fields) == 1 else caption


LAYOUT = Layout(
    "Kaggle Flickr8k",
    "Images/ with the photos, captions.txt with image,caption lines",
    recognise,
    read,
)
