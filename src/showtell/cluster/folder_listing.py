"""The list of a folder's photos that all workers of a job read."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from showtell.cluster.parts import MAX_PHOTOS, JobPart
from showtell.cluster.storage import Storage
from showtell.errors import DatasetError, PhotoError
from showtell.files.folder_walk import UnlistableFolderError, is_skipped
from showtell.files.photo_files import SUFFIXES, find_photos
from showtell.files.printable_names import printable
from showtell.files.remote import walk_files

logger = logging.getLogger(__name__)

LISTING = "input.list"  # a Parquet file that `**/*.parquet` must not find


class ListingError(DatasetError):
    """The list of a folder's photos is damaged, or cannot be read."""

    def __init__(self, storage: Storage, fault: str) -> None:
        self.fault = fault
        super().__init__(
            f"{printable(storage.job_files.address)}/{LISTING}: {fault}:"
            " run the same command again to list the photos again and resume"
        )


class FolderPhotos:
    """Iterates over the paths of a folder's photos as bytes, in the order of `showtell caption`.

    After the iteration `count` is the number of photos and `digest` a hash of their paths.
    Raises DatasetError if a folder cannot be listed, because its photos would be missing; with
    `skip_unlistable` such folders are logged.
    """

    def __init__(self, address: Path | str, *, skip_unlistable: bool = False) -> None:
        self.address = address
        self._skip_unlistable = skip_unlistable
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
            yield from find_photos([self.address], recursive=True, report=self._report)
            return
        for address in walk_files(self.address, is_skipped, self._report):
            if Path(address).suffix.lower() in SUFFIXES:
                yield address

    def _report(self, error: PhotoError) -> None:
        if isinstance(error, UnlistableFolderError) and not self._skip_unlistable:
            raise DatasetError(
                f"{error}: make it readable, or leave it out with --on-broken skip"
                " (on_broken='skip')"
            )
        logger.warning("left out: %s", error)


def write_listing(storage: Storage, names: Iterable[bytes]) -> None:
    """Write paths to the listing in the job's folder; one row group holds one part at most."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pa.schema([("path", pa.binary())])
    with storage.job_files.writing(LISTING) as file, pq.ParquetWriter(file, schema) as writer:
        rows: list[bytes] = []
        for name in names:
            rows.append(name)
            if len(rows) == MAX_PHOTOS:
                writer.write_table(pa.table([rows], schema=schema))
                rows = []
        if rows:
            writer.write_table(pa.table([rows], schema=schema))


def check_listing(storage: Storage, digest: str, parts: Sequence[JobPart]) -> list[JobPart]:
    """Return the parts of a listing, in order, each with the digest of its photos' paths.

    `digest` is that of all paths when the job began (`FolderPhotos.digest`).

    Raises ListingError if the listing holds other paths or cannot be read.
    """
    whole = hashlib.sha256()
    digests = [hashlib.sha256() for _ in parts]
    current = 0
    try:
        for index, name in enumerate(_listed_names(storage)):
            whole.update(name + b"\0")
            while current < len(parts) and index >= _end(parts[current]):
                current += 1
            if current < len(parts) and index >= parts[current].start:
                digests[current].update(name + b"\0")
    except DatasetError as error:
        raise ListingError(storage, _fault(error, storage)) from error
    if whole.hexdigest() != digest:
        raise ListingError(storage, "damaged: its paths are not the job's")
    return [
        replace(part, digest=part_digest.hexdigest())
        for part, part_digest in zip(parts, digests, strict=True)
    ]


def check_paths(storage: Storage, part: JobPart, paths: Sequence[str]) -> None:
    """Raise ListingError if these paths, read from the listing, are not those of a part."""
    if len(paths) != part.count:
        raise ListingError(storage, f"damaged: {len(paths)} paths in place of {part.count}")
    digest = hashlib.sha256(b"".join(os.fsencode(path) + b"\0" for path in paths))
    if part.digest and digest.hexdigest() != part.digest:
        raise ListingError(storage, "damaged: its paths are not the job's")


def _listed_names(storage: Storage) -> Iterator[bytes]:
    import pyarrow.parquet as pq

    with storage.job_files.opened(LISTING) as file:
        for batch in pq.ParquetFile(file).iter_batches(MAX_PHOTOS, columns=["path"]):
            for name in batch.column(0).to_pylist():
                yield name if isinstance(name, bytes) else b""


def _end(part: JobPart) -> int:
    return part.start + (part.count or 0)


def _fault(error: DatasetError, storage: Storage) -> str:
    return str(error).removeprefix(f"{printable(storage.job_files.address)}/{LISTING}: ")
