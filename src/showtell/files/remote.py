"""Files on this machine's disk or at any address that fsspec opens, such as s3://bucket/photos.

Files on disk need only the standard library. An address needs fsspec and the package that fsspec
names for it.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import logging
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, BinaryIO, TypeAlias, cast

from showtell.errors import (
    DatasetError,
    MissingExtraError,
    PhotoError,
    PhotoErrorHandler,
    ShowtellError,
)
from showtell.files.atomic_write import atomic_write
from showtell.files.folder_walk import UnlistableFolderError, walk_folders
from showtell.files.os_errors import error_reason
from showtell.files.printable_names import printable
from showtell.files.regular_files import open_regular, refuse_special
from showtell.files.retry import fixed_delays, retry

logger = logging.getLogger(__name__)

Address: TypeAlias = "Path | str"
"""A path, or a URL that fsspec opens. A `str` without `://` is a path too."""

BLOCK = 4 << 20  # bytes that `read_range` fetches from an address at a time
RETRY_DELAYS = (0.5, 2.0, 5.0)  # seconds between attempts to fetch from an address
TEMPORARY_PREFIX = ".writing-"  # of the names of unfinished files
_CACHED_BLOCKS = 32  # per process
_HASHED_AT_ONCE = 1 << 20  # bytes


class UnreadableFileError(DatasetError):
    """A file or folder is missing, cannot be read, or is shorter than expected."""


class MissingFileError(UnreadableFileError):
    """There is no such file or folder."""


class UnwritableFileError(DatasetError):
    """A file cannot be written."""


def is_remote(address: Address) -> bool:
    """Return whether an address needs fsspec, and is not a path on this machine's disk."""
    return isinstance(address, str) and "://" in address


def join(folder: Address, name: str) -> Address:
    """Return the address of a file in a folder."""
    return folder / name if isinstance(folder, Path) else f"{folder}/{name}"


def read_file(address: Address) -> bytes:
    """Return the bytes of a file. Raises UnreadableFileError."""
    with translate_read_errors(address):
        if is_remote(address):
            return _fetch(str(address))
        with open_regular(Path(address)) as file:
            return file.read()


def read_range(address: Address, start: int, size: int) -> bytes:
    """Return `size` bytes of a file from the offset `start` on.

    From a remote address whole blocks are fetched and the most recent ones are cached, because
    the next range is often in the same block.

    Raises UnreadableFileError, also if the file ends before the range does.
    """
    with translate_read_errors(address):
        if is_remote(address):
            first, last = start // BLOCK, (start + size - 1) // BLOCK
            blocks = [_block(str(address), number) for number in range(first, last + 1)]
            data = b"".join(blocks)[start - first * BLOCK :][:size]
        else:
            with open_regular(Path(address)) as file:
                file.seek(start)
                data = file.read(size)
    if len(data) != size:
        raise UnreadableFileError(f"{address}: cut off: it ends before byte {start + size:,}")
    return data


def file_size(address: Address) -> int | None:
    """Return a file's size in bytes, None if the server does not give it.

    Raises UnreadableFileError.
    """
    with translate_read_errors(address):
        if not is_remote(address):
            return Path(address).stat().st_size
        system, path = _open_file_system(str(address))
        size = system.info(path).get("size")
        return None if size is None else int(size)


def file_sha256(address: Address) -> str:
    """Return the sha256 of a file. Raises UnreadableFileError."""
    digest = hashlib.sha256()
    with open_file(address) as file, translate_read_errors(address):
        while block := file.read(_HASHED_AT_ONCE):
            digest.update(block)
    return digest.hexdigest()


def list_files(folder: Address) -> list[str]:
    """Return the sorted names of the files in a folder. Raises UnreadableFileError."""
    with translate_read_errors(folder):
        if not is_remote(folder):
            return sorted(entry.name for entry in Path(folder).iterdir() if entry.is_file())
        system, path = _open_file_system(str(folder))
        system.invalidate_cache()  # other machines may have written here
        entries = system.ls(path, detail=True)
        return sorted(
            str(entry["name"]).rstrip("/").rpartition("/")[2]
            for entry in entries
            if entry["type"] == "file"
        )


def walk_files(
    folder: Address, skip: Callable[[str], bool], report: PhotoErrorHandler | None = None
) -> Iterator[str]:
    """Yield the addresses of the files in a folder and its subfolders, each folder's sorted.

    Files and folders with names that `skip` accepts are left out. Folders that cannot be listed
    go to `report`, as UnlistableFolderError.
    Raises UnreadableFileError if a folder cannot be listed and there is no `report`.
    """
    with translate_read_errors(folder):
        if is_remote(folder):
            yield from _walk_remote(str(folder), skip, report)
        else:
            yield from _walk_local(str(folder), skip, report)


def _walk_remote(
    address: str, skip: Callable[[str], bool], report: PhotoErrorHandler | None
) -> Iterator[str]:
    # not `system.walk`: it leaves out subfolders that cannot be listed, even with on_error="raise"
    system, root = _open_file_system(address)
    pending = [root]
    while pending:
        folder = pending.pop()
        relative = folder[len(root) :].strip("/")
        try:
            entries = system.ls(folder, detail=True)
        except OSError as error:
            if report is None or isinstance(error, FileNotFoundError):
                raise
            shown, reason = printable(f"{address}/{relative}".rstrip("/")), error_reason(error)
            report(UnlistableFolderError(f"{shown}: the folder cannot be listed ({reason})"))
            continue
        subfolders = []
        for entry in sorted(entries, key=lambda entry: str(entry["name"])):
            path = str(entry["name"]).rstrip("/")
            name = "" if path == folder else path.rpartition("/")[2]
            if skip(name):
                continue
            if entry["type"] != "directory":
                yield "/".join(part for part in (address, relative, name) if part)
            elif name:
                subfolders.append(path)
        pending += reversed(subfolders)


def _walk_local(
    root: str, skip: Callable[[str], bool], report: PhotoErrorHandler | None
) -> Iterator[str]:
    def fail(error: PhotoError) -> None:
        raise UnreadableFileError(str(error))

    for folder in walk_folders(root, report=report or fail, skip=skip):
        yield from (entry.path for entry in folder.entries or () if entry.is_file())


@contextlib.contextmanager
def open_file(address: Address, *, random_access: bool = False) -> Iterator[BinaryIO]:
    """Open a file for reading from its beginning, or with `random_access` for seeking.

    Raises UnreadableFileError if it cannot be opened; put reads into `translate_read_errors`.
    """
    with translate_read_errors(address):
        if is_remote(address):
            system, path = _open_file_system(str(address))
            options: dict[str, Any] = {}
            if not random_access and str(address).startswith(("http://", "https://")):
                options["block_size"] = 0  # one response, for servers without range requests
            file: Any = system.open(path, "rb", **options)
        else:
            file = open_regular(Path(address))  # a named pipe would block
    with file:
        yield cast(BinaryIO, file)


@contextlib.contextmanager
def write_file(folder: Address, name: str) -> Iterator[IO[bytes]]:
    """Open a file of a folder for writing; it gets its name when the block ends without an error.

    Until then the file has a temporary name that begins with `.writing-`. The folder is created if
    needed. On an object store, renaming is a copy within the store.

    Raises UnwritableFileError. Errors of the block other than OSError pass through unchanged for a
    local folder; remote file systems raise errors of any type, so there all are translated.
    """
    temporary = f"{TEMPORARY_PREFIX}{uuid.uuid4().hex}"
    with translate_write_errors(join(folder, name), Exception if is_remote(folder) else OSError):
        if not is_remote(folder):
            local = Path(folder)
            local.mkdir(parents=True, exist_ok=True)
            refuse_special(local / name)  # a pipe would wait for a reader
            with atomic_write(local / name, binary=True, temporary=local / temporary) as file:
                yield file
            return
        system, root = _open_file_system(str(folder))
        system.makedirs(root, exist_ok=True)
        try:
            with system.open(f"{root}/{temporary}", "wb") as file:
                yield file
            system.mv(f"{root}/{temporary}", f"{root}/{name}")
        except BaseException:
            with contextlib.suppress(Exception):
                system.rm_file(f"{root}/{temporary}")
            raise


def move_file(folder: Address, name: str, target: Address, new_name: str) -> None:
    """Move a file to another folder of the same disk or store, and replace a file there.

    The target folder is created if needed. On an object store, moving is a copy within the store.
    Raises UnwritableFileError.
    """
    with translate_write_errors(join(target, new_name)):
        if not is_remote(folder):
            Path(target).mkdir(parents=True, exist_ok=True)
            Path(folder, name).replace(Path(target, new_name))
            return
        system, root = _open_file_system(str(folder))
        _, target_root = _open_file_system(str(target))
        system.makedirs(target_root, exist_ok=True)
        system.mv(f"{root}/{name}", f"{target_root}/{new_name}")


def remove_file(address: Address) -> None:
    """Delete a file if it exists. Raises UnwritableFileError."""
    with translate_write_errors(address), contextlib.suppress(FileNotFoundError):
        if is_remote(address):
            system, path = _open_file_system(str(address))
            system.rm_file(path)
        else:
            Path(address).unlink()


@contextlib.contextmanager
def translate_read_errors(address: Address) -> Iterator[None]:
    """Turn errors of the block into UnreadableFileError: file systems raise errors of any type."""
    shown = printable(str(address))
    try:
        yield
    except ShowtellError:
        raise
    except FileNotFoundError:
        raise MissingFileError(f"{shown}: no such file") from None
    except Exception as error:
        raise UnreadableFileError(f"{shown}: cannot be read ({error_reason(error)})") from error


@contextlib.contextmanager
def translate_write_errors(address: Address, errors: type[Exception] = Exception) -> Iterator[None]:
    """Turn errors of the block into UnwritableFileError: file systems raise errors of any type."""
    try:
        yield
    except ShowtellError:
        raise
    except errors as error:
        shown, reason = printable(str(address)), error_reason(error)
        raise UnwritableFileError(f"{shown}: cannot be written ({reason})") from error


@functools.lru_cache(maxsize=_CACHED_BLOCKS)
def _block(address: str, number: int) -> bytes:
    """Fetch one block of a remote file; the last block is shorter."""
    start = number * BLOCK
    data = _fetch(address, start=start, end=start + BLOCK)
    # a server without range requests sends the whole file
    return data if len(data) <= BLOCK else data[start : start + BLOCK]


def _fetch(address: str, **byte_range: int) -> bytes:
    """Fetch a remote file or a range of it, and retry after errors that may be temporary."""
    system, path = _open_file_system(address)
    pauses = fixed_delays(RETRY_DELAYS)

    def delay(failures: int, error: Exception) -> float | None:
        if isinstance(error, FileNotFoundError | PermissionError):
            return None
        seconds = pauses(failures, error)
        if seconds is not None:
            logger.info("%s: %s: trying again in %g s", address, error_reason(error), seconds)
        return seconds

    return retry(lambda: bytes(system.cat_file(path, **byte_range)), on=Exception, delay=delay)


def _open_file_system(address: str) -> tuple[Any, str]:
    """Return fsspec's file system for an address, and the path within it.

    Raises MissingExtraError without fsspec, UnreadableFileError for an unknown kind of address.
    """
    try:
        from fsspec.core import url_to_fs
    except ImportError:
        raise MissingExtraError(f"{address}: reading from an address", "train") from None
    try:
        system, path = url_to_fs(address)
    except ImportError as error:  # such as "Install s3fs to access S3"
        raise UnreadableFileError(f"{address}: {error}") from None
    except ValueError as error:
        raise UnreadableFileError(
            f"{address}: {error}: give a folder or an address that fsspec opens"
        ) from None
    return system, str(path).rstrip("/")
