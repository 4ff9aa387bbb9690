"""The job's folder, on disk or at any address that fsspec opens: files appear whole or not at all.

Every machine of a cluster must reach it. Names that begin with `_` or `.` are passed over by those
who read a folder of Parquet files.
"""

from __future__ import annotations

import contextlib
import os
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from showtell.errors import DatasetError, MissingExtraError

TEMPORARY = ".writing-"


@dataclass(frozen=True)
class Storage:
    """A folder given by its address; holds no connection, so it travels to workers."""

    address: str

    @classmethod
    def of(cls, address: Path | str) -> Storage:
        """Return the folder of a path or address; a path as the same on every machine."""
        return cls(str(address) if is_remote(address) else str(Path(address).absolute()))

    def names(self) -> list[str]:
        """Return the sorted names of the files in it; none where it is not there yet."""
        system, root = open_system(self.address)
        with readable(self.address):
            system.invalidate_cache()  # of what was listed before others wrote here
            try:
                entries = system.ls(root, detail=True)
            except FileNotFoundError:
                return []
        return sorted(
            str(entry["name"]).rstrip("/").rpartition("/")[2]
            for entry in entries
            if entry["type"] == "file"
        )

    def read(self, name: str) -> bytes:
        """Return a file's bytes. Raises DatasetError, also where there is no such file."""
        system, root = open_system(self.address)
        with readable(f"{self.address}/{name}"):
            return bytes(system.cat_file(f"{root}/{name}"))

    def write(self, name: str, data: bytes) -> None:
        """Write a file as `writing` does."""
        with self.writing(name) as file:
            file.write(data)

    @contextlib.contextmanager
    def writing(self, name: str) -> Iterator[Any]:
        """Open a file that has a temporary name until it is whole, then its own, over an older one.

        On an object store the renaming is a copy there. Raises DatasetError where it cannot be
        written.
        """
        system, root = open_system(self.address)
        work = f"{root}/{TEMPORARY}{uuid.uuid4().hex}"
        with writable(f"{self.address}/{name}"):
            system.makedirs(root, exist_ok=True)
            try:
                with system.open(work, "wb") as file:
                    yield file
                if _is_local(system):
                    with Path(work).open("rb") as written:  # on the disk before it has its name
                        os.fsync(written.fileno())
                    Path(work).replace(f"{root}/{name}")
                else:
                    system.mv(work, f"{root}/{name}")
            except BaseException:
                with contextlib.suppress(Exception):
                    system.rm_file(work)
                raise

    def remove(self, name: str) -> None:
        """Delete a file, if it is there."""
        system, root = open_system(self.address)
        with writable(f"{self.address}/{name}"), contextlib.suppress(FileNotFoundError):
            system.rm_file(f"{root}/{name}")

    @contextlib.contextmanager
    def opened(self, name: str) -> Iterator[Any]:
        """Open a file for reading and seeking."""
        system, root = open_system(self.address)
        with readable(f"{self.address}/{name}"), system.open(f"{root}/{name}", "rb") as file:
            yield file


def is_remote(address: Path | str) -> bool:
    """Say whether an address is one of fsspec, and not a path of this machine's disk."""
    return isinstance(address, str) and "://" in address


def open_system(address: Path | str) -> tuple[Any, str]:
    """Return fsspec's file system of an address (each is made once), and the path in it.

    Raises DatasetError where fsspec, or a package that it needs for the address, cannot open it.
    """
    try:
        from fsspec.core import url_to_fs
        from fsspec.implementations.local import LocalFileSystem
    except ImportError:
        raise MissingExtraError("showtell cluster", "cluster") from None
    if not is_remote(address):
        return LocalFileSystem(), str(Path(address).absolute())
    try:
        system, path = url_to_fs(str(address))
    except ImportError as error:  # "Install s3fs to access S3"
        raise DatasetError(f"{address}: {error}") from None
    except ValueError as error:
        raise DatasetError(f"{address}: {error}: give a folder or an address of fsspec") from None
    return system, str(path).rstrip("/")


def _is_local(system: Any) -> bool:
    return "file" in (system.protocol if isinstance(system.protocol, tuple) else (system.protocol,))


def reason_of(error: BaseException) -> str:
    """Say in a few words what a file system raised, which for HTTP and S3 may be anything."""
    if isinstance(error, FileNotFoundError):
        return "no such file"
    text = getattr(error, "strerror", None) or " ".join(str(error).split()) or repr(error)
    return f"cannot be read ({text[:160]})"


@contextlib.contextmanager
def readable(address: str) -> Iterator[None]:
    """Turn what a file system raises while it is read into one DatasetError."""
    try:
        yield
    except (DatasetError, MissingExtraError):
        raise
    except Exception as error:
        raise DatasetError(f"{address}: {reason_of(error)}") from error


@contextlib.contextmanager
def writable(address: str) -> Iterator[None]:
    """Turn what a file system raises while it is written to into one DatasetError."""
    try:
        yield
    except (DatasetError, MissingExtraError):
        raise
    except Exception as error:
        reason = reason_of(error).replace("cannot be read", "cannot be written")
        raise DatasetError(
            f"{address}: {reason}: put that right, then run the same again"
        ) from error
