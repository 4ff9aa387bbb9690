"""What a job reads: a folder of photos, WebDataset shards or Parquet; divided into parts for good.

A part is a run of photos of one source that one worker captions at a time and one output file
holds. How an input is divided depends on the input alone, so that a job that was killed finds its
parts again. Ray Data's own readers cut blocks by bytes as they come, another way each time.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import logging
import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from showtell.cluster.parquet_input import Columns, count_rows, cuts, find_columns
from showtell.cluster.storage import Storage
from showtell.errors import DatasetError, PhotoError
from showtell.files.folder_walk import is_skipped
from showtell.files.photo_files import SUFFIXES, find_photos
from showtell.files.printable_names import printable
from showtell.files.remote import file_size, is_remote, list_files, walk_files

logger = logging.getLogger(__name__)

Kind = Literal["folder", "shards", "parquet"]
KINDS: tuple[Kind, ...] = ("folder", "shards", "parquet")
LISTING = "_input.parquet"
LISTED_AT_ONCE = 4_096  # rows of the listing's row groups, and the most photos of a part
LEAST_IN_PART = 64
PARTS_PER_WORKER = 12  # so that workers end at about the same time
_AT_A_TIME = 16  # files whose footers or sizes are asked for


@dataclass(frozen=True)
class Part:
    """Photos `start` to `start + count` of a source, evenly thinned out to the fraction `keep`.

    `source` is a shard, a Parquet file, or the listing of a folder's photos; `count` is None for
    a whole shard.
    """

    number: int
    source: str
    start: int = 0
    count: int | None = None
    keep: float = 1.0

    @property
    def name(self) -> str:
        """The name of its output file."""
        return f"part-{self.number:06d}.parquet"


@dataclass(frozen=True)
class Source:
    """A file of the input with its photos (None where only reading it would tell) and its bytes."""

    address: str
    photos: int | None
    bytes: int | None = None


@dataclass(frozen=True)
class Input:
    """An input as it was found; `digest` is another where it holds other photos.

    `root` is where relative paths of a column begin; a folder's own paths are whole.
    """

    address: str
    kind: Kind
    sources: tuple[Source, ...]
    digest: str
    columns: Columns | None = None
    root: str = ""
    not_listed: int = 0

    @property
    def photos(self) -> int | None:
        """How many photos it holds; None for shards without an index."""
        counts = [source.photos for source in self.sources]
        return None if None in counts else sum(count or 0 for count in counts)

    def parts(self, size: int) -> list[Part]:
        """Divide it into parts of about `size` photos: a shard is always one part."""
        found: list[Part] = []
        for source in self.sources:
            if self.kind == "shards":
                found.append(Part(len(found), source.address))
                continue
            for start, count in cuts(source.photos or 0, size):
                found.append(Part(len(found), source.address, start, count))
        return found


def part_size(photos: int | None, workers: int, batch_size: int) -> int:
    """Return how many photos a part should have: enough parts to keep all workers busy.

    Whole batches, so that none is cut short at a part's end.
    """
    if photos is None:
        return LISTED_AT_ONCE
    wanted = min(max(photos // (workers * PARTS_PER_WORKER), LEAST_IN_PART), LISTED_AT_ONCE)
    return max(wanted // batch_size, 1) * batch_size


def first_photos(found: Input, parts: list[Part], limit: int) -> list[Part]:
    """Return the parts of the first `limit` photos; shards without an index are read to count."""
    known = {source.address: source.photos for source in found.sources}
    chosen: list[Part] = []
    for part in parts:
        if limit <= 0:
            break
        count = known[part.source] if part.count is None else part.count
        if count is None:
            from showtell.data.shards.webdataset import iterate_shard

            count = sum(1 for _ in itertools.islice(iterate_shard(part.source), limit))
        chosen.append(replace(part, number=len(chosen), count=min(count, limit)))
        limit -= count
    return chosen


def total_photos(found: Input) -> tuple[int, bool]:
    """Return how many photos an input has, and whether they were counted.

    Of shards without an index the first is read, and the others are taken to be like it.
    """
    if found.photos is not None:
        return found.photos, True
    from showtell.data.shards.webdataset import iterate_shard

    first = found.sources[0]
    photos = sum(1 for _ in iterate_shard(first.address))
    size = sum(source.bytes or first.bytes or 1 for source in found.sources)
    return max(1, round(photos * size / (first.bytes or 1))), len(found.sources) == 1


def spread_sample(parts: list[Part], fraction: float) -> list[Part]:
    """Return parts, and photos in them, that lie evenly over the input and are `fraction` of it.

    Few whole parts rather than a photo here and there: a shard is read whole or not at all.
    """
    wanted = fraction * len(parts)
    count = min(len(parts), max(int(wanted) + (wanted % 1 > 0), PARTS_PER_WORKER))
    keep = wanted / count
    chosen = (parts[place * len(parts) // count] for place in range(count))
    return [replace(part, number=number, keep=keep) for number, part in enumerate(chosen)]


def is_kept(place: int, keep: float) -> bool:
    """Say whether the photo at a place is one of the fraction `keep`, spread evenly."""
    return int((place + 1) * keep + 1e-9) > int(place * keep + 1e-9)


def find_input(
    address: Path | str,
    *,
    kind: Kind | None = None,
    column: str | None = None,
    name_column: str | None = None,
    root: Path | str | None = None,
    listing: Storage,
    write_listing: bool,
) -> Input:
    """Look at an input: which kind it is, its files, how many photos, and a digest of all that.

    A folder's photos are listed into `listing` where `write_listing` says so.
    Raises DatasetError where there are no photos, or it is not clear what is meant.
    """
    shown = str(address)
    kind = kind or _kind_of(address)
    if kind != "parquet" and (column or name_column or root):
        raise DatasetError(f"{printable(shown)}: --column, --name-column, --root are for Parquet")
    if kind == "shards":
        return Input(shown, kind, *_shards(address))
    if kind == "parquet":
        files = _parquet_files(address)
        with ThreadPoolExecutor(_AT_A_TIME) as pool:
            rows = list(pool.map(count_rows, files))
        columns = find_columns(files[0], column, name_column)
        sources = tuple(
            Source(file, count) for file, count in zip(files, rows, strict=True) if count
        )
        if not sources:
            raise DatasetError(f"{printable(shown)}: no photos: its Parquet has no rows")
        return Input(shown, kind, sources, _digest(sources), columns, str(root or _folder(address)))
    names = _Names(address)
    if write_listing:
        _write_listing(listing, names)
    else:
        for _ in names:
            pass
    if not names.count:
        raise DatasetError(f"{printable(shown)}: no photos here ({' '.join(sorted(SUFFIXES))})")
    source = Source(LISTING, names.count)
    digest = names.digest.hexdigest()
    return Input(shown, kind, (source,), digest, not_listed=names.not_listed)


class _Names:
    """A folder's photos, as bytes of their paths in the order of `showtell caption`; counted."""

    def __init__(self, address: Path | str) -> None:
        self.address = address
        self.count = self.not_listed = 0
        self.digest = hashlib.sha256()

    def __iter__(self) -> Iterator[bytes]:
        for path in self._paths():
            name = os.fsencode(path)
            self.count += 1
            self.digest.update(name + b"\0")
            yield name

    def _paths(self) -> Iterator[str | Path]:
        if isinstance(self.address, Path):
            yield from find_photos([self.address], recursive=True, report=self._report)
            return
        for address in walk_files(self.address, is_skipped):
            if Path(address).suffix.lower() in SUFFIXES:
                yield address

    def _report(self, error: PhotoError) -> None:
        self.not_listed += 1
        logger.warning("left out: %s", error)


def _write_listing(storage: Storage, names: Iterable[bytes]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pa.schema([("path", pa.binary())])
    with storage.writing(LISTING) as file, pq.ParquetWriter(file, schema) as writer:
        held: list[bytes] = []
        for name in names:
            held.append(name)
            if len(held) == LISTED_AT_ONCE:
                writer.write_table(pa.table([held], schema=schema))
                held = []
        if held:
            writer.write_table(pa.table([held], schema=schema))


def _kind_of(address: Path | str) -> Kind:
    shown = printable(str(address))
    names = [] if str(address).endswith((".tar", ".parquet")) else _file_names(address)
    tars = str(address).endswith(".tar") or any(name.endswith(".tar") for name in names)
    tables = str(address).endswith(".parquet") or any(name.endswith(".parquet") for name in names)
    if tars and tables:
        raise DatasetError(f"{shown}: holds shards and Parquet: say which with --kind")
    return "shards" if tars else "parquet" if tables else "folder"


def _file_names(folder: Path | str) -> list[str]:
    """Return the names of the files directly in a folder."""
    if isinstance(folder, Path) and folder.exists() and not folder.is_dir():
        raise DatasetError(f"{printable(str(folder))}: a file: give a folder, a .tar or a .parquet")
    return [name for name in list_files(folder) if not _is_ignored(name)]


def _is_ignored(name: str) -> bool:
    """Return whether readers of Parquet folders ignore a file or folder of this name."""
    return name.startswith((".", "_"))


def _parquet_files(address: Path | str) -> list[str]:
    """Return the sorted Parquet files of an address, those in subfolders (year=2020/) included."""
    if str(address).endswith(".parquet") and not (isinstance(address, Path) and address.is_dir()):
        return [str(address)]
    files = sorted(file for file in walk_files(address, _is_ignored) if file.endswith(".parquet"))
    if not files:
        raise DatasetError(f"{printable(str(address))}: no Parquet files here")
    return files


def _shards(address: Path | str) -> tuple[tuple[Source, ...], str]:
    from showtell.data.shards.index import open_index
    from showtell.data.shards.webdataset import list_shards

    shards = list_shards(address)
    try:
        index = {shard.name: shard for shard in open_index(address).shards}
    except DatasetError:  # anybody's tar files
        with ThreadPoolExecutor(_AT_A_TIME) as pool:
            sizes = list(pool.map(file_size, shards))
        found = [Source(str(own), None, size) for own, size in zip(shards, sizes, strict=True)]
        return tuple(found), _digest(found)
    found = []
    for own in shards:
        entry = index[str(own).rpartition("/")[2]]
        found.append(Source(str(own), entry.photos, entry.bytes))
    return tuple(found), _digest(found)


def _digest(sources: Iterable[Source]) -> str:
    """Return a digest of files' names, photos and sizes."""
    known: list[Any] = [[source.address, source.photos, source.bytes] for source in sources]
    return hashlib.sha256(json.dumps(known).encode()).hexdigest()


def _folder(address: Path | str) -> Path | str:
    """Return the folder that Parquet lies in."""
    if not str(address).endswith(".parquet"):
        return address
    return address.parent if isinstance(address, Path) else address.rpartition("/")[0]


def absolute(address: Path | str) -> Path | str:
    """Return an address that means the same on every machine that has it."""
    return address if is_remote(address) else Path(address).absolute()
