"""Read files from elsewhere: only regular files, and at most a given number of bytes.

In a folder from elsewhere any name can be a named pipe, which blocks its reader forever, or a link
to a device without end.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from pathlib import Path
from typing import IO, BinaryIO

_BLOCK = 1 << 20  # bytes
_KINDS = {
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


class UnsuitableFileError(OSError):
    """A path is a device, pipe or socket, or the file is larger than its reader allows."""

    def __init__(self, reason: str) -> None:
        super().__init__(errno.EINVAL, reason)


def open_regular(path: Path, *, or_pipe: bool = False) -> BinaryIO:
    """Open a regular file for reading; a pipe, device or socket never blocks.

    With `or_pipe`, for a path that the user names, a pipe is read too, such as that of `<(...)` in
    a shell. A pipe that no process has open for writing is empty.

    Raises UnsuitableFileError for another kind of file, and OSError as `open` does.
    """
    _check_kind(path.stat().st_mode, or_pipe)  # before opening: that alone can act on a device
    file = open(path, "rb", opener=_open_without_waiting)  # noqa: SIM115 (returned)
    try:
        mode = os.fstat(file.fileno()).st_mode
        _check_kind(mode, or_pipe)
        if stat.S_ISFIFO(mode):
            os.set_blocking(file.fileno(), True)
    except BaseException:
        file.close()
        raise
    return file


def read_regular(path: Path, max_bytes: int, *, or_pipe: bool = False) -> bytes:
    """Return the bytes of a regular file, or with `or_pipe` of a pipe.

    Raises UnsuitableFileError as `open_regular` does and if there are more than `max_bytes`.
    """
    with open_regular(path, or_pipe=or_pipe) as file:
        if os.fstat(file.fileno()).st_size > max_bytes:
            raise _too_large(max_bytes)
        return read_at_most(file, max_bytes)


def refuse_special(path: Path) -> None:
    """Raise UnsuitableFileError if a path is a device, pipe or socket, which a file cannot replace.

    A path that does not exist, or is a folder, passes.
    """
    with contextlib.suppress(FileNotFoundError):
        _check_kind(path.stat().st_mode, or_pipe=False)


def read_at_most(stream: IO[bytes], max_bytes: int, start: bytes = b"") -> bytes:
    """Return `start`, which was read before, and all further bytes of a stream.

    Raises UnsuitableFileError after `max_bytes`.
    """
    data = bytearray(start)
    while block := stream.read(min(_BLOCK, max_bytes + 1 - len(data))):
        data += block
        if len(data) > max_bytes:
            raise _too_large(max_bytes)
    return bytes(data)


def _open_without_waiting(name: str, flags: int) -> int:
    return os.open(name, flags | getattr(os, "O_NONBLOCK", 0))


def _check_kind(mode: int, or_pipe: bool) -> None:
    kind = _KINDS.get(stat.S_IFMT(mode))
    if kind is not None and not (or_pipe and stat.S_ISFIFO(mode)):
        raise UnsuitableFileError(f"{kind}, not a file")


def _too_large(max_bytes: int) -> UnsuitableFileError:
    return UnsuitableFileError(f"larger than {max_bytes >> 20:,} MB")
