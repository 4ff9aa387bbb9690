"""Shards: a captioned dataset as a few large tar files instead of many small ones.

A folder of shards contains `index.json`, and for each shard a WebDataset tar file and a table:

    train-000000.tar    000000000.jpg, 000000000.json, 000000001.jpg, ... as in WebDataset
    train-000000.jsonl  a line about the shard, then a line per photo: name, captions, offset,
                        size, sha256

With the tables, a dataset opens without reading the photos. The table contains each photo's sha256,
the index the sha256 of each table and shard.

The `webdataset` library can read these shards. showtell does not use it, because it reads addresses
through `curl` and not fsspec, and does not give all ranks the same number of photos.
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
from pathlib import Path
from typing import Any, Literal

from showtell.data.dataset import SPLITS, CaptionedPhoto, Dataset
from showtell.data.shard_photo import ShardPhoto
from showtell.data.shards.address import INDEX, parse_address
from showtell.errors import DatasetError
from showtell.files.counts import count_of
from showtell.files.remote import (
    Address,
    UnreadableFileError,
    file_sha256,
    file_size,
    is_remote,
    join,
    read_file,
)
from showtell.language.languages import language_of

logger = logging.getLogger(__name__)

INDEX_VERSION = 1
UNKNOWN_SUFFIX = ".photo"  # suffix of a member whose photo has no image suffix
_FORMAT = "showtell shards"
_THREADS = 8  # a table at a remote address needs one or two requests
OnBroken = Literal["fail", "skip"]

_SHARD_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*\.tar")


class ShardError(UnreadableFileError):
    """A shard or its table is missing, cut off, or differs from the index."""


@dataclass(frozen=True, slots=True)
class Shard:
    """One shard in the index; `split` is None for photos that are in no split."""

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
class ShardRow:
    """One line of a shard's table."""

    photo: ShardPhoto
    captions: tuple[str, ...]


@dataclass(frozen=True)
class ShardIndex:
    """The content of `index.json`: the shards of train, dev, test and of no split, in that order.

    `content_hash` is a hash of the dataset and of its division into shards. `language` is the
    BCP 47 tag of the captions' language, where the dataset gave it.
    """

    address: Address
    layout: str
    content_hash: str
    shards: tuple[Shard, ...]
    language: str | None = None

    def rows(self, shard: Shard) -> list[ShardRow]:
        """Return the rows of a shard's table: its photos in order, without their bytes.

        Raises UnreadableFileError if the table is missing or differs from the index.
        """
        table = join(self.address, shard.table)
        data = read_file(table)
        if hashlib.sha256(data).hexdigest() != shard.table_sha256:
            raise ShardError(f"{table}: damaged: its checksum is not the one in {INDEX}")
        try:
            rows = _parse_rows(data, join(self.address, shard.name))
        except (ValueError, KeyError, TypeError) as error:
            raise ShardError(f"{table}: not a table of photos ({error})") from error
        if len(rows) != shard.photos:
            raise ShardError(
                f"{table}: {count_of(len(rows), 'photo')}, but {shard.photos:,} in {INDEX}"
            )
        return rows

    def check_size(self, shard: Shard) -> None:
        """Raise UnreadableFileError if a shard is missing or has another size than in the index."""
        path = join(self.address, shard.name)
        size = file_size(path)
        if size is not None and size != shard.bytes:
            fault = "cut off" if size < shard.bytes else "another file"
            raise ShardError(f"{path}: {fault}: {size:,} bytes, not {shard.bytes:,}")

    def check_bytes(self, shard: Shard) -> None:
        """Read a shard and raise UnreadableFileError if its checksum differs from the index."""
        path = join(self.address, shard.name)
        if file_sha256(path) != shard.sha256:
            raise ShardError(f"{path}: damaged: its checksum is not the one in {INDEX}")


def is_shards(address: Address) -> bool:
    """Return whether a folder on disk contains shards; for a remote address, always True.

    Nothing is read from a remote address: shards are the only datasets that can have one.
    """
    if is_remote(address):
        return True
    try:
        return bool(json.loads((Path(address) / INDEX).read_bytes()).get("format") == _FORMAT)
    except (OSError, ValueError, AttributeError):
        return False


def open_index(address: Address | str) -> ShardIndex:
    """Return the index of a folder of shards, on disk or at an address that fsspec opens.

    Raises DatasetError if there is no index, it is damaged, or a newer showtell wrote it.
    """
    folder = parse_address(address)
    path = join(folder, INDEX)
    data = read_file(path)
    try:
        content = json.loads(data)
        if content["format"] != _FORMAT:
            raise ValueError(f"its format is {content['format']!r}")
        if content["version"] > INDEX_VERSION:
            raise DatasetError(f"{path}: written by a newer showtell: upgrade showtell")
        shards = tuple(Shard(**entry) for entry in content["shards"])
        for shard in shards:
            if not _SHARD_NAME.fullmatch(shard.name) or shard.split not in (*SPLITS, None):
                raise ValueError(f"invalid shard name {shard.name!r} or split {shard.split!r}")
            if shard.photos < 1 or shard.bytes < 1:
                raise ValueError(f"the shard {shard.name} is listed with 0 photos or bytes")
        language = content.get("language")
        if language is not None:
            language = language_of(str(language)).code
        return ShardIndex(folder, str(content["layout"]), str(content["made_of"]), shards, language)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DatasetError(f"{path}: not an index of shards ({error})") from error


def find_shard_photo(path: str) -> ShardPhoto | None:
    """Return the photo in a shard whose `str` is `path`, None if there is none."""
    shard, inside, name = path.partition(".tar/")
    return _photos_of(f"{shard}.tar").get(name) if inside else None


@functools.lru_cache(maxsize=4)
def _photos_of(shard: str) -> dict[str, ShardPhoto]:
    name = re.split(r"[/\\]", shard)[-1]
    try:
        index = open_index(shard.removesuffix(name))
        tables = [index.rows(entry) for entry in index.shards if entry.name == name]
    except DatasetError:
        return {}
    return {row.photo.name: row.photo for rows in tables for row in rows}


def index_json(
    layout: str, content_hash: str, shards: tuple[Shard, ...], language: str | None = None
) -> str:
    """Return the text of an index."""
    splits = {}
    for split in (*SPLITS, None):
        split_shards = [shard for shard in shards if shard.split == split]
        if split_shards:
            splits[split or "none"] = {
                "shards": len(split_shards),
                "photos": sum(shard.photos for shard in split_shards),
                "captions": sum(shard.captions for shard in split_shards),
            }
    content: dict[str, Any] = {
        "format": _FORMAT,
        "version": INDEX_VERSION,
        "layout": layout,
        **({"language": language} if language else {}),
        "made_of": content_hash,
        "splits": splits,
        "shards": [asdict(shard) for shard in shards],
    }
    return json.dumps(content, indent=1) + "\n"


def read_shards(address: Address | str, on_broken: OnBroken = "fail") -> Dataset:
    """Return the dataset in a folder of shards, ordered by split.

    Only the tables are read, and the sizes of the shards compared. `CaptionedPhoto.path` is a
    `ShardPhoto`, which reads and checks the photo's bytes on demand. A shard that is missing, has
    another size, or has a damaged table raises ShardError with `on_broken="fail"`; with "skip" it
    is left out with a warning.

    Raises DatasetError if the index is missing or damaged, or if no photo is left.
    """
    index = open_index(address)
    photos = read_tables(index, lambda _, fault: _raise_or_warn(fault, on_broken))
    if not photos:
        raise DatasetError(
            f"{index.address}: no readable photo in {count_of(len(index.shards), 'shard')}:"
            " repair the shards or download them again"
        )
    return Dataset(index.address, index.layout, tuple(photos), language=index.language)


def read_tables(
    index: ShardIndex, report: Callable[[Shard, str], None], *, verify: bool = False
) -> list[CaptionedPhoto]:
    """Return the photos of all shards with the right size and an intact table.

    `report` is called with the fault of each other shard. With `verify`, every shard is also read
    and compared with its checksum; one that differs is reported, but its photos are returned.
    """

    def read_one(shard: Shard) -> tuple[list[ShardRow], str | None]:
        try:
            index.check_size(shard)
            rows = index.rows(shard)
        except UnreadableFileError as error:
            return [], str(error)
        try:
            if verify:
                index.check_bytes(shard)
        except UnreadableFileError as error:
            return rows, str(error)
        return rows, None

    photos: list[CaptionedPhoto] = []
    with ThreadPoolExecutor(_THREADS) as pool:
        tables = pool.map(read_one, index.shards)
        for shard, (rows, fault) in zip(index.shards, tables, strict=True):
            if fault is not None:
                report(shard, fault)
            photos += [
                CaptionedPhoto(row.photo.name, row.photo, row.captions, shard.split) for row in rows
            ]
    return photos


def _raise_or_warn(fault: str, on_broken: OnBroken) -> None:
    """Raise ShardError for a broken shard, or log a warning."""
    if on_broken == "fail":
        raise ShardError(
            f"{fault}: download it again, or leave it out with --on-broken skip (on_broken='skip')"
        )
    logger.warning("left out: %s", fault)


def _parse_rows(data: bytes, shard: Address) -> list[ShardRow]:
    lines = data.splitlines()[1:]  # the first line describes the shard
    rows = json.loads(b"[" + b",".join(lines) + b"]")  # faster than line by line
    return [
        ShardRow(
            ShardPhoto(shard, row["name"], row["offset"], row["size"], row["sha256"]),
            tuple(row["captions"]),
        )
        for row in rows
    ]
