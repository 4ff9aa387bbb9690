"""Walk the folders of a photo library, with names as bytes and without following links."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass

from showtell.errors import PhotoError, PhotoErrorHandler
from showtell.files.folder_walk import is_subfolder, walk_folders
from showtell.files.os_errors import error_reason
from showtell.files.printable_names import printable
from showtell.photos.catalogue.file_status import FileStatus
from showtell.photos.photo_names import is_photo_name


@dataclass(frozen=True, slots=True)
class PhotoFile:
    """A photo's file in a folder listing."""

    name: bytes
    status: FileStatus


def walk_photos(
    root: bytes, report: PhotoErrorHandler
) -> Iterator[tuple[bytes, list[PhotoFile] | None]]:
    """Yield each folder below `root` with its photos; None for a folder that cannot be listed.

    The folders are those of `walk_folders`. Folders that cannot be listed and broken links go to
    `report`.
    """
    for folder in walk_folders(root, report=report):
        if folder.entries is None:
            yield folder.path, None
            continue
        photos = (
            _photo_file(entry, report)
            for entry in folder.entries
            if is_photo_name(entry.name) and not is_subfolder(entry)
        )
        yield folder.path, [photo for photo in photos if photo is not None]


def _photo_file(entry: os.DirEntry[bytes], report: PhotoErrorHandler) -> PhotoFile | None:
    display_path = printable(entry.path)
    try:
        status = entry.stat()
    except FileNotFoundError:
        if entry.is_symlink():
            target = printable(os.readlink(entry.path))  # noqa: PTH115
            report(PhotoError(f"{display_path}: a link to {target}, which does not exist"))
        return None  # otherwise it was deleted just now
    except OSError as error:
        report(PhotoError(f"{display_path}: cannot be read ({error_reason(error)})"))
        return None
    if stat.S_ISREG(status.st_mode):
        return PhotoFile(entry.name, FileStatus.of(status))
    if not stat.S_ISDIR(status.st_mode):  # links to folders are skipped
        report(PhotoError(f"{display_path}: a device or pipe, not a photo"))
    return None
