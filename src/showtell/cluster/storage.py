"""The job's folder, on disk or at an address that fsspec opens, which every machine can reach."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, BinaryIO

from showtell.files.remote import (
    MissingFileError,
    is_remote,
    list_files,
    move_file,
    open_file,
    read_file,
    remove_file,
    translate_read_errors,
    write_file,
)

JOB_FOLDER = "_job"


@dataclass(frozen=True)
class Storage:
    """A folder given by its address. It holds no connection, so it can be sent to workers.

    Finished parts are in the folder itself. Everything else that a job needs is in `job_files`,
    so that `*.parquet` are the captions alone for all readers of Parquet.
    """

    address: str

    @classmethod
    def of(cls, address: Path | str) -> Storage:
        """Return the folder at an address; a relative path is made absolute."""
        return cls(str(address) if is_remote(address) else str(Path(address).absolute()))

    @property
    def job_files(self) -> Storage:
        """The subfolder of the job's own files, which readers of Parquet folders ignore."""
        return Storage(f"{self.address}/{JOB_FOLDER}")

    def names(self) -> list[str]:
        """Return the sorted names of the files in the folder, none if it does not exist."""
        try:
            return list_files(self.address)
        except MissingFileError:
            return []

    def read(self, name: str) -> bytes:
        """Return a file's bytes. Raises DatasetError, also if there is no such file."""
        return read_file(f"{self.address}/{name}")

    def write(self, name: str, data: bytes) -> None:
        """Write a file atomically. Raises DatasetError."""
        with self.writing(name) as file:
            file.write(data)

    @contextlib.contextmanager
    def writing(self, name: str) -> Iterator[IO[bytes]]:
        """Open a file that replaces an older one when the block ends. Raises DatasetError."""
        with write_file(self.address, name) as file:
            yield file

    def move(self, name: str, target: Storage, new_name: str) -> None:
        """Move a file to another folder and replace a file there. Raises DatasetError."""
        move_file(self.address, name, target.address, new_name)

    def remove(self, name: str) -> None:
        """Delete a file if it exists. Raises DatasetError."""
        remove_file(f"{self.address}/{name}")

    @contextlib.contextmanager
    def opened(self, name: str) -> Iterator[BinaryIO]:
        """Open a file for reading and seeking. Raises DatasetError."""
        address = f"{self.address}/{name}"
        with translate_read_errors(address), open_file(address, random_access=True) as file:
            yield file
