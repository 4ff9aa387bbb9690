"""Walk the folders of a photo library, with names as bytes and without following links."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from showtell.errors import PhotoError
from showtell.files.printable_names import printable
from showtell.photos.photo_names import is_photo_name

_NOT_PHOTOS = {b"@eaDir", b"#recycle", b"$RECYCLE.BIN"}  # thumbnails and trash of network drives
Report = Callable[[PhotoError], None]


@dataclass(frozen=True, slots=True)
class PhotoFile:
    """A photo's file in a folder listing."""

    name: bytes
    size: int
    mtime_ns: int


def walk(root: bytes, report: Report) -> Iterator[tuple[bytes, list[PhotoFile] | None]]:
    """Yield each folder below `root` with its photos; None for a folder that cannot be listed.

    Hidden folders and links to folders are skipped. Folders that cannot be listed and broken links
    go to `report`.
    """
    folders = [root]
    while folders:
        folder = folders.pop()
        try:
            with os.scandir(folder) as listing:
                entries = sorted(listing, key=lambda entry: entry.name)
        except OSError as error:
            reason = (error.strerror or "unknown error").lower()
            report(PhotoError(f"{printable(folder)}: the folder cannot be listed ({reason})"))
            yield folder, None
            continue
        photos, subfolders = [], []
        for entry in entries:
            if entry.name.startswith(b".") or entry.name in _NOT_PHOTOS:
                continue
            if _is_folder(entry):
                subfolders.append(os.path.join(folder, entry.name))  # noqa: PTH118
            elif is_photo_name(entry.name):
                photo = _photo_file(entry, report)
                if photo is not None:
                    photos.append(photo)
        folders += reversed(subfolders)
        yield folder, photos


def _is_folder(entry: os.DirEntry[bytes]) -> bool:
    try:
        return entry.is_dir(follow_symlinks=False)
    except OSError:
        return False


def _photo_file(entry: os.DirEntry[bytes], report: Report) -> PhotoFile | None:
    shown = printable(entry.path)
    try:
        status = entry.stat()
    except FileNotFoundError:
        if entry.is_symlink():
            target = printable(os.readlink(entry.path))  # noqa: PTH115
            report(PhotoError(f"{shown}: a link to {target}, which does not exist"))
        return None  # otherwise it was deleted just now
    except OSError as error:
        reason = (error.strerror or "unknown error").lower()
        report(PhotoError(f"{shown}: cannot be read ({reason})"))
        return None
    if stat.S_ISREG(status.st_mode):
        return PhotoFile(entry.name, status.st_size, status.st_mtime_ns)
    if not stat.S_ISDIR(status.st_mode):  # links to folders are skipped
        report(PhotoError(f"{shown}: a device or pipe, not a photo"))
    return None
