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


def write_copy(temporary: Path, target: Path, data: bytes, stamp: FileStamp | None) -> Replacement:
    """Write `data` to `temporary`, with the dates, permissions and owner of `target`, if any.

    The bytes are on the disk and verified before this returns.
    Raises OSError, for example on a full disk, and then leaves no file behind.
    """
    try:
        with temporary.open("xb") as file:
            file.write(data)
            sync_file(file)
        if stamp is not None:
            _copy_owner(target, temporary)
            shutil.copystat(target, temporary)
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


def _copy_owner(source: Path, target: Path) -> None:
    if hasattr(os, "chown"):
        status = source.stat()
        with contextlib.suppress(PermissionError):  # the photo belongs to another user
            os.chown(target, status.st_uid, status.st_gid)
