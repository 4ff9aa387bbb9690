"""Find photos in files and folders."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from showtell.errors import PhotoError
from showtell.files.printable_names import printable

SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".apng", ".webp", ".gif", ".bmp", ".dib"}
    | {".tif", ".tiff", ".avif", ".heic", ".heif"}
)


def find_photos(
    paths: Iterable[str | os.PathLike[str]],
    *,
    recursive: bool = False,
    report: Callable[[PhotoError], None],
) -> Iterator[Path]:
    """Yield the photos that `paths` name, in their order, each folder's sorted by name.

    A path given by name is yielded whatever it is called, unless it is a folder: of a folder come
    the files that have a photo's suffix and no leading dot, links that lead nowhere among them
    (opening those says so), and with `recursive` what its subfolders hold. Folders that are links
    are not followed. A folder that cannot be listed goes to `report`.
    """
    for path in map(Path, paths):
        if path.is_dir():
            yield from _in_folder(path, recursive, report)
        else:
            yield path


def _in_folder(
    folder: Path, recursive: bool, report: Callable[[PhotoError], None]
) -> Iterator[Path]:
    try:
        with os.scandir(folder) as listing:
            entries = sorted(listing, key=lambda entry: entry.name)
    except OSError as error:
        reason = (error.strerror or "unknown error").lower()
        report(
            PhotoError(f"{printable(os.fspath(folder))}: the folder cannot be listed ({reason})")
        )
        return
    for entry in entries:
        if entry.name.startswith("."):  # among them ._photo.jpg, which macOS leaves on USB sticks
            continue
        path = folder / entry.name
        if _is_folder(entry):
            if recursive and not entry.is_symlink():
                yield from _in_folder(path, recursive, report)
        elif path.suffix.lower() in SUFFIXES:
            if _is_special(entry):
                report(PhotoError(f"{printable(os.fspath(path))}: a device or pipe, not a photo"))
            else:
                yield path


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a loop of links: opening it will say so
        return False


def _is_special(entry: os.DirEntry[str]) -> bool:
    """Tell whether opening the entry could wait for ever, as a named pipe does."""
    try:
        return not entry.is_file() and not entry.is_symlink()
    except OSError:
        return False
