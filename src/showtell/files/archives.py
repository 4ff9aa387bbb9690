"""Unpack archives from untrusted sources: no escape from the folder, no links, no bombs."""

from __future__ import annotations

import gzip
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, cast

from showtell.errors import ShowtellError

_BLOCK = 1 << 16  # bytes copied at a time
_MIN_LIMIT = 16 << 20  # bytes that an archive may always unpack to, whatever its own size


class ArchiveError(ShowtellError):
    """An archive is damaged, of an unknown kind, or refused because it is unsafe."""


def unpack(
    archive: Path,
    target: Path,
    *,
    limit: int,
    max_files: int = 100_000,
    max_ratio: int = 100,
    rename: Callable[[str], str | None] | None = None,
) -> None:
    """Unpack the files of a .tar, .tar.gz or .zip into the folder `target`.

    The kind of archive is detected from its bytes. At most `limit` bytes and `max_files` files are
    written, and above 16 MB at most `max_ratio` times the archive's size. Permissions and owners
    are not kept. `rename` maps a file's name in the archive to its name in `target`, or to None to
    leave it out.

    Raises ArchiveError if the archive is damaged, exceeds a limit, has a link or device, has a
    file twice, or has a name outside `target`. The caller removes what was written until then.
    """
    limit = min(limit, max(_MIN_LIMIT, max_ratio * archive.stat().st_size))
    remaining = limit
    with _open_members(archive, limit) as members:
        count = 0
        while True:
            with _archive_errors(archive):
                member = next(members, None)
            if member is None:
                return
            name, content = member
            count += 1
            if count > max_files:
                raise ArchiveError(f"{archive}: contains more than {max_files:,} files: refused")
            path = _safe_path(archive, name)
            if rename is not None:
                new_name = rename(name)
                if new_name is None:
                    continue
                path = _safe_path(archive, new_name)
            remaining -= _write(archive, name, content, target / path, remaining)


@contextmanager
def _archive_errors(archive: Path) -> Iterator[None]:
    """Turn any error that reading an archive raises into an ArchiveError.

    For damaged archives the standard library raises many types of errors, such as struct.error,
    UnicodeDecodeError, NotImplementedError, or OSError for a negative seek.
    """
    try:
        yield
    except ArchiveError:
        raise
    except Exception as error:
        raise ArchiveError(f"{archive}: a damaged or unreadable archive ({error})") from error


def _write(archive: Path, name: str, content: IO[bytes], file: Path, limit: int) -> int:
    """Write one member of at most `limit` bytes to `file` and return its size."""
    written = 0
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise ArchiveError(
            f"{archive}: a folder of '{name}' is also a file in the archive: refused"
        ) from None
    try:
        with file.open("xb") as output:
            while True:
                with _archive_errors(archive):
                    block = content.read(_BLOCK)
                if not block:
                    return written
                written += len(block)
                if written > limit:
                    raise ArchiveError(f"{archive}: too large when unpacked: refused")
                output.write(block)
    except (FileExistsError, IsADirectoryError):
        if file.is_dir():
            raise ArchiveError(
                f"{archive}: '{name}' is both a file and a folder: refused"
            ) from None
        raise ArchiveError(f"{archive}: contains '{name}' twice: refused") from None


def _safe_path(archive: Path, name: str) -> PurePosixPath:
    """Return a member's relative path.

    Raises ArchiveError if it is empty, leads out of the folder, or could do so on Windows.
    """
    path = PurePosixPath(name)
    if "\\" in name or ":" in name or "\0" in name:  # drives and separators of Windows
        raise ArchiveError(f"{archive}: the name {name!r} has '\\', ':' or NUL: refused")
    if not path.parts:
        raise ArchiveError(f"{archive}: a file has no name: refused")
    if path.is_absolute() or ".." in path.parts:
        raise ArchiveError(f"{archive}: the name {name!r} leaves the folder: refused")
    return path


@contextmanager
def _open_members(archive: Path, limit: int) -> Iterator[Iterator[tuple[str, IO[bytes]]]]:
    """Open the archive and yield its files; each must be read before the next is requested."""
    with archive.open("rb") as file:
        start = file.read(4)
        file.seek(0)
        if start[:4] in (b"PK\x03\x04", b"PK\x05\x06"):
            with _archive_errors(archive):
                zipped = zipfile.ZipFile(file)
            with zipped:
                yield _zip_members(archive, zipped)
        elif start[:2] == b"\x1f\x8b":
            with gzip.GzipFile(fileobj=file) as unzipped:
                yield _tar_members(
                    archive, _LimitedStream(archive, cast(IO[bytes], unzipped), limit)
                )
        else:
            yield _tar_members(archive, _LimitedStream(archive, file, limit))


def _zip_members(archive: Path, zipped: zipfile.ZipFile) -> Iterator[tuple[str, IO[bytes]]]:
    for info in zipped.infolist():
        if info.is_dir():
            continue
        # A zip made on Unix has the file's kind in the upper half of its attributes.
        kind = (info.external_attr >> 16) & 0o170000
        if kind not in (0, 0o100000):
            raise ArchiveError(f"{archive}: '{info.filename}' is a link or device: refused")
        with zipped.open(info) as content:
            yield info.filename, content


def _tar_members(archive: Path, stream: _LimitedStream) -> Iterator[tuple[str, IO[bytes]]]:
    with tarfile.open(fileobj=cast(IO[bytes], stream), mode="r|") as tar:
        for info in tar:
            if info.isdir():
                continue
            content = tar.extractfile(info) if info.isreg() else None
            if content is None:
                raise ArchiveError(f"{archive}: '{info.name}' is a link or device: refused")
            yield info.name, content


class _LimitedStream:
    """A stream with a limit, because the headers of a tar can unpack without end too."""

    def __init__(self, archive: Path, stream: IO[bytes], limit: int) -> None:
        self.archive, self.stream = archive, stream
        # a tar also has a header and padding per file, and an end mark
        self.remaining = limit + limit // 8 + (1 << 20)

    def read(self, size: int) -> bytes:
        data = self.stream.read(size)
        self.remaining -= len(data)
        if self.remaining < 0:
            raise ArchiveError(f"{self.archive}: too large when unpacked: refused")
        return data
