"""The photos of a part, one after the other: on disk by path, from elsewhere by their bytes."""

from __future__ import annotations

import itertools
import time
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from showtell.cluster.inputs import LISTING, Input, Part, is_kept
from showtell.cluster.parquet_input import Columns, read_rows
from showtell.cluster.storage import Storage
from showtell.errors import DatasetError, PhotoError
from showtell.files.printable_names import printable
from showtell.files.remote import is_remote, read_file

READ_AHEAD = 16  # photos asked for at a time, where each is a request that takes its time


@dataclass(frozen=True, slots=True)
class GivenPhoto:
    """A photo's bytes under its name, or the reason why there are none."""

    filename: str
    data: bytes = b""
    error: str | None = None

    def read_bytes(self) -> bytes:
        """Return the bytes. Raises PhotoError, which whoever opens it completes by its name."""
        if self.error is not None:
            raise PhotoError(self.error)
        return self.data


@dataclass(frozen=True, slots=True)
class LocalPhoto:
    """A photo on disk that goes by another name than its path."""

    filename: str
    path: Path

    def read_bytes(self) -> bytes:
        """Return the file's bytes."""
        return self.path.read_bytes()


OpenPhoto: TypeAlias = "Path | GivenPhoto | LocalPhoto"


class PartReader:
    """Iterates over name and photo; `seconds` is how long its caller waited for them.

    `seen` counts the photos that it came by, those that a sample leaves out among them.
    """

    def __init__(self, source: Input, part: Part, storage: Storage) -> None:
        self.source, self.part, self.storage = source, part, storage
        self.seconds = 0.0
        self.seen = 0

    def __iter__(self) -> Iterator[tuple[str, OpenPhoto]]:
        photos = self._photos()
        while True:
            start = time.perf_counter()
            try:
                found = next(photos, None)
            except DatasetError as error:  # the source ends here, as a shard does that is cut off
                found, photos = self._broken(error), iter(())
            finally:
                self.seconds += time.perf_counter() - start
            if found is None:
                return
            yield found

    def _photos(self) -> Iterator[tuple[str, OpenPhoto]]:
        part, columns = self.part, self.source.columns
        if self.source.kind == "shards":
            from showtell.data.shards.webdataset import iterate_shard

            # without a count to its very end, where it shows whether it is whole
            rows: Iterable[tuple[str, bytes | None]] = itertools.islice(
                iterate_shard(part.source), part.count
            )
        else:
            address = part.source
            if columns is None:
                address, columns = f"{self.storage.address}/{LISTING}", Columns("path", "paths")
            rows = read_rows(address, columns, part.start, part.count or 0)
        return _with_remote_read_ahead(self._kept(rows), self.source.root)

    def _kept(self, rows: Iterable[tuple[str, bytes | None]]) -> Iterator[tuple[str, bytes | None]]:
        for place, row in enumerate(rows):
            self.seen += 1
            if is_kept(place, self.part.keep):
                yield row

    def _broken(self, error: DatasetError) -> tuple[str, OpenPhoto]:
        reason = str(error).removeprefix(f"{self.part.source}: ")
        return self.part.source, GivenPhoto(self.part.source, error=reason)


def _with_remote_read_ahead(
    rows: Iterator[tuple[str, bytes | None]], root: str
) -> Iterator[tuple[str, OpenPhoto]]:
    """Open rows in their order; photos at addresses are fetched some ahead of who asks for them."""
    ahead: deque[tuple[str, OpenPhoto | Future[OpenPhoto]]] = deque()
    pool: ThreadPoolExecutor | None = None
    try:
        for name, data in rows:
            if data is not None:
                ahead.append((name, GivenPhoto(name, data)))
            elif is_remote(address := _whole(name, root)):
                pool = pool or ThreadPoolExecutor(READ_AHEAD, "showtell-fetch")
                ahead.append((name, pool.submit(fetch, name, address)))
            elif address == name:
                ahead.append((name, Path(name)))
            else:
                ahead.append((name, LocalPhoto(name, Path(address))))
            while ahead and (len(ahead) > READ_AHEAD or not isinstance(ahead[0][1], Future)):
                yield _result(*ahead.popleft())
        while ahead:
            yield _result(*ahead.popleft())
    finally:
        if pool is not None:
            pool.shutdown(cancel_futures=True)


def _whole(name: str, root: str) -> str:
    """Return where a photo lies: relative paths of a column begin at the root."""
    if is_remote(name) or not root or Path(name).is_absolute():
        return name
    return f"{root}/{name}"


def _result(name: str, photo: OpenPhoto | Future[OpenPhoto]) -> tuple[str, OpenPhoto]:
    return name, photo.result() if isinstance(photo, Future) else photo


def fetch(name: str, address: str) -> GivenPhoto:
    """Fetch a photo's bytes; a failure is the photo's error."""
    try:
        return GivenPhoto(name, read_file(address))
    except DatasetError as error:
        return GivenPhoto(name, error=str(error).removeprefix(f"{printable(address)}: "))
