"""Unpack an archive from anywhere: nothing leaves the folder, no links, no bombs."""

from __future__ import annotations

import gzip
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, cast

from showtell.errors import ShowtellError

_BLOCK = 1 << 16
_ALWAYS = 16 << 20  # bytes that an archive may unpack to, however small it is itself


class ArchiveError(ShowtellError):
    """An archive is damaged, of no known kind, or tries something an archive should not."""


def unpack(
    archive: Path,
    target: Path,
    *,
    limit: int,
    max_files: int = 100_000,
    max_ratio: int = 100,
    place: Callable[[str], str | None] | None = None,
) -> None:
    """Unpack the files of a .tar, .tar.gz or .zip (told by its bytes) into the folder `target`.

    At most `limit` bytes and `max_files` files are written, and from 16 MB on no more than
    `max_ratio` times the archive's size; permissions and owners are not kept. `place` tells, of a
    file's name in the archive, its name in `target`, or None to leave it out.

    Raises ArchiveError where the archive is damaged, larger than that, holds a link or device, a
    file twice, or a name that leaves `target`; what was written so far stays for the caller to
    remove.
    """
    left = limit = min(limit, max(_ALWAYS, max_ratio * archive.stat().st_size))
    with _members(archive, limit) as members:
        count = 0
        while True:
            with _reading(archive):
                member = next(members, None)
            if member is None:
                return
            name, content = member
            count += 1
            if count > max_files:
                raise ArchiveError(f"{archive}: holds more than {max_files} files: refused")
            path = _inside(archive, name)
            if place is not None:
                placed = place(name)
                if placed is None:
                    continue
                path = _inside(archive, placed)
            left -= _write(archive, name, content, target / path, left)


@contextmanager
def _reading(archive: Path) -> Iterator[None]:
    """Turn whatever the archive's bytes provoke into an ArchiveError.

    Bytes from anywhere make the readers of the standard library raise nearly everything
    (OSError of a negative seek, struct.error, UnicodeDecodeError, NotImplementedError ...).
    """
    try:
        yield
    except ArchiveError:
        raise
    except Exception as error:
        raise ArchiveError(f"{archive}: a damaged or unreadable archive ({error})") from error


def _write(archive: Path, name: str, content: IO[bytes], file: Path, left: int) -> int:
    """Write one member to `file` and return its size in bytes."""
    written = 0
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("xb") as output:
            while True:
                with _reading(archive):
                    block = content.read(_BLOCK)
                if not block:
                    return written
                written += len(block)
                if written > left:
                    raise ArchiveError(f"{archive}: too large when unpacked: refused")
                output.write(block)
    except (FileExistsError, NotADirectoryError, IsADirectoryError):
        raise ArchiveError(f"{archive}: holds '{name}' twice: refused") from None


def _inside(archive: Path, name: str) -> PurePosixPath:
    """Return the member's relative path; refuse one that could point out of the folder."""
    path = PurePosixPath(name)
    strange = "\\" in name or ":" in name or "\0" in name  # Windows: drives, streams, separators
    if strange or path.is_absolute() or ".." in path.parts or not path.parts:
        raise ArchiveError(f"{archive}: the name {name!r} leaves the folder: refused")
    return path


@contextmanager
def _members(archive: Path, limit: int) -> Iterator[Iterator[tuple[str, IO[bytes]]]]:
    """Open the archive and yield its files, each to be read before the next is asked for."""
    with archive.open("rb") as file:
        start = file.read(4)
        file.seek(0)
        if start[:4] in (b"PK\x03\x04", b"PK\x05\x06"):
            with _reading(archive):
                zipped = zipfile.ZipFile(file)
            with zipped:
                yield _zip_members(archive, zipped)
        elif start[:2] == b"\x1f\x8b":
            with gzip.GzipFile(fileobj=file) as unzipped:
                yield _tar_members(archive, _Bounded(archive, cast(IO[bytes], unzipped), limit))
        else:
            yield _tar_members(archive, _Bounded(archive, file, limit))


def _zip_members(archive: Path, zipped: zipfile.ZipFile) -> Iterator[tuple[str, IO[bytes]]]:
    for info in zipped.infolist():
        if info.is_dir():
            continue
        # A zip made on Unix keeps the file's kind in the upper half of its attributes.
        kind = (info.external_attr >> 16) & 0o170000
        if kind not in (0, 0o100000):
            raise ArchiveError(f"{archive}: '{info.filename}' is a link or device: refused")
        with zipped.open(info) as content:
            yield info.filename, content


def _tar_members(archive: Path, stream: _Bounded) -> Iterator[tuple[str, IO[bytes]]]:
    with tarfile.open(fileobj=cast(IO[bytes], stream), mode="r|") as tar:
        for info in tar:
            if info.isdir():
                continue
            content = tar.extractfile(info) if info.isreg() else None
            if content is None:
                raise ArchiveError(f"{archive}: '{info.name}' is a link or device: refused")
            yield info.name, content


class _Bounded:
    """A stream that ends in an error past a bound: headers, too, can be made to unpack forever."""

    def __init__(self, archive: Path, stream: IO[bytes], limit: int) -> None:
        self.archive, self.stream = archive, stream
        # Tar's own share: a header and padding a file, and the end.
        self.left = limit + limit // 8 + (1 << 20)

    def read(self, size: int) -> bytes:
        data = self.stream.read(size)
        self.left -= len(data)
        if self.left < 0:
            raise ArchiveError(f"{self.archive}: too large when unpacked: refused")
        return data
