"""Replace a file by a complete copy that has the same dates, permissions and owner."""

from __future__ import annotations

import contextlib
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from showtell.errors import MetadataError, ShowtellError
from showtell.files.atomic_write import move_into_place, sync_file
from showtell.files.os_errors import error_reason
from showtell.files.permissions import NEW_FILE, PRIVATE, copy_permissions, creation_opener
from showtell.files.printable_names import printable

FileStamp = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Replacement:
    """A complete copy beside its target, and the stamp of the target when it was read.

    `stamp` is None if the target does not exist.
    """

    temporary: Path
    target: Path
    stamp: FileStamp | None


def file_stamp(path: Path) -> FileStamp | None:
    """Return a file's size, modification time and inode; None if there is no such file."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_size, status.st_mtime_ns, status.st_ino


def write_copy(
    temporary: Path,
    target: Path,
    data: bytes,
    stamp: FileStamp | None,
    *,
    photo: Path | None = None,
) -> Replacement:
    """Write `data` to `temporary`, with the dates, permissions and owner of `target`, if any.

    Until then only the user can read it. If there is no `target` yet, nobody may read it who may
    not read `photo`. The bytes are on the disk and verified before this returns.
    Raises OSError, for example on a full disk, and then leaves no file behind.
    """
    try:
        mode = PRIVATE
        if stamp is None:
            mode = NEW_FILE if photo is None else NEW_FILE & photo.stat().st_mode | PRIVATE
        with open(temporary, "xb", opener=creation_opener(mode)) as file:
            file.write(data)
            sync_file(file)
        if stamp is not None:
            _copy_attributes(target, temporary)
        if temporary.read_bytes() != data:
            raise OSError("the copy differs from what was written")
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    return Replacement(temporary, target, stamp)


def replace_target(replacement: Replacement) -> None:
    """Replace the target by its copy atomically.

    Raises MetadataError, and changes nothing, if the target has changed since it was read.
    """
    temporary, target = replacement.temporary, replacement.target
    try:
        if file_stamp(target) != replacement.stamp:
            display_path = printable(os.fspath(target))
            raise MetadataError(f"{display_path}: another program has just changed it: left alone")
        move_into_place(temporary, target)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise


def failure_message(target: Path, error: Exception) -> str:
    """Return one line that names a file and says why it could not be replaced."""
    display_path = printable(os.fspath(target))
    if isinstance(error, OSError):
        return f"{display_path}: cannot be written ({error_reason(error)})"
    if not isinstance(error, ShowtellError):  # a fault of ours or of a library, with this file only
        return f"{display_path}: left alone ({error!r})"
    text = str(error)
    return text if text.startswith(display_path) else f"{display_path}: {text}"


def _copy_attributes(source: Path, target: Path) -> None:
    status = source.stat()
    if copy_permissions(status, target):
        shutil.copystat(source, target)
        return
    # the group differs, so its permissions must not be copied
    os.utime(target, ns=(status.st_atime_ns, status.st_mtime_ns))
    if hasattr(os, "listxattr"):
        for name in os.listxattr(source):
            if name.startswith("user."):
                with contextlib.suppress(OSError):
                    os.setxattr(target, name, os.getxattr(source, name))
