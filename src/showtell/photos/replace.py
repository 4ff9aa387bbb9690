"""Put a new file in an old one's place: whole, with its dates and rights, or not at all."""

from __future__ import annotations

import contextlib
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from showtell.errors import MetadataError
from showtell.files.printable_names import printable

Stamp = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Replacement:
    """A finished copy beside its target, and the state in which the target was read.

    `stamp` is None where there was no such file.
    """

    temporary: Path
    target: Path
    stamp: Stamp | None


def stamp_of(path: Path) -> Stamp | None:
    """Return what tells whether a file was touched: size, time, inode; None for no file."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_size, status.st_mtime_ns, status.st_ino


def write_copy(temporary: Path, target: Path, data: bytes, stamp: Stamp | None) -> Replacement:
    """Write `data` to a temporary file, with the dates and rights of `target` if that exists.

    The bytes are on the disk and read back before this returns.
    Raises OSError, on a full disk say, with nothing left behind.
    """
    try:
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
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


def put_in_place(replacement: Replacement) -> None:
    """Exchange the target for its copy, in one step.

    Raises MetadataError, and leaves all as it is, where the target was touched meanwhile.
    """
    temporary, target = replacement.temporary, replacement.target
    try:
        if stamp_of(target) != replacement.stamp:
            shown = printable(os.fspath(target))
            raise MetadataError(f"{shown}: was changed by another program meanwhile: left alone")
        temporary.replace(target)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    sync_folder(target.parent)


def failure_line(target: Path, error: Exception) -> str:
    """Return one line that names the file which could not be replaced, and why."""
    shown = printable(os.fspath(target))
    if isinstance(error, OSError):
        return f"{shown}: cannot be written ({(error.strerror or str(error)).lower()})"
    text = str(error)
    return text if text.startswith(shown) else f"{shown}: {text}"


def sync_folder(folder: Path) -> None:
    """Let a new name outlive a power cut, where the system can."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _copy_owner(source: Path, target: Path) -> None:
    if hasattr(os, "chown"):
        status = source.stat()
        with contextlib.suppress(PermissionError):  # another's photo in a folder of one's own
            os.chown(target, status.st_uid, status.st_gid)
