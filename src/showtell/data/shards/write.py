"""Write a dataset as shards: in parallel, to be gone on with after a kill, always the same bytes.

While it is being written a folder holds `.writing/`: what the shards are made of, and those that
are not whole yet. A shard that has its name and its table is whole and stays. The index comes last.
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
from showtell.data.shards.address import INDEX
from showtell.data.shards.index import (
    OTHER_SUFFIX,
    VERSION,
    Shard,
    ShardIndex,
    ShardPhoto,
    index_json,
    open_index,
)
from showtell.errors import DatasetError, PhotoError
from showtell.files.atomic_write import atomic_write
from showtell.files.locks import only_process
from showtell.files.os_errors import error_reason
from showtell.files.photo_files import SUFFIXES
from showtell.files.printable_names import printable

WORK = ".writing"
PHOTOS_PER_SHARD = 1000
_PLAN = "plan.json"
_MTIME = 946_684_800  # 2000-01-01: tar warns of the year 1970


@dataclass(frozen=True)
class _Planned:
    """One shard to be written."""

    name: str
    split: str | None
    first: int  # the number of its first photo in the split's list
    photos: Sequence[CaptionedPhoto]


def write_shards(
    dataset: Dataset,
    output: Path,
    *,
    photos_per_shard: int = PHOTOS_PER_SHARD,
    splits: Sequence[str] | None = None,
    workers: int | None = None,
    progress: Callable[[int], object] | None = None,
) -> ShardIndex:
    """Write the photos of a dataset into shards in the folder `output`; returns the index.

    Each split has shards of its own, in the order of its list; photos of no split come last, or
    only the `splits` asked for are written. `workers` threads (one a core) write one shard each.
    `progress` is told how many photos a finished shard has. What was broken off is gone on with;
    a folder that has these shards already is left as it is.

    Raises DatasetError where `output` holds anything else, a photo cannot be read, or the disk is
    full.
    """
    if photos_per_shard < 1:
        raise DatasetError(f"photos_per_shard={photos_per_shard}: a shard holds at least one photo")
    planned = _planned(dataset, photos_per_shard, splits)
    made_of = _made_of(planned)
    output = Path(output)
    try:
        output.mkdir(parents=True, exist_ok=True)
        if (output / INDEX).exists():
            _check_same(output, made_of, open_index(output).made_of)
        else:
            with only_process(output / WORK / "lock", lambda: _refuse(output)):
                _begin(output, made_of)
                shards = _write_all(output, planned, workers, progress)
                text = index_json(dataset.layout, made_of, shards)
                with _whole(output, INDEX) as file:
                    file.write(text.encode("ascii"))
        shutil.rmtree(output / WORK, ignore_errors=True)
    except OSError as error:
        raise DatasetError(
            f"{error.filename or output}: shards cannot be written ({error_reason(error)})"
        ) from error
    return open_index(output)


def _planned(
    dataset: Dataset, photos_per_shard: int, splits: Sequence[str] | None
) -> list[_Planned]:
    planned = []
    for split in splits or (*SPLITS, None):
        photos = [photo for photo in dataset.photos if photo.split == split]
        if splits and not photos:
            raise DatasetError(f"{dataset.root}: no photo of the split {split}")
        for number, first in enumerate(range(0, len(photos), photos_per_shard)):
            own = photos[first : first + photos_per_shard]
            planned.append(_Planned(f"{split or 'none'}-{number:06d}.tar", split, first, own))
    return planned


def _made_of(planned: Sequence[_Planned]) -> str:
    """Return a hash of what the shards are made of; of photos name and size stand for the bytes."""
    digest = hashlib.sha256()
    for shard in planned:
        digest.update(f"{VERSION} {shard.name}\n".encode("ascii"))
        for photo in shard.photos:
            what = [photo.name, photo.captions, _size(photo)]
            digest.update(json.dumps(what).encode("ascii"))
    return digest.hexdigest()


def _begin(output: Path, made_of: str) -> None:
    """Note what is written, or find that it is what was begun here."""
    plan = output / WORK / _PLAN
    if plan.exists():
        _check_same(output, made_of, plan.read_text("ascii"))
        return
    if any(entry.name != WORK for entry in output.iterdir()):
        raise DatasetError(f"{output}: not empty: choose another folder for the shards")
    with _whole(output, _PLAN, output / WORK) as file:
        file.write(made_of.encode("ascii"))


def _size(photo: CaptionedPhoto) -> int:
    if isinstance(photo.path, ShardPhoto):
        return photo.path.size
    try:
        return photo.path.stat().st_size
    except OSError as error:
        raise _unreadable(photo, error) from error


def _check_same(output: Path, made_of: str, here: str) -> None:
    if made_of != here:
        raise DatasetError(
            f"{output}: holds shards of other photos or captions, or of another number of photos"
            " each: remove it, or choose another folder"
        )


def _write_all(
    output: Path,
    planned: Sequence[_Planned],
    workers: int | None,
    progress: Callable[[int], object] | None,
) -> tuple[Shard, ...]:
    """Write the shards that are not there, several at a time."""

    def write(shard: _Planned) -> Shard:
        return _finished(output, shard) or _write(output, shard)

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


def _finished(output: Path, planned: _Planned) -> Shard | None:
    """Return a shard that is whole on disk: its table, which comes last, is there."""
    table = output / f"{Path(planned.name).stem}.jsonl"
    try:
        data = table.read_bytes()
        kept = json.loads(data.partition(b"\n")[0])
        if (output / planned.name).stat().st_size != kept["bytes"]:
            return None
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None
    return Shard(**kept, table_sha256=hashlib.sha256(data).hexdigest())


def _write(output: Path, planned: _Planned) -> Shard:
    rows, captions = [], 0
    with _whole(output, planned.name) as file:
        hashed = _Hashed(file)
        # The plainest of tar's formats, and its headers say nothing of when and by whom.
        with tarfile.open(
            fileobj=cast(BinaryIO, hashed), mode="w", format=tarfile.USTAR_FORMAT
        ) as tar:
            for number, photo in enumerate(planned.photos, planned.first):
                data = _read(photo)
                key, digest = f"{number:09d}", hashlib.sha256(data).hexdigest()
                about = {
                    "name": photo.name,
                    "captions": photo.captions,
                    "split": photo.split,
                    "sha256": digest,
                }
                start = _add(tar, f"{key}{_suffix(photo.name)}", data)
                _add(tar, f"{key}.json", json.dumps(about).encode("ascii"))
                row = {
                    "name": photo.name,
                    "captions": photo.captions,
                    "offset": start,
                    "size": len(data),
                    "sha256": digest,
                }
                rows.append(json.dumps(row))
                captions += len(photo.captions)
    about_shard: dict[str, Any] = {
        "name": planned.name,
        "split": planned.split,
        "photos": len(rows),
        "captions": captions,
        "bytes": hashed.place,
        "sha256": hashed.digest.hexdigest(),
    }
    table = "".join(f"{line}\n" for line in [json.dumps(about_shard), *rows]).encode("ascii")
    with _whole(output, f"{Path(planned.name).stem}.jsonl") as file:
        file.write(table)
    return Shard(**about_shard, table_sha256=hashlib.sha256(table).hexdigest())


def _read(photo: CaptionedPhoto) -> bytes:
    try:
        return photo.path.read_bytes()
    except (OSError, PhotoError) as error:
        raise _unreadable(photo, error) from error


def _unreadable(photo: CaptionedPhoto, error: Exception) -> DatasetError:
    return DatasetError(
        f"{printable(str(photo.path))}: cannot be read"
        f" ({error_reason(error)}): repair it, or take it out of the dataset"
    )


def _suffix(name: str) -> str:
    """Return the end of a photo's name by which readers of WebDataset tell what it is."""
    suffix = Path(name).suffix.lower()
    return suffix if suffix in SUFFIXES else OTHER_SUFFIX


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> int:
    """Add a file to a tar and return where its bytes begin."""
    info = tarfile.TarInfo(name)
    info.size, info.mtime = len(data), _MTIME
    tar.addfile(info, io.BytesIO(data))
    padded = -(-len(data) // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE
    return tar.offset - padded


class _Hashed:
    """A file that is written front to back, with its sha256."""

    def __init__(self, file: BinaryIO) -> None:
        self.file, self.digest, self.place = file, hashlib.sha256(), 0

    def write(self, data: bytes) -> int:
        self.digest.update(data)
        self.place += len(data)
        return self.file.write(data)

    def tell(self) -> int:
        return self.place


@contextmanager
def _whole(output: Path, name: str, target: Path | None = None) -> Iterator[BinaryIO]:
    """Write a file atomically, through a temporary file in the working folder."""
    path = (target or output) / name
    with atomic_write(path, binary=True, temporary=output / WORK / f"{name}.partial") as file:
        yield cast(BinaryIO, file)


def _refuse(output: Path) -> None:
    raise DatasetError(f"{output}: another process is writing shards there")
