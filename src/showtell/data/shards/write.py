"""Write a dataset as shards: in parallel, resumable, and with the same bytes every time.

During writing, the folder contains `.writing/` with unfinished files and a hash of the content. A
shard is complete once it has its final name and its table; complete shards are not written again.
The index is written last.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import tarfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

from showtell.data.dataset import SPLITS, CaptionedPhoto, Dataset
from showtell.data.shard_photo import ShardPhoto
from showtell.data.shards.address import INDEX
from showtell.data.shards.index import (
    INDEX_VERSION,
    UNKNOWN_SUFFIX,
    Shard,
    ShardIndex,
    index_json,
    open_index,
)
from showtell.errors import DatasetError, PhotoError
from showtell.files.atomic_write import atomic_write
from showtell.files.locks import only_process
from showtell.files.os_errors import error_reason
from showtell.files.photo_files import SUFFIXES
from showtell.files.printable_names import printable

PHOTOS_PER_SHARD = 1000
_WORK = ".writing"
_CONTENT_HASH_FILE = "plan.json"  # the name of earlier versions, whose calls can be continued
_MTIME = 946_684_800  # 2000-01-01: tar warns about times in 1970

_Progress = Callable[[int], object]


@dataclass(frozen=True)
class _PlannedShard:
    """One shard to write."""

    name: str
    split: str | None
    first: int  # the index of its first photo in the split's list
    photos: Sequence[CaptionedPhoto]

    @property
    def table(self) -> str:
        return f"{Path(self.name).stem}.jsonl"


def write_shards(
    dataset: Dataset,
    output: Path,
    *,
    photos_per_shard: int = PHOTOS_PER_SHARD,
    splits: Sequence[str] | None = None,
    workers: int | None = None,
    progress: _Progress | None = None,
) -> ShardIndex:
    """Write the photos of a dataset into shards in the folder `output` and return the index.

    Each split has its own shards, in the order of its list; photos without a split come last. With
    `splits`, only those splits are written. Each of `workers` threads, by default one per core,
    writes one shard at a time. `progress` is called with the number of photos of each finished
    shard. An interrupted call can be repeated and continues; complete shards in `output` are kept.

    Raises DatasetError if `output` contains anything else, a photo cannot be read, or the disk is
    full.
    """
    if photos_per_shard < 1:
        raise DatasetError(f"photos_per_shard={photos_per_shard}: a shard holds at least one photo")
    planned = _plan_shards(dataset, photos_per_shard, splits)
    content_hash = _content_hash(planned)
    output = Path(output)
    try:
        output.mkdir(parents=True, exist_ok=True)
        if (output / INDEX).exists():
            _check_same(output, content_hash, open_index(output).content_hash)
        else:
            with only_process(output / _WORK / "lock", lambda: _raise_locked(output)):
                _check_content_hash(output, content_hash)
                shards = _write_missing(output, planned, workers, progress)
                text = index_json(dataset.layout, content_hash, shards, dataset.language)
                with _open_partial(output, INDEX) as file:
                    file.write(text.encode("ascii"))
        shutil.rmtree(output / _WORK, ignore_errors=True)
    except OSError as error:
        raise DatasetError(
            f"{error.filename or output}: shards cannot be written ({error_reason(error)})"
        ) from error
    return open_index(output)


def _plan_shards(
    dataset: Dataset, photos_per_shard: int, splits: Sequence[str] | None
) -> list[_PlannedShard]:
    planned = []
    for split in splits or (*SPLITS, None):
        photos = [photo for photo in dataset.photos if photo.split == split]
        if splits and not photos:
            raise DatasetError(f"{dataset.root}: the split {split} has no photos")
        for number, first in enumerate(range(0, len(photos), photos_per_shard)):
            name = f"{split or 'none'}-{number:06d}.tar"
            shard_photos = photos[first : first + photos_per_shard]
            planned.append(_PlannedShard(name, split, first, shard_photos))
    return planned


def _content_hash(planned: Sequence[_PlannedShard]) -> str:
    """Return a hash of the shards' content; a photo's name and size stand for its bytes."""
    digest = hashlib.sha256()
    for shard in planned:
        digest.update(f"{INDEX_VERSION} {shard.name}\n".encode("ascii"))
        for photo in shard.photos:
            digest.update(json.dumps([photo.name, photo.captions, _size(photo)]).encode("ascii"))
    return digest.hexdigest()


def _check_content_hash(output: Path, content_hash: str) -> None:
    """Record the content hash, or compare it with the one of an interrupted call.

    Raises DatasetError if they differ, or if the folder contains other files.
    """
    hash_file = output / _WORK / _CONTENT_HASH_FILE
    if hash_file.exists():
        _check_same(output, content_hash, hash_file.read_text("ascii"))
        return
    if any(entry.name != _WORK for entry in output.iterdir()):
        raise DatasetError(f"{output}: not empty: choose another folder for the shards")
    with _open_partial(output, _CONTENT_HASH_FILE, output / _WORK) as file:
        file.write(content_hash.encode("ascii"))


def _size(photo: CaptionedPhoto) -> int:
    if isinstance(photo.path, ShardPhoto):
        return photo.path.size
    try:
        return photo.path.stat().st_size
    except OSError as error:
        raise _unreadable(photo, error) from error


def _check_same(output: Path, content_hash: str, existing_hash: str) -> None:
    if content_hash != existing_hash:
        raise DatasetError(
            f"{output}: contains shards of other photos or captions, or with another number of"
            " photos each: remove it, or choose another folder"
        )


def _write_missing(
    output: Path,
    planned: Sequence[_PlannedShard],
    workers: int | None,
    progress: _Progress | None,
) -> tuple[Shard, ...]:
    """Write the shards that are not complete, several at a time, and return all shards."""

    def write(shard: _PlannedShard) -> Shard:
        return _read_complete(output, shard) or _write_shard(output, shard)

    shards = []
    pool = ThreadPoolExecutor(workers or os.cpu_count() or 1)
    try:
        for shard in pool.map(write, planned):
            shards.append(shard)
            if progress:
                progress(shard.photos)
    finally:
        pool.shutdown(cancel_futures=True)
    return tuple(shards)


def _read_complete(output: Path, planned: _PlannedShard) -> Shard | None:
    """Return a shard that is complete on disk: its table, which is written last, exists."""
    try:
        table = (output / planned.table).read_bytes()
        description = json.loads(table.partition(b"\n")[0])
        if (output / planned.name).stat().st_size != description["bytes"]:
            return None
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None
    return Shard(**description, table_sha256=hashlib.sha256(table).hexdigest())


def _write_shard(output: Path, planned: _PlannedShard) -> Shard:
    with _open_partial(output, planned.name) as file:
        hashed = _HashedFile(file)
        # The simplest tar format; its headers contain no names of users and no times.
        with tarfile.open(
            fileobj=cast(BinaryIO, hashed), mode="w", format=tarfile.USTAR_FORMAT
        ) as tar:
            rows = [
                _add_photo(tar, number, photo)
                for number, photo in enumerate(planned.photos, planned.first)
            ]
    description: dict[str, Any] = {
        "name": planned.name,
        "split": planned.split,
        "photos": len(rows),
        "captions": sum(len(row["captions"]) for row in rows),
        "bytes": hashed.position,
        "sha256": hashed.digest.hexdigest(),
    }
    lines = [json.dumps(line) for line in (description, *rows)]
    table = "".join(f"{line}\n" for line in lines).encode("ascii")
    with _open_partial(output, planned.table) as file:
        file.write(table)
    return Shard(**description, table_sha256=hashlib.sha256(table).hexdigest())


def _add_photo(tar: tarfile.TarFile, number: int, photo: CaptionedPhoto) -> dict[str, Any]:
    """Add a photo and its JSON to a tar and return the photo's row in the table."""
    data = _read_photo(photo)
    key, digest = f"{number:09d}", hashlib.sha256(data).hexdigest()
    metadata = {
        "name": photo.name,
        "captions": photo.captions,
        "split": photo.split,
        "sha256": digest,
    }
    offset = _add_member(tar, f"{key}{_suffix(photo.name)}", data)
    _add_member(tar, f"{key}.json", json.dumps(metadata).encode("ascii"))
    return {
        "name": photo.name,
        "captions": photo.captions,
        "offset": offset,
        "size": len(data),
        "sha256": digest,
    }


def _read_photo(photo: CaptionedPhoto) -> bytes:
    try:
        return photo.path.read_bytes()
    except (OSError, PhotoError) as error:
        raise _unreadable(photo, error) from error


def _unreadable(photo: CaptionedPhoto, error: Exception) -> DatasetError:
    return DatasetError(
        f"{printable(str(photo.path))}: cannot be read"
        f" ({error_reason(error)}): repair it, or remove it from the dataset"
    )


def _suffix(name: str) -> str:
    """Return the suffix by which readers of WebDataset recognise a photo."""
    suffix = Path(name).suffix.lower()
    return suffix if suffix in SUFFIXES else UNKNOWN_SUFFIX


def _add_member(tar: tarfile.TarFile, name: str, data: bytes) -> int:
    """Add a file to a tar and return the offset of its bytes."""
    info = tarfile.TarInfo(name)
    info.size, info.mtime = len(data), _MTIME
    tar.addfile(info, io.BytesIO(data))
    padded = -(-len(data) // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE
    return tar.offset - padded


class _HashedFile:
    """A file written in order, with the sha256 of its content."""

    def __init__(self, file: BinaryIO) -> None:
        self.file, self.digest, self.position = file, hashlib.sha256(), 0

    def write(self, data: bytes) -> int:
        self.digest.update(data)
        self.position += len(data)
        return self.file.write(data)

    def tell(self) -> int:
        return self.position


@contextmanager
def _open_partial(output: Path, name: str, target: Path | None = None) -> Iterator[BinaryIO]:
    """Write a file atomically, through a temporary file in the working folder."""
    path = (target or output) / name
    with atomic_write(path, binary=True, temporary=output / _WORK / f"{name}.partial") as file:
        yield cast(BinaryIO, file)


def _raise_locked(output: Path) -> None:
    raise DatasetError(
        f"{output}: another process is writing shards there: wait for it to finish, or choose"
        " another folder"
    )
