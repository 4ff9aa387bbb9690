"""Reader of Flickr8k as Kaggle distributes it: `Images/` and `captions.txt`."""

from __future__ import annotations

import csv
from pathlib import Path

from showtell.data.readers.caption_files import BrokenLineError, check_photo_name, read_lines
from showtell.data.readers.flickr8k import apply_split_lists
from showtell.data.readers.listing import DatasetLayout, DatasetListing
from showtell.errors import DatasetError


def _recognise(directory: Path) -> bool:
    """Return whether there are a caption file and a photo folder with Kaggle's names."""
    return (directory / "captions.txt").is_file() and (directory / "Images").is_dir()


def _read(directory: Path) -> DatasetListing:
    """Read `captions.txt`, and the official split lists if they are beside it.

    Raises DatasetError if the header is different.
    """
    source = directory / "captions.txt"
    listing = DatasetListing(directory, KAGGLE_LAYOUT.name, source, directory / "Images")
    prefix = f"{listing.photo_folder}/"
    lines = read_lines(source)
    location, header = next(lines, (f"{source}:1", ""))
    if header.replace(" ", "").lower() != "image,caption":
        raise DatasetError(f"{location}: the header must be image,caption, not {header[:60]!r}")
    for location, line in lines:
        name, comma, caption = line.partition(",")
        try:
            if not comma:
                fault = f"not of the form photo.jpg,caption: {line[:60]!r}"
                raise BrokenLineError(location, fault)
            name = check_photo_name(name, location)
        except BrokenLineError as error:
            listing.note_broken(error)
        else:
            listing.add_caption(name, prefix + name, unquote_caption(caption), location)
    apply_split_lists(listing)
    return listing


def unquote_caption(caption: str) -> str:
    """Remove the CSV quotes of a caption that is quoted as a whole; keep all other quotes.

    The file is read by lines and not as CSV, so that a caption with a lone quote at its start
    cannot absorb the lines after it.
    """
    if not caption.startswith('"'):
        return caption
    try:
        fields = next(csv.reader([caption.rstrip()], strict=True))
    except csv.Error:
        return caption
    return fields[0] if len(fields) == 1 else caption


KAGGLE_LAYOUT = DatasetLayout(
    "Kaggle Flickr8k",
    "Images/ with the photos, captions.txt with image,caption lines",
    _recognise,
    _read,
)
