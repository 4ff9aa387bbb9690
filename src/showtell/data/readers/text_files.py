"""Reader of a folder of photos with a text file beside each: `dog.jpg` and `dog.txt`.

A text file holds one caption a line. Subfolders are read too.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from showtell.data.readers.listing import (
    BrokenLineError,
    Finding,
    Layout,
    Listing,
    read_lines,
    split_named,
)
from showtell.files.photo_files import SUFFIXES


def recognise(directory: Path) -> bool:
    """Say whether a photo in the folder, or not far down in it, has a text of its name."""
    # Deeper folders are read too, but nobody's whole disk is searched for the first pair.
    for _, names in _folders(directory, deepest=2):
        photos, texts = _pairs(names)
        if any(_stem(name) in texts for name in photos):
            return True
    return False


def read(directory: Path) -> Listing:
    """Read the texts of all photos in a folder and in the folders in it.

    Where every captioned photo lies in a folder called train, dev, val or test, that is its split;
    else splits are drawn.
    """
    listing = Listing(directory, LAYOUT.name, directory)
    for folder, names in _folders(directory):
        photo_names, texts = _pairs(names)
        for name in photo_names:
            text = texts.get(_stem(name))
            if text is not None:
                _add(directory, folder / name, folder / text, listing)
        stems = {_stem(name) for name in photo_names}
        for stem, text in texts.items():
            if stem not in stems:
                shown = (folder / text).relative_to(directory).as_posix()
                listing.findings.append(
                    Finding("missing", shown, "a text without a photo of its name", "note")
                )
    if not _split_by_folder(listing):
        listing.draw_splits()
    return listing


def _folders(directory: Path, deepest: int | None = None) -> Iterator[tuple[Path, list[str]]]:
    """Yield every folder with the names of its files, sorted; hidden ones are left out."""
    for folder, inner, names in os.walk(directory):
        path = Path(folder)
        deep = len(path.relative_to(directory).parts)
        inner[:] = sorted(name for name in inner if not name.startswith(".") and deep != deepest)
        yield path, sorted(names)


def _pairs(names: list[str]) -> tuple[list[str], dict[str, str]]:
    """Return the photos among a folder's visible files, and its texts by their stem."""
    visible = [name for name in names if not name.startswith(".")]
    photos = [name for name in visible if os.path.splitext(name)[1].lower() in SUFFIXES]  # noqa: PTH122
    return photos, {_stem(name): name for name in visible if name.lower().endswith(".txt")}


def _stem(name: str) -> str:
    return os.path.splitext(name)[0]  # noqa: PTH122 (Path is slow by thousands)


def _add(root: Path, photo: Path, text: Path, listing: Listing) -> None:
    name = photo.relative_to(root).as_posix()
    listing.name_photo(name, str(photo), str(text))
    try:
        for where, line in read_lines(text):
            listing.add(name, str(photo), line, where)
    except BrokenLineError as error:
        listing.note_broken(error)


def _split_by_folder(listing: Listing) -> bool:
    """Give photos the split that their outermost folder names; say whether each has one."""
    splits = {}
    for name in listing.photos:
        try:
            splits[name] = split_named(name.split("/")[0] if "/" in name else "", "")
        except BrokenLineError:
            return False
    for name, split in splits.items():
        listing.photos[name].split = split
    return True


LAYOUT = Layout(
    "texts beside photos",
    "a .txt of captions, one a line, beside each photo",
    recognise,
    read,
)
