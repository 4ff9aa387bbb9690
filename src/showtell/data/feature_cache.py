"""A frozen encoder's features, computed once and kept on disk as float16 memory maps.

The cache's name is a hash of everything that its numbers depend on: encoder, weights,
preprocessing, view, and each photo's name, size and time of change. So a stale cache is never
found, and an interrupted extraction goes on where it was.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from showtell.data.dataset import CaptionedPhoto
from showtell.data.shard_photo import ShardPhoto
from showtell.errors import DatasetError, PhotoError
from showtell.files.atomic_write import atomic_write_text, move_into_place
from showtell.files.locks import only_process
from showtell.files.os_errors import error_reason
from showtell.image import Preprocessing, open_photo
from showtell.pipeline import pixel_batches

logger = logging.getLogger(__name__)

VIEWS = ("plain", "flip")
MARK = "progress.json"
STILL = 900.0  # seconds without a new mark, after which another process is taken for stuck
SAVE_EVERY = 512  # photos between two marks from which an interrupted extraction goes on

Encode = Callable[[NDArray[np.float32]], dict[str, NDArray[np.float32]]]


@dataclass(frozen=True)
class FeatureArrays:
    """Cached features of one view: `arrays` by name, float16 [photos, ...], and `bad` photos.

    `bad` maps the row of each photo that could not be read to what was wrong; its rows are zero.
    """

    arrays: dict[str, NDArray[np.float16]]
    bad: dict[int, str]

    def rows(self, index: Sequence[int] | NDArray[np.int64]) -> dict[str, NDArray[np.float16]]:
        """Return the features of some photos, copied from disk, in the order of `index`."""
        return {name: np.asarray(array[index]) for name, array in self.arrays.items()}


def apply_view(image: Image.Image, view: str) -> Image.Image:
    """Return a view of a photo: as it is (`plain`), or mirrored (`flip`)."""
    return ImageOps.mirror(image) if view == "flip" else image


def cache_key(
    photos: Sequence[CaptionedPhoto],
    encoder: str,
    preprocessing: Preprocessing,
    view: str,
    names: Sequence[str],
) -> str:
    """Return the cache's name: a hash of all that the features depend on."""
    digest = hashlib.sha256()
    settings = [2, encoder, preprocessing.to_dict(), view, list(names)]
    digest.update(json.dumps(settings, sort_keys=True).encode())
    for photo in photos:
        if isinstance(photo.path, ShardPhoto):
            digest.update(f"{photo.name}\0{photo.path.sha256}\n".encode("utf-8", "surrogateescape"))
            continue
        try:
            stat = photo.path.stat()
            mark = f"{photo.name}\0{stat.st_size}\0{stat.st_mtime_ns}\n"
        except OSError:
            mark = f"{photo.name}\0gone\n"
        digest.update(mark.encode("utf-8", "surrogateescape"))
    return digest.hexdigest()[:32]


def extract_features(
    photos: Sequence[CaptionedPhoto],
    encode: Encode,
    encoder: str,
    shapes: dict[str, tuple[int, ...]],
    preprocessing: Preprocessing,
    cache: Path,
    *,
    view: str = "plain",
    batch_size: int = 32,
    threads: int = 2,
    progress: Callable[[int], None] | None = None,
) -> FeatureArrays:
    """Return the features of `photos`, from the cache folder where they are, else computed.

    `encode` takes pixels [batch, 3, H, W] to arrays by name, `encoder` is its fingerprint, and
    `shapes` gives the shape of each array that is kept, for one photo; `threads` read photos.
    `progress` is told how many photos are done, also by another process that is waited for. Photos
    that cannot be read are named in the result's `bad`.

    Raises DatasetError where the cache cannot be written, or that other process does not move.
    """
    key = cache_key(photos, encoder, preprocessing, view, sorted(shapes))
    folder = cache / key
    complete = folder / "complete.json"
    work = _Work(folder, photos, encode, shapes, preprocessing, view, batch_size, threads)
    waiting = _Waiting(folder, len(photos), progress)
    try:
        with only_process(folder / "lock", waiting.begin, waiting.go_on):
            if not complete.is_file():
                work.fill(progress)
            elif json.loads(complete.read_text("utf-8"))["bad"]:
                work.try_again(complete)
        bad = json.loads(complete.read_text("utf-8"))["bad"]
        arrays = {name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in shapes}
    except OSError as error:
        raise DatasetError(
            f"{folder}: the feature cache cannot be written or read ({error_reason(error)}):"
            " free some space or choose another folder with feature_cache=DIR"
        ) from error
    except (ValueError, EOFError, KeyError) as error:
        raise DatasetError(f"{folder}: the feature cache is damaged: remove the folder") from error
    return FeatureArrays(arrays, {int(row): reason for row, reason in bad.items()})


def find_unreadable(
    photos: Sequence[CaptionedPhoto], preprocessing: Preprocessing, threads: int = 2
) -> dict[int, str]:
    """Return the row of each photo that cannot be read, with what was wrong."""
    with ThreadPoolExecutor(threads) as pool:
        found = pool.map(lambda photo: _open(photo, preprocessing), photos)
        return {row: image for row, image in enumerate(found) if isinstance(image, str)}


def _open(photo: CaptionedPhoto, preprocessing: Preprocessing) -> Image.Image | str:
    try:
        return open_photo(photo.path, preprocessing=preprocessing)
    except PhotoError as error:
        return str(error)


@dataclass
class _Waiting:
    """The wait for another process that fills the same cache: another rank, or another run."""

    folder: Path
    photos: int
    progress: Callable[[int], None] | None

    def begin(self) -> None:
        """Say that there is another process."""
        self.done, self.moved = 0, time.monotonic()
        self.said = self.moved
        logger.info("waiting for another process that computes the same features")

    def go_on(self) -> None:
        """Say now and then how far the other is; raise DatasetError where it stands still."""
        now = time.monotonic()
        try:
            done = int(json.loads((self.folder / MARK).read_text("utf-8"))["done"])
        except (OSError, ValueError, KeyError):  # not one mark yet, or it is being written
            done = self.done
        if done != self.done:
            self.done, self.moved = done, now
        if self.progress:
            self.progress(self.done)
        if now - self.moved > STILL:
            raise DatasetError(
                f"{self.folder}: another process that computes the same features has not moved for"
                f" {STILL / 60:.0f} minutes: end it, or choose another folder with"
                " feature_cache=DIR"
            )
        if now - self.said > 60:
            self.said = now
            logger.info("still waiting: it has done %d of %d photos", self.done, self.photos)


@dataclass(frozen=True)
class _Work:
    """One cache to be filled."""

    folder: Path
    photos: Sequence[CaptionedPhoto]
    encode: Encode
    shapes: dict[str, tuple[int, ...]]
    preprocessing: Preprocessing
    view: str
    batch_size: int
    threads: int

    def fill(self, progress: Callable[[int], None] | None) -> None:
        """Compute the features of all photos, from the last mark on."""
        mark = self.folder / MARK
        state: dict[str, Any] = {"done": 0, "bad": {}}
        files = {name: self.folder / f"{name}.npy" for name in self.shapes}
        if mark.is_file() and all(file.is_file() for file in files.values()):
            state = json.loads(mark.read_text("utf-8"))
            arrays = {name: np.load(file, mmap_mode="r+") for name, file in files.items()}
        else:
            arrays = {
                name: _make_array(file, (len(self.photos), *self.shapes[name]))
                for name, file in files.items()
            }
        started, first = time.perf_counter(), int(state["done"])
        saved = first
        for rows, bad in self._compute(range(first, len(self.photos)), arrays):
            state["bad"].update({str(row): reason for row, reason in bad.items()})
            state["done"] = rows[-1] + 1
            if progress:
                progress(state["done"])
            if state["done"] - saved >= SAVE_EVERY:
                _save(mark, state, arrays)
                saved = state["done"]
        _save(mark, state, arrays)
        done = len(self.photos) - first
        seconds = time.perf_counter() - started
        logger.info("features of %d photos (%s) in %.0f s", done, self.view, seconds)
        move_into_place(mark, self.folder / "complete.json")

    def try_again(self, complete: Path) -> None:
        """Read photos that could not be read once more: what they lacked may be there now."""
        state = json.loads(complete.read_text("utf-8"))
        rows = sorted(int(row) for row in state["bad"])
        arrays = {
            name: np.load(self.folder / f"{name}.npy", mmap_mode="r+") for name in self.shapes
        }
        still = {r: why for _, bad in self._compute(rows, arrays) for r, why in bad.items()}
        if len(still) < len(rows):
            state["bad"] = {str(row): reason for row, reason in still.items()}
            _save(complete, state, arrays)

    def _compute(
        self, todo: Sequence[int], arrays: dict[str, Any]
    ) -> Iterator[tuple[Sequence[int], dict[int, str]]]:
        """Compute rows of the arrays; yields the rows of each batch and those that are bad."""
        batches = pixel_batches(
            (self.photos[row].path for row in todo),
            self.preprocessing,
            batch_size=self.batch_size,
            threads=self.threads,
            transform=partial(apply_view, view=self.view),
        )
        for start, batch in zip(range(0, len(todo), self.batch_size), batches, strict=True):
            if batch.pixels is not None:
                rows = [todo[photo.index] for photo in batch.readable]
                for name, values in self.encode(batch.pixels).items():
                    if name in arrays:
                        arrays[name][rows] = values
            bad = {todo[photo.index]: str(photo.error) for photo in batch.unreadable}
            yield todo[start : start + self.batch_size], bad


def _make_array(file: Path, shape: tuple[int, ...]) -> NDArray[np.float16]:
    """Make a memory map of zeros that has its room on the disk.

    A map without would kill the process, with no word, at the first page that finds the disk full.
    """
    try:
        array = np.lib.format.open_memmap(file, mode="w+", dtype=np.float16, shape=shape)
        if hasattr(os, "posix_fallocate"):
            with file.open("r+b") as opened:
                os.posix_fallocate(opened.fileno(), 0, file.stat().st_size)
    except OSError:
        file.unlink(missing_ok=True)
        raise
    return array


def _save(mark: Path, state: dict[str, Any], arrays: dict[str, Any]) -> None:
    for array in arrays.values():
        array.flush()
    atomic_write_text(mark, json.dumps(state))
