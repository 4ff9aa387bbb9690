"""Read the photos of a part in order: local ones as paths, the others as bytes."""

from __future__ import annotations

import itertools
import os
import time
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from showtell.cluster.folder_listing import LISTING, ListingError, check_paths
from showtell.cluster.inputs import JobInput
from showtell.cluster.parquet_input import PhotoColumns, read_rows
from showtell.cluster.parts import JobPart, is_sampled
from showtell.cluster.storage import Storage
from showtell.errors import DatasetError, PhotoError
from showtell.files.printable_names import printable
from showtell.files.remote import is_remote, open_file, read_file, translate_read_errors

READ_AHEAD = 16  # photos that are fetched from addresses at the same time


@dataclass(frozen=True, slots=True)
class FetchedPhoto:
    """The bytes of a photo and its name, or the reason why it could not be read."""

    filename: str
    data: bytes = b""
    error: str | None = None

    def read_bytes(self) -> bytes:
        """Return the bytes. Raises PhotoError with the reason; the caller adds the name."""
        if self.error is not None:
            raise PhotoError(self.error)
        return self.data


@dataclass(frozen=True, slots=True)
class NamedLocalPhoto:
    """A photo on disk with another name than its path."""

    filename: str
    path: Path

    def read_bytes(self) -> bytes:
        """Return the file's bytes."""
        return self.path.read_bytes()


PartPhoto: TypeAlias = "Path | FetchedPhoto | NamedLocalPhoto"


class PartReader:
    """Iterates over name and photo of a part.

    `seconds` is how long the caller has waited for photos, and `seen` how many photos were read,
    including those that a sample leaves out.

    Where a shard is damaged, the last row is for the error; where Parquet is, each missing photo
    has a row with the error. Raises DatasetError, so that the part is not written, if the listing
    of a folder cannot be read or is not the job's, or a source cannot be opened at all.
    """

    def __init__(self, job_input: JobInput, part: JobPart, storage: Storage) -> None:
        self.job_input, self.part, self.storage = job_input, part, storage
        self.seconds = 0.0
        self.seen = 0
        self._folders: set[Path] = set()  # that must be there, or no error is a photo's own
        self._fetched = self._not_fetched = 0

    def __iter__(self) -> Iterator[tuple[str, PartPhoto]]:
        photos = self._photos()
        while True:
            start = time.perf_counter()
            try:
                item = next(photos, None)
            except DatasetError as error:
                if self._must_stop(error):
                    raise
                photos = self._source_errors(error)
                continue
            finally:
                self.seconds += time.perf_counter() - start
            if item is None:
                self._check_whole()
                return
            self._note_place(item[1])
            yield item

    def check_folders(self) -> None:
        """Raise DatasetError if the photos' folder is gone or empty, such as a lost mount.

        To be called after the iteration where some photos have errors: these are not their own
        then, and may be gone in a while.
        """
        for folder in sorted(self._folders):
            with translate_read_errors(str(folder)), os.scandir(folder) as entries:
                if next(entries, None) is None:
                    raise DatasetError(
                        f"{printable(str(folder))}: is empty since the photos were listed:"
                        " bring them back, and run the same command again"
                    )
        if self.job_input.kind == "folder" and self._not_fetched and not self._fetched:
            raise DatasetError(
                f"{printable(self.job_input.address)}: none of {self._not_fetched} photos can be"
                " fetched: run the same command again when they can"
            )

    def _note_place(self, photo: PartPhoto) -> None:
        """Remember where a photo is; in Parquet any path may be wrong, only the root is not."""
        if isinstance(photo, FetchedPhoto):
            self._fetched += photo.error is None
            self._not_fetched += photo.error is not None
        elif self.job_input.kind == "folder" and isinstance(photo, Path):
            self._folders.add(photo.parent)
        elif isinstance(photo, NamedLocalPhoto) and self.job_input.root:
            self._folders.add(Path(self.job_input.root))

    def _photos(self) -> Iterator[tuple[str, PartPhoto]]:
        part, columns = self.part, self.job_input.columns
        if self.job_input.kind == "shards":
            from showtell.data.shards.webdataset import iterate_shard

            # a count of None reads to the very end, where a shard shows whether it is complete
            rows: Iterable[tuple[str, bytes | str]] = itertools.islice(
                iterate_shard(part.source), part.count
            )
        elif columns is None:
            rows = self._listed()
        else:
            rows = read_rows(part.source, columns, part.start, part.count or 0)
        return _open_rows(self._sampled(rows), self.job_input.root)

    def _sampled(
        self, rows: Iterable[tuple[str, bytes | str]]
    ) -> Iterator[tuple[str, bytes | str]]:
        for index, row in enumerate(rows):
            self.seen += 1
            if is_sampled(index, self.part.keep):
                yield row

    def _listed(self) -> list[tuple[str, bytes | str]]:
        """Return the part's rows of the folder's listing, all of them checked."""
        part, address = self.part, f"{self.storage.job_files.address}/{LISTING}"
        columns = PhotoColumns("path", "paths")
        try:
            rows = list(read_rows(address, columns, part.start, part.count or 0))
        except DatasetError as error:
            fault = str(error).removeprefix(f"{printable(address)}: ")
            raise ListingError(self.storage, fault) from error
        check_paths(self.storage, part, [path for _, path in rows if isinstance(path, str)])
        return rows

    def _must_stop(self, error: DatasetError) -> bool:
        """Return whether an error is no property of the photos, and may be gone in a while."""
        if isinstance(error, ListingError):
            return True
        if self.seen:
            return False
        try:
            with translate_read_errors(self.part.source), open_file(self.part.source) as file:
                file.read(1)
        except DatasetError:
            return True
        return False

    def _source_errors(self, error: DatasetError) -> Iterator[tuple[str, PartPhoto]]:
        """Yield rows for what is missing of a damaged source."""
        part = self.part
        reason = str(error).removeprefix(f"{printable(part.source)}: ")
        if self.job_input.kind == "shards":  # how many photos are missing is unknown
            yield part.source, FetchedPhoto(part.source, error=reason)
            return
        for index in range(self.seen, part.count or 0):
            self.seen += 1
            if is_sampled(index, part.keep):
                name = f"{part.source}#{part.start + index}"
                yield name, FetchedPhoto(name, error=reason)

    def _check_whole(self) -> None:
        if self.job_input.kind != "shards" and self.seen != self.part.count:
            raise DatasetError(
                f"{printable(self.part.source)}: has fewer rows than when the job was divided into"
                " parts: run the same command again"
            )


def fetch_photo(name: str, address: str) -> FetchedPhoto:
    """Fetch the bytes of a photo from an address; a failure becomes the photo's error."""
    try:
        return FetchedPhoto(name, read_file(address))
    except DatasetError as error:
        return FetchedPhoto(name, error=str(error).removeprefix(f"{printable(address)}: "))


def _open_rows(
    rows: Iterator[tuple[str, bytes | str]], root: str
) -> Iterator[tuple[str, PartPhoto]]:
    """Yield the photos of rows in order; photos at addresses are fetched ahead in threads.

    A row is a photo's name with its bytes, or with its path.
    """
    ahead: deque[tuple[str, PartPhoto | Future[PartPhoto]]] = deque()
    pool: ThreadPoolExecutor | None = None
    failures: list[DatasetError] = []
    try:
        for name, photo in _until_error(rows, failures):
            if isinstance(photo, bytes):
                ahead.append((name, FetchedPhoto(name, photo)))
            elif is_remote(address := _absolute(photo, root)):
                pool = pool or ThreadPoolExecutor(READ_AHEAD, "showtell-fetch")
                ahead.append((name, pool.submit(fetch_photo, name, address)))
            elif address == name:
                ahead.append((name, Path(name)))
            else:
                ahead.append((name, NamedLocalPhoto(name, Path(address))))
            while ahead and (len(ahead) > READ_AHEAD or not isinstance(ahead[0][1], Future)):
                yield _result(*ahead.popleft())
        while ahead:
            yield _result(*ahead.popleft())
        if failures:
            raise failures[0]
    finally:
        if pool is not None:
            pool.shutdown(cancel_futures=True)


def _until_error(
    rows: Iterator[tuple[str, bytes | str]], failures: list[DatasetError]
) -> Iterator[tuple[str, bytes | str]]:
    """Yield rows up to an error, which is added to `failures`: the rows before it still count."""
    try:
        yield from rows
    except DatasetError as error:
        failures.append(error)


def _absolute(path: str, root: str) -> str:
    """Return the address of a photo; relative paths begin at the root."""
    if is_remote(path) or not root or Path(path).is_absolute():
        return path
    return f"{root}/{path}"


def _result(name: str, photo: PartPhoto | Future[PartPhoto]) -> tuple[str, PartPhoto]:
    return name, photo.result() if isinstance(photo, Future) else photo
