"""The list of a folder's photos that all workers of a job read."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from showtell.cluster.parts import MAX_PHOTOS
from showtell.cluster.storage import Storage
from showtell.errors import PhotoError
from showtell.files.folder_walk import is_skipped
from showtell.files.photo_files import SUFFIXES, find_photos
from showtell.files.remote import walk_files

logger = logging.getLogger(__name__)

LISTING = "_input.parquet"


class FolderPhotos:
    """Iterates over the paths of a folder's photos as bytes, in the order of `showtell caption`.

    After the iteration `count` is the number of photos and `digest` a hash of their paths.
    Folders that cannot be listed are logged.
    """

    def __init__(self, address: Path | str) -> None:
        self.address = address
        self.count = 0
        self._hash = hashlib.sha256()

    def __iter__(self) -> Iterator[bytes]:
        for path in self._paths():
            name = os.fsencode(path)
            self.count += 1
            self._hash.update(name + b"\0")
            yield name

    @property
    def digest(self) -> str:
        """A hash of the paths so far."""
        return self._hash.hexdigest()

    def _paths(self) -> Iterator[str | Path]:
        if isinstance(self.address, Path):
            yield from find_photos([self.address], recursive=True, report=_warn)
            return
        for address in walk_files(self.address, is_skipped):
            if Path(address).suffix.lower() in SUFFIXES:
                yield address


def _warn(error: PhotoError) -> None:
    logger.warning("left out: %s", error)


def write_listing(storage: Storage, names: Iterable[bytes]) -> None:
    """Write paths to `_input.parquet` in the job's folder; one row group holds one part at most."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pa.schema([("path", pa.binary())])
    with storage.writing(LISTING) as file, pq.ParquetWriter(file, schema) as writer:
        rows: list[bytes] = []
        for name in names:
            rows.append(name)
            if len(rows) == MAX_PHOTOS:
                writer.write_table(pa.table([rows], schema=schema))
                rows = []
        if rows:
            writer.write_table(pa.table([rows], schema=schema))
