"""Files of a shard folder on this machine's disk, or at any address that fsspec opens.

The disk needs nothing but the standard library, so that the light install reads shards; an
address such as s3://bucket/flickr8k needs fsspec and the package that it names for it.
"""

from __future__ import annotations

import functools
import hashlib
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias, cast

from showtell.errors import DatasetError, MissingExtraError, ShowtellError

logger = logging.getLogger(__name__)

Address: TypeAlias = "Path | str"

INDEX = "index.json"
BLOCK = 4 << 20  # bytes of an address that are fetched at a time by `read_range`
PAUSES = (0.5, 2.0, 5.0)  # seconds before a part of an address is asked for once more
_BLOCKS = 32  # that each process keeps
_AHEAD = 1 << 20  # bytes that `sha256_of` reads at a time


class UnreadableFileError(DatasetError):
    """A file of a shard folder is gone, cannot be read, or is shorter than asked for."""


def parse_address(text: str | Path) -> Address:
    """Return the folder that a person named: an address with `://` as text, else a path.

    The folder's index may be named instead of the folder.
    """
    if isinstance(text, Path) or "://" not in text:
        path = Path(text)
        return path.parent if path.name == INDEX else path
    return text.rstrip("/").removesuffix(f"/{INDEX}")


def join(folder: Address, name: str) -> Address:
    """Return the address of a file in a folder."""
    return folder / name if isinstance(folder, Path) else f"{folder}/{name}"


def read_whole(address: Address) -> bytes:
    """Return a file's bytes. Raises UnreadableFileError."""
    with reading(address):
        if isinstance(address, Path):
            return address.read_bytes()
        return _fetch(address)


def read_range(address: Address, start: int, size: int) -> bytes:
    """Return `size` bytes of a file from `start` on.

    Of an address whole blocks are fetched, and the last ones kept: what is read next often lies
    there, and a request costs more than its bytes.

    Raises UnreadableFileError, also where the file ends before.
    """
    with reading(address):
        if isinstance(address, Path):
            with address.open("rb") as file:
                file.seek(start)
                data = file.read(size)
        else:
            first, last = start // BLOCK, (start + size - 1) // BLOCK
            blocks = b"".join(_block(address, number) for number in range(first, last + 1))
            data = blocks[start - first * BLOCK :][:size]
    if len(data) != size:
        raise _cut_off(address, start + size)
    return data


def size_of(address: Address) -> int | None:
    """Return a file's size, None where its server does not say. Raises UnreadableFileError."""
    with reading(address):
        if isinstance(address, Path):
            return address.stat().st_size
        system, path = _system(address)
        size = system.info(path).get("size")
        return None if size is None else int(size)


def sha256_of(address: Address) -> str:
    """Return a file's sha256, read in blocks. Raises UnreadableFileError."""
    digest = hashlib.sha256()
    with opened(address) as file, reading(address):
        while block := file.read(_AHEAD):
            digest.update(block)
    return digest.hexdigest()


def files_in(folder: Address) -> list[str]:
    """Return the sorted names of the files in a folder. Raises UnreadableFileError."""
    with reading(folder):
        if isinstance(folder, Path):
            return sorted(entry.name for entry in folder.iterdir() if entry.is_file())
        system, path = _system(folder)
        entries = system.ls(path, detail=True)
        return sorted(
            str(entry["name"]).rpartition("/")[2] for entry in entries if entry["type"] == "file"
        )


@contextmanager
def opened(address: Address) -> Iterator[BinaryIO]:
    """Open a file to be read from its beginning. Raises UnreadableFileError."""
    with reading(address):
        if isinstance(address, Path):
            file: Any = address.open("rb")
        else:
            system, path = _system(address)
            # HTTP's other kind of file asks for ranges, which not every server knows
            more = {"block_size": 0} if address.startswith(("http://", "https://")) else {}
            file = system.open(path, "rb", **more)
    with file:
        yield cast(BinaryIO, file)


@functools.lru_cache(maxsize=_BLOCKS)
def _block(address: str, number: int) -> bytes:
    """Fetch one block of a file at an address; shorter where the file ends in it."""
    start = number * BLOCK
    data = _fetch(address, start=start, end=start + BLOCK)
    # a server that knows no ranges sends the whole file
    return data if len(data) <= BLOCK else data[start : start + BLOCK]


def _fetch(address: str, **part: int) -> bytes:
    """Fetch a file, or a part of it, at an address; again where the network has a bad moment."""
    system, path = _system(address)
    for pause in PAUSES:
        try:
            return bytes(system.cat_file(path, **part))
        except FileNotFoundError:
            raise
        except Exception as error:
            logger.info("%s: once more in %g s: %s", address, pause, error)
            time.sleep(pause)
    return bytes(system.cat_file(path, **part))


def _system(address: str) -> tuple[Any, str]:
    """Return fsspec's file system of an address, and the path in it."""
    try:
        from fsspec.core import url_to_fs
    except ImportError:
        raise MissingExtraError(f"{address}: reading from an address", "train") from None
    try:
        system, path = url_to_fs(address)
    except ImportError as error:  # "Install s3fs to access S3"
        raise DatasetError(f"{address}: {error}") from None
    except ValueError as error:
        raise DatasetError(f"{address}: {error}: give a folder or an address of fsspec") from None
    return system, str(path)


@contextmanager
def reading(address: Address) -> Iterator[None]:
    """Turn what a file system raises, which for HTTP and S3 may be anything, into one error."""
    try:
        yield
    except ShowtellError:
        raise
    except FileNotFoundError:
        raise UnreadableFileError(f"{address}: gone: there is no such file") from None
    except Exception as error:
        why = getattr(error, "strerror", None) or " ".join(str(error).split()) or repr(error)
        raise UnreadableFileError(f"{address}: cannot be read ({why[:160]})") from error


def _cut_off(address: Address, end: int) -> UnreadableFileError:
    return UnreadableFileError(f"{address}: cut off: it ends before byte {end:,}")
