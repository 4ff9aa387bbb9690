"""Walk a photo library's folders: names as bytes, loops of links never followed."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from showtell.errors import PhotoError
from showtell.files.photo_files import SUFFIXES
from showtell.files.printable_names import printable
from showtell.photos.metadata import raw_preview

_NOT_PHOTOS = {b"@eaDir", b"#recycle", b"$RECYCLE.BIN"}  # thumbnails and rubbish of storages
Report = Callable[[PhotoError], None]


@dataclass(frozen=True, slots=True)
class Found:
    """A photo's file as its folder lists it."""

    name: bytes
    size: int
    mtime_ns: int


def walk(root: bytes, report: Report) -> Iterator[tuple[bytes, list[Found] | None]]:
    """Yield each folder below `root` with its photos; None for a folder that cannot be listed.

    Folders that are links are not followed, hidden ones are left out. What cannot be listed or is
    a dead link is reported too.
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
        photos, inside = [], []
        for entry in entries:
            if entry.name.startswith(b".") or entry.name in _NOT_PHOTOS:
                continue
            if _is_folder(entry):
                inside.append(os.path.join(folder, entry.name))  # noqa: PTH118
            elif is_photo_name(entry.name):
                found = _look(entry, report)
                if found is not None:
                    photos.append(found)
        folders += reversed(inside)
        yield folder, photos


def is_photo_name(name: bytes) -> bool:
    """Tell by its suffix whether a file is a photo, raw ones among them."""
    suffix = os.fsdecode(os.path.splitext(name)[1]).lower()  # noqa: PTH122
    return suffix in SUFFIXES or suffix in raw_preview.SUFFIXES


def _is_folder(entry: os.DirEntry[bytes]) -> bool:
    try:
        return entry.is_dir(follow_symlinks=False)
    except OSError:
        return False


def _look(entry: os.DirEntry[bytes], report: Report) -> Found | None:
    shown = printable(entry.path)
    try:
        status = entry.stat()
    except FileNotFoundError:
        if entry.is_symlink():
            target = printable(os.readlink(entry.path))  # noqa: PTH115
            report(PhotoError(f"{shown}: a link to {target}, which is not there"))
        return None  # else it went away just now
    except OSError as error:
        reason = (error.strerror or "unknown error").lower()
        report(PhotoError(f"{shown}: cannot be looked at ({reason})"))
        return None
    if stat.S_ISREG(status.st_mode):
        return Found(entry.name, status.st_size, status.st_mtime_ns)
    if not stat.S_ISDIR(status.st_mode):  # a folder's link is passed over, as said above
        report(PhotoError(f"{shown}: a device or pipe, not a photo"))
    return None
