"""The input of a job: a folder of photos, WebDataset shards or Parquet, divided into parts.

How an input is divided depends on the input alone, so that a restarted job has the same parts.
Ray Data's own readers cut blocks by their bytes, differently in each run.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from showtell.cluster.folder_listing import LISTING, FolderPhotos, write_listing
from showtell.cluster.parquet_input import PhotoColumns, count_rows, find_columns, split_rows
from showtell.cluster.parts import JobPart
from showtell.cluster.storage import Storage
from showtell.errors import DatasetError
from showtell.files.photo_files import SUFFIXES
from showtell.files.printable_names import printable
from showtell.files.remote import file_size, is_remote, list_files, walk_files

InputKind = Literal["folder", "shards", "parquet"]
_REQUESTS = 16  # file sizes or Parquet footers that are read at the same time


@dataclass(frozen=True)
class InputFile:
    """A file of the input. `photos` is None if only reading the file would tell."""

    address: str
    photos: int | None
    bytes: int | None = None


@dataclass(frozen=True)
class JobInput:
    """An input with its files.

    `digest` is a hash of a folder's photo paths, or of the files' addresses, photo counts and
    shard sizes. It does not depend on the content of photos. Relative paths in a Parquet column
    begin at `root`.
    """

    address: str
    kind: InputKind
    files: tuple[InputFile, ...]
    digest: str
    columns: PhotoColumns | None = None
    root: str = ""

    @property
    def photos(self) -> int | None:
        """How many photos the input has; None for shards without an index."""
        counts = [file.photos for file in self.files]
        return None if None in counts else sum(count or 0 for count in counts)

    def parts(self, size: int) -> list[JobPart]:
        """Divide the input into parts of at most `size` photos; a shard is always one part."""
        parts: list[JobPart] = []
        for file in self.files:
            if self.kind == "shards":
                parts.append(JobPart(len(parts), file.address))
                continue
            for start, count in split_rows(file.photos or 0, size):
                parts.append(JobPart(len(parts), file.address, start, count))
        return parts


@dataclass(frozen=True)
class ParquetOptions:
    """The columns and the root of a Parquet input, as the user gives them."""

    column: str | None = None
    name_column: str | None = None
    root: Path | str | None = None


def open_input(
    address: Path | str,
    storage: Storage,
    *,
    kind: InputKind | None = None,
    parquet: ParquetOptions | None = None,
    list_photos: bool = True,
    skip_unlistable: bool = False,
) -> JobInput:
    """Return the input at an address: its kind, its files, their photos and a digest.

    With `list_photos` a folder's photos are listed in the job's folder `storage`.
    Raises DatasetError if there are no photos, the kind of input is ambiguous, or a folder cannot
    be listed; with `skip_unlistable` a subfolder that cannot be listed is left out with a warning.
    """
    kind = kind or _detect_kind(address)
    if kind == "parquet":
        return _open_parquet(address, parquet or ParquetOptions())
    if parquet is not None and parquet != ParquetOptions():
        raise DatasetError(
            f"{printable(str(address))}: --column, --name-column and --root are for Parquet"
        )
    if kind == "shards":
        files = _shards(address)
        return JobInput(str(address), kind, files, _digest(files))
    photos = FolderPhotos(address, skip_unlistable=skip_unlistable)
    return _open_folder(photos, storage if list_photos else None)


def limit_parts(opened: JobInput, parts: Sequence[JobPart], limit: int) -> list[JobPart]:
    """Return the parts of the first `limit` photos; shards without an index are read to count."""
    counts = {file.address: file.photos for file in opened.files}
    limited: list[JobPart] = []
    for part in parts:
        if limit <= 0:
            break
        count = counts[part.source] if part.count is None else part.count
        if count is None:
            count = _count_photos(part.source, limit)
        limited.append(replace(part, number=len(limited), count=min(count, limit)))
        limit -= count
    return limited


def total_photos(opened: JobInput) -> tuple[int, bool]:
    """Return the number of photos of an input, and whether it is exact.

    For shards without an index, the first one is counted and the others are estimated by size.
    """
    if opened.photos is not None:
        return opened.photos, True
    first = opened.files[0]
    photos = _count_photos(first.address)
    size = sum(file.bytes or first.bytes or 1 for file in opened.files)
    return max(1, round(photos * size / (first.bytes or 1))), len(opened.files) == 1


def absolute_address(address: Path | str) -> Path | str:
    """Return an address that every machine with access understands."""
    return address if is_remote(address) else Path(address).absolute()


def _open_folder(photos: FolderPhotos, listing: Storage | None) -> JobInput:
    address = photos.address
    if listing is not None:
        write_listing(listing, photos)
    else:
        for _ in photos:  # counts and hashes the names
            pass
    if not photos.count:
        suffixes = " ".join(sorted(SUFFIXES))
        raise DatasetError(f"{printable(str(address))}: no photos here ({suffixes})")
    file = InputFile(LISTING, photos.count)
    return JobInput(str(address), "folder", (file,), photos.digest)


def _open_parquet(address: Path | str, options: ParquetOptions) -> JobInput:
    addresses = _parquet_files(address)
    with ThreadPoolExecutor(_REQUESTS) as pool:
        rows = list(pool.map(count_rows, addresses))
    columns = find_columns(addresses[0], options.column, options.name_column)
    files = tuple(
        InputFile(file, count) for file, count in zip(addresses, rows, strict=True) if count
    )
    if not files:
        raise DatasetError(f"{printable(str(address))}: no photos: its Parquet has no rows")
    root = str(options.root or _parquet_folder(address))
    return JobInput(str(address), "parquet", files, _digest(files), columns, root)


def _count_photos(shard: str, limit: int | None = None) -> int:
    from showtell.data.shards.webdataset import iterate_shard

    return sum(1 for _ in itertools.islice(iterate_shard(shard), limit))


def _detect_kind(address: Path | str) -> InputKind:
    """Return the kind of an input from its name or from the files directly in it."""
    names = [str(address)]
    if not names[0].endswith((".tar", ".parquet")):
        names = _file_names(address)
    has_shards = any(name.endswith(".tar") for name in names)
    has_parquet = any(name.endswith(".parquet") for name in names)
    if has_shards and has_parquet:
        shown = printable(str(address))
        raise DatasetError(f"{shown}: holds shards and Parquet: choose one with --kind")
    return "shards" if has_shards else "parquet" if has_parquet else "folder"


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


def _parquet_folder(address: Path | str) -> Path | str:
    """Return the folder that holds the Parquet files of an address."""
    if not str(address).endswith(".parquet"):
        return address
    return address.parent if isinstance(address, Path) else address.rpartition("/")[0]


def _shards(address: Path | str) -> tuple[InputFile, ...]:
    from showtell.data.shards.index import open_index
    from showtell.data.shards.webdataset import list_shards

    shards = [str(shard) for shard in list_shards(address)]
    try:
        index = {shard.name: shard for shard in open_index(address).shards}
    except DatasetError:  # not written by showtell
        with ThreadPoolExecutor(_REQUESTS) as pool:
            sizes = list(pool.map(file_size, shards))
        return tuple(
            InputFile(shard, None, size) for shard, size in zip(shards, sizes, strict=True)
        )
    entries = ((shard, index[shard.rpartition("/")[2]]) for shard in shards)
    return tuple(InputFile(shard, entry.photos, entry.bytes) for shard, entry in entries)


def _digest(files: Iterable[InputFile]) -> str:
    """Return a hash of the addresses, photos and sizes of files."""
    known: list[Any] = [[file.address, file.photos, file.bytes] for file in files]
    return hashlib.sha256(json.dumps(known).encode()).hexdigest()
