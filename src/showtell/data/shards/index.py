"""Shards: a captioned dataset as a few large tar files instead of many small ones.

A folder of shards holds `index.json`, and for each shard a WebDataset tar file and a table:

    train-000000.tar    000000000.jpg, 000000000.json, 000000001.jpg, ... as WebDataset has it
    train-000000.jsonl  a line about the shard, then one a photo: name, captions, place, sha256

The tables are what makes a dataset of the folder without reading the photos. Each photo's sha256
is in its table, each table's and each shard's in the index.

Read by `tarfile` and places in tables, not by the `webdataset` library: that takes addresses by
`curl` in a pipe and not by fsspec, and leaves it to its users that ranks get equal work
(`ddp_equalize` is deprecated). What is written here, `webdataset` reads.
"""

from __future__ import annotations

import functools
import hashlib
import json
import logging
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any, Literal

from showtell.data.dataset import SPLITS, CaptionedPhoto, Dataset
from showtell.data.shards.address import INDEX, parse_address
from showtell.errors import DatasetError, PhotoError
from showtell.files.remote import (
    Address,
    UnreadableFileError,
    file_sha256,
    file_size,
    join,
    read_file,
    read_range,
)

logger = logging.getLogger(__name__)

FORMAT = "showtell shards"
VERSION = 1
OTHER_SUFFIX = ".photo"  # of a member whose photo has no suffix that says what it is
_AT_A_TIME = 8  # shards whose tables are read: of an address each is a request or two
DAMAGED = "damaged: its checksum is another than when it was packed"
OnBroken = Literal["fail", "skip"]

_SHARD_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*\.tar")


class ShardError(UnreadableFileError):
    """A shard is gone, cut off, or not what the index says."""


@dataclass(frozen=True, slots=True)
class Shard:
    """One shard as the index has it; `split` is None for photos that official lists leave out."""

    name: str
    split: str | None
    photos: int
    captions: int
    bytes: int
    sha256: str
    table_sha256: str

    @property
    def table(self) -> str:
        """The name of the shard's table."""
        return self.name.removesuffix(".tar") + ".jsonl"


@dataclass(frozen=True, slots=True)
class ShardPhoto:
    """A photo inside a shard: what stands in a `CaptionedPhoto` where loose photos have a path."""

    shard: Address
    name: str
    offset: int
    size: int
    sha256: str

    def __str__(self) -> str:
        return f"{self.shard}/{self.name}"

    @property
    def filename(self) -> str:
        """What messages call the photo."""
        return str(self)

    def read_bytes(self) -> bytes:
        """Return the photo's bytes.

        Raises PhotoError, which leaves it to `open_photo` to name the photo, where they cannot be
        read or are not those that were packed.
        """
        try:
            data = read_range(self.shard, self.offset, self.size)
        except UnreadableFileError as error:
            raise PhotoError(str(error).removeprefix(f"{self.shard}: ")) from error
        if hashlib.sha256(data).hexdigest() != self.sha256:
            raise PhotoError(DAMAGED)
        return data


@dataclass(frozen=True, slots=True)
class ShardRow:
    """One line of a shard's table."""

    photo: ShardPhoto
    captions: tuple[str, ...]


@dataclass(frozen=True)
class ShardIndex:
    """What `index.json` says: shards in the order of the dataset, train, dev, test, no split.

    `made_of` is a hash of the dataset and of how it was divided: the same for the same shards.
    """

    address: Address
    layout: str
    made_of: str
    shards: tuple[Shard, ...]

    def rows(self, shard: Shard) -> list[ShardRow]:
        """Read a shard's table: its photos in their order, without their bytes.

        Raises UnreadableFileError where the table is gone, or not the one of the index.
        """
        where = join(self.address, shard.table)
        data = read_file(where)
        if hashlib.sha256(data).hexdigest() != shard.table_sha256:
            raise ShardError(f"{where}: damaged: its checksum is not the one in {INDEX}")
        try:
            rows = _rows(data, join(self.address, shard.name))
        except (ValueError, KeyError, TypeError) as error:
            raise ShardError(f"{where}: no table of photos ({error})") from error
        if len(rows) != shard.photos:
            raise ShardError(f"{where}: {len(rows)} photos, {INDEX} says {shard.photos}")
        return rows

    def check_size(self, shard: Shard) -> None:
        """Raise UnreadableFileError where a shard is gone or has not the size of the index."""
        where = join(self.address, shard.name)
        size = file_size(where)
        if size is not None and size != shard.bytes:
            what = "cut off" if size < shard.bytes else "another file"
            raise ShardError(f"{where}: {what}: {size:,} bytes, not {shard.bytes:,}")

    def check_bytes(self, shard: Shard) -> None:
        """Read a shard and raise UnreadableFileError where its checksum is another."""
        where = join(self.address, shard.name)
        if file_sha256(where) != shard.sha256:
            raise ShardError(f"{where}: damaged: its checksum is not the one in {INDEX}")


def is_shards(address: Address) -> bool:
    """Say whether a folder is one of shards; an address with `://` can be nothing else."""
    if isinstance(address, str):
        return True
    try:
        return bool(json.loads((address / INDEX).read_bytes()).get("format") == FORMAT)
    except (OSError, ValueError, AttributeError):
        return False


def open_index(address: Address | str) -> ShardIndex:
    """Read the index of a folder of shards, on disk or at an address of fsspec.

    Raises DatasetError where there is none, it is damaged, or a newer showtell wrote it.
    """
    folder = parse_address(address)
    where = join(folder, INDEX)
    data = read_file(where)
    try:
        kept = json.loads(data)
        if kept["format"] != FORMAT:
            raise ValueError(f"its format is {kept['format']!r}")
        if kept["version"] > VERSION:
            raise DatasetError(f"{where}: written by a newer showtell: pip install -U showtell")
        shards = tuple(Shard(**entry) for entry in kept["shards"])
        for shard in shards:
            if not _SHARD_NAME.fullmatch(shard.name) or shard.split not in (*SPLITS, None):
                raise ValueError(f"it names a shard {shard.name!r} of split {shard.split!r}")
            if shard.photos < 1 or shard.bytes < 1:
                raise ValueError(f"it says nothing is in {shard.name}")
        return ShardIndex(folder, str(kept["layout"]), str(kept["made_of"]), shards)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DatasetError(f"{where}: no index of shards that can be read ({error})") from error


def find_shard_photo(path: str) -> ShardPhoto | None:
    """Return the photo in a shard that `str` of a `ShardPhoto` named, None where there is none."""
    shard, inside, name = path.partition(".tar/")
    return _photos_of(f"{shard}.tar").get(name) if inside else None


@functools.lru_cache(maxsize=4)
def _photos_of(shard: str) -> dict[str, ShardPhoto]:
    name = re.split(r"[/\\]", shard)[-1]
    try:
        index = open_index(shard.removesuffix(name))
        rows = [index.rows(own) for own in index.shards if own.name == name]
    except DatasetError:
        return {}
    return {row.photo.name: row.photo for own in rows for row in own}


def index_json(layout: str, made_of: str, shards: tuple[Shard, ...]) -> str:
    """Return the text of an index."""
    splits = {}
    for split in (*SPLITS, None):
        own = [shard for shard in shards if shard.split == split]
        if own:
            splits[split or "none"] = {
                "shards": len(own),
                "photos": sum(shard.photos for shard in own),
                "captions": sum(shard.captions for shard in own),
            }
    kept: dict[str, Any] = {
        "format": FORMAT,
        "version": VERSION,
        "layout": layout,
        "made_of": made_of,
        "splits": splits,
        "shards": [asdict(shard) for shard in shards],
    }
    return json.dumps(kept, indent=1) + "\n"


def read_shards(address: Address | str, on_broken: OnBroken = "fail") -> Dataset:
    """Return shards as a dataset: the table that loose photos would give, split by split.

    Tables are read and sizes compared, photos are not read: `CaptionedPhoto.path` is a
    `ShardPhoto`, whose bytes are read, and checked, when they are asked for. A shard that is gone,
    cut off or has another table is named; it raises ShardError (`fail`), or is left out (`skip`).
    """
    index = open_index(address)
    photos = read_tables(index, lambda _, fault: _leave_out(fault, on_broken))
    if not photos:
        raise DatasetError(f"{index.address}: no photo is left in its {len(index.shards)} shards")
    return Dataset(index.address, index.layout, tuple(photos))


def read_tables(
    index: ShardIndex, report: Callable[[Shard, str], None], *, whole: bool = False
) -> list[CaptionedPhoto]:
    """Return the photos of all shards but the broken ones, which `report` is told of.

    With `whole` every byte of every shard is read, and compared with its checksum.
    """

    def read(shard: Shard) -> tuple[list[ShardRow], str | None]:
        try:
            index.check_size(shard)
            rows = index.rows(shard)
        except UnreadableFileError as error:
            return [], str(error)
        try:
            if whole:
                index.check_bytes(shard)
        except UnreadableFileError as error:
            return rows, str(error)
        return rows, None

    photos: list[CaptionedPhoto] = []
    with ThreadPoolExecutor(_AT_A_TIME) as pool:
        for shard, (rows, fault) in zip(index.shards, pool.map(read, index.shards), strict=True):
            if fault is not None:
                report(shard, fault)
            photos += [
                CaptionedPhoto(row.photo.name, row.photo, row.captions, shard.split) for row in rows
            ]
    return photos


def _leave_out(fault: str, on_broken: OnBroken) -> None:
    """Raise what is wrong with a shard, or warn of it, as asked."""
    if on_broken == "fail":
        raise ShardError(f"{fault}: repair it, or leave it out with on_broken=skip")
    logger.warning("left out: %s", fault)


def _rows(data: bytes, shard: Address) -> list[ShardRow]:
    lines = data.splitlines()[1:]  # the first is about the shard
    rows = json.loads(b"[" + b",".join(lines) + b"]")  # at once: faster than line by line
    return [
        ShardRow(
            ShardPhoto(shard, row["name"], row["offset"], row["size"], row["sha256"]),
            tuple(row["captions"]),
        )
        for row in rows
    ]
