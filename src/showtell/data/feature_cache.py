"""A cache of a frozen encoder's features on disk, as float16 memory maps.

The name of a cache folder is a hash of everything that the features depend on: encoder, weights,
preprocessing, view, and each photo's name, size and modification time or, in a shard, its sha256.
So a changed input has another folder, and an interrupted extraction resumes.
"""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

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
PROGRESS_FILE = "progress.json"
STUCK_AFTER = 900.0  # seconds without progress after which another process counts as stuck
SAVE_EVERY = 512  # photos between two saves; an interrupted extraction resumes at the last save
_NO_SPACE = (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC))
_REPORT_EVERY = 60.0  # seconds between two log messages while waiting

Encode = Callable[[NDArray[np.float32]], dict[str, NDArray[np.float32]]]


@dataclass(frozen=True)
class FeatureArrays:
    """Cached features of one view: `arrays` by name, float16 [photos, ...].

    `bad` maps the row of each photo that cannot be read to the reason; these rows are zero.
    """

    arrays: dict[str, NDArray[np.float16]]
    bad: dict[int, str]

    def rows(self, index: Sequence[int] | NDArray[np.int64]) -> dict[str, NDArray[np.float16]]:
        """Return the features of the photos in rows `index`, copied from disk, in that order."""
        return {name: np.asarray(array[index]) for name, array in self.arrays.items()}


def apply_view(image: Image.Image, view: str) -> Image.Image:
    """Return a view of a photo: unchanged (`plain`) or mirrored (`flip`)."""
    return ImageOps.mirror(image) if view == "flip" else image


def cache_key(
    photos: Sequence[CaptionedPhoto],
    encoder: str,
    preprocessing: Preprocessing,
    view: str,
    names: Sequence[str],
) -> str:
    """Return the name of the cache folder: a hash of everything that the features depend on."""
    digest = hashlib.sha256()
    settings = [2, encoder, preprocessing.to_dict(), view, list(names)]
    digest.update(json.dumps(settings, sort_keys=True).encode())
    for photo in photos:
        if isinstance(photo.path, ShardPhoto):
            digest.update(f"{photo.name}\0{photo.path.sha256}\n".encode("utf-8", "surrogateescape"))
            continue
        try:
            stat = photo.path.stat()
            state = f"{photo.name}\0{stat.st_size}\0{stat.st_mtime_ns}\n"
        except OSError:
            state = f"{photo.name}\0gone\n"
        digest.update(state.encode("utf-8", "surrogateescape"))
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
    """Return the features of photos from the folder `cache`, or compute and save them.

    `encode` turns pixels [batch, 3, height, width] into arrays by name; `encoder` is its
    fingerprint. `shapes` contains, for each array to save, its shape for one photo. `threads`
    threads read photos. `progress` is called with the number of photos that are done, also if
    another process computes them. Photos that cannot be read are in the result's `bad`.

    Raises DatasetError if the cache cannot be written or is damaged, or if another process that
    computes the same features is stuck.
    """
    key = cache_key(photos, encoder, preprocessing, view, sorted(shapes))
    folder = cache / key
    complete = folder / "complete.json"
    extraction = _Extraction(
        folder, photos, encode, shapes, preprocessing, view, batch_size, threads
    )
    waiting = _Waiting(folder, len(photos), progress)
    try:
        with only_process(folder / "lock", waiting.start, waiting.poll):
            if not complete.is_file():
                extraction.run(progress)
            elif _read_state(complete)["bad"]:
                extraction.retry_bad(complete)
        bad = _read_state(complete)["bad"]
        arrays = _open_arrays(folder, shapes, "r")
    except OSError as error:
        way_out = "free some space or " if error.errno in _NO_SPACE else ""
        raise DatasetError(
            f"{folder}: the feature cache cannot be written or read ({error_reason(error)}):"
            f" {way_out}choose another folder with feature_cache=DIR"
        ) from error
    except (ValueError, EOFError, KeyError) as error:
        raise DatasetError(f"{folder}: the feature cache is damaged: remove the folder") from error
    return FeatureArrays(arrays, {int(row): reason for row, reason in bad.items()})


def find_unreadable(
    photos: Sequence[CaptionedPhoto], preprocessing: Preprocessing, threads: int = 2
) -> dict[int, str]:
    """Return the row of each photo that cannot be read, with the reason."""

    def fault_of(photo: CaptionedPhoto) -> str | None:
        try:
            open_photo(photo.path, preprocessing=preprocessing)
        except PhotoError as error:
            return str(error)
        return None

    with ThreadPoolExecutor(threads) as pool:
        faults = enumerate(pool.map(fault_of, photos))
        return {row: fault for row, fault in faults if fault is not None}


@dataclass
class _Waiting:
    """Waits for another process, of another rank or run, that computes the same features."""

    folder: Path
    photos: int
    progress: Callable[[int], None] | None

    def start(self) -> None:
        """Log that another process holds the lock."""
        self.done, self.last_progress = 0, time.monotonic()
        self.last_report = self.last_progress
        logger.info("waiting for another process that computes the same features")

    def poll(self) -> None:
        """Report the other process's progress; raise DatasetError if it is stuck."""
        now = time.monotonic()
        try:
            done = int(_read_state(self.folder / PROGRESS_FILE)["done"])
        except (OSError, ValueError, KeyError):  # the file does not exist yet
            done = self.done
        if done != self.done:
            self.done, self.last_progress = done, now
        if self.progress:
            self.progress(self.done)
        if now - self.last_progress > STUCK_AFTER:
            raise DatasetError(
                f"{self.folder}: another process that computes the same features has made no"
                f" progress for {STUCK_AFTER / 60:.0f} minutes: end it, or choose another folder"
                " with feature_cache=DIR"
            )
        if now - self.last_report > _REPORT_EVERY:
            self.last_report = now
            logger.info("still waiting: %d of %d photos are done", self.done, self.photos)


@dataclass(frozen=True)
class _Extraction:
    """The computation of one cache folder's features."""

    folder: Path
    photos: Sequence[CaptionedPhoto]
    encode: Encode
    shapes: dict[str, tuple[int, ...]]
    preprocessing: Preprocessing
    view: str
    batch_size: int
    threads: int

    def run(self, progress: Callable[[int], None] | None) -> None:
        """Compute the features of all photos, or of those after the last save."""
        progress_file = self.folder / PROGRESS_FILE
        state, arrays = self._resume_or_begin(progress_file)
        start, first = time.perf_counter(), int(state["done"])
        saved = first
        for rows, bad in self._compute(range(first, len(self.photos)), arrays):
            state["bad"].update({str(row): reason for row, reason in bad.items()})
            state["done"] = rows[-1] + 1
            if progress:
                progress(state["done"])
            if state["done"] - saved >= SAVE_EVERY:
                _save(progress_file, state, arrays)
                saved = state["done"]
        _save(progress_file, state, arrays)
        done = len(self.photos) - first
        seconds = time.perf_counter() - start
        logger.info("features of %d photos (%s) in %.0f s", done, self.view, seconds)
        move_into_place(progress_file, self.folder / "complete.json")

    def _resume_or_begin(self, progress_file: Path) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return the state and arrays of an interrupted extraction, or new ones."""
        files = {name: self.folder / f"{name}.npy" for name in self.shapes}
        if progress_file.is_file() and all(file.is_file() for file in files.values()):
            return _read_state(progress_file), _open_arrays(self.folder, self.shapes, "r+")
        return {"done": 0, "bad": {}}, {
            name: _make_array(file, (len(self.photos), *self.shapes[name]))
            for name, file in files.items()
        }

    def retry_bad(self, complete: Path) -> None:
        """Try again to read photos that could not be read: a missing decoder may be installed."""
        state = _read_state(complete)
        rows = sorted(int(row) for row in state["bad"])
        arrays = _open_arrays(self.folder, self.shapes, "r+")
        batches = self._compute(rows, arrays)
        still_bad = {row: reason for _, bad in batches for row, reason in bad.items()}
        if len(still_bad) < len(rows):
            state["bad"] = {str(row): reason for row, reason in still_bad.items()}
            _save(complete, state, arrays)

    def _compute(
        self, todo: Sequence[int], arrays: dict[str, Any]
    ) -> Iterator[tuple[Sequence[int], dict[int, str]]]:
        """Compute these rows of the arrays; yield each batch's rows and its bad photos."""
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
    """Create a memory map of zeros with its disk space allocated.

    Without the allocation, a full disk would kill the process by SIGBUS.
    """
    try:
        array = np.lib.format.open_memmap(file, mode="w+", dtype=np.float16, shape=shape)
        if hasattr(os, "posix_fallocate"):
            with file.open("r+b") as handle:
                os.posix_fallocate(handle.fileno(), 0, file.stat().st_size)
    except OSError:
        file.unlink(missing_ok=True)
        raise
    return array


def _open_arrays(
    folder: Path, names: Iterable[str], mode: Literal["r", "r+"]
) -> dict[str, NDArray[np.float16]]:
    return {name: np.load(folder / f"{name}.npy", mmap_mode=mode) for name in names}


def _read_state(file: Path) -> dict[str, Any]:
    """Return the number of `done` photos and the reasons of `bad` ones."""
    state: dict[str, Any] = json.loads(file.read_text("utf-8"))
    return state


def _save(file: Path, state: dict[str, Any], arrays: dict[str, Any]) -> None:
    for array in arrays.values():
        array.flush()
    atomic_write_text(file, json.dumps(state))
