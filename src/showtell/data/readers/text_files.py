"""Reader of a folder of photos with a text file beside each photo: `dog.jpg` and `dog.txt`.

A text file contains one caption per line. Subfolders are read too.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from showtell.data.readers.caption_files import BrokenLineError, read_lines
from showtell.data.readers.listing import DatasetFinding, DatasetLayout, DatasetListing
from showtell.errors import PhotoError
from showtell.files.folder_walk import is_subfolder, walk_folders
from showtell.files.photo_files import SUFFIXES

logger = logging.getLogger(__name__)

_RECOGNITION_DEPTH = 2  # levels of subfolders: recognition must not search a whole disk


def _recognise(directory: Path) -> bool:
    """Return whether a photo in the folder, or two levels below it, has a text file."""
    for _, names in _walk(directory, lambda error: None, _RECOGNITION_DEPTH):
        photos, texts = _photos_and_texts(names)
        if any(_stem(name) in texts for name in photos):
            return True
    return False


def _read(directory: Path) -> DatasetListing:
    """Read the text files of all photos in a folder and its subfolders.

    If every captioned photo is in a folder called train, dev, val or test, that is its split.
    Otherwise splits are drawn.
    """
    listing = DatasetListing(directory, TEXT_FILES_LAYOUT.name, directory)
    for folder, names in _walk(directory, _warn):
        photo_names, texts = _photos_and_texts(names)
        for name in photo_names:
            text = texts.get(_stem(name))
            if text is not None:
                _add_photo(directory, folder / name, folder / text, listing)
        stems = {_stem(name) for name in photo_names}
        for stem, text in texts.items():
            if stem not in stems:
                name = (folder / text).relative_to(directory).as_posix()
                detail = "a text file without a photo of the same name"
                listing.findings.append(DatasetFinding("missing", name, detail, "note"))
    if not listing.assign_splits_by_folder():
        listing.assign_splits_by_hash()
    return listing


def _walk(
    directory: Path, report: Callable[[PhotoError], None], depth: int | None = None
) -> Iterator[tuple[Path, list[str]]]:
    """Yield each visible folder, down to `depth` levels, with the sorted names of its files."""
    for folder in walk_folders(os.fspath(directory), max_depth=depth, report=report):
        entries = folder.entries or []
        yield Path(folder.path), [entry.name for entry in entries if not is_subfolder(entry)]


def _warn(error: PhotoError) -> None:
    logger.warning("left out: %s", error)


def _photos_and_texts(names: list[str]) -> tuple[list[str], dict[str, str]]:
    """Return the photos among a folder's visible files, and its text files by stem."""
    visible = [name for name in names if not name.startswith(".")]
    photos = [name for name in visible if os.path.splitext(name)[1].lower() in SUFFIXES]  # noqa: PTH122
    return photos, {_stem(name): name for name in visible if name.lower().endswith(".txt")}


def _stem(name: str) -> str:
    return os.path.splitext(name)[0]  # noqa: PTH122 (Path is slow for thousands of files)


def _add_photo(root: Path, photo: Path, text: Path, listing: DatasetListing) -> None:
    name = photo.relative_to(root).as_posix()
    listing.get_or_add_photo(name, str(photo), str(text))
    try:
        for location, line in read_lines(text):
            listing.add_caption(name, str(photo), line, location)
    except BrokenLineError as error:
        listing.note_broken(error)


TEXT_FILES_LAYOUT = DatasetLayout(
    "texts beside photos",
    "a .txt file with one caption per line beside each photo",
    _recognise,
    _read,
)
