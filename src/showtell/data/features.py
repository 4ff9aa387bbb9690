"""A frozen encoder's features, computed once and kept on disk as float16 memory maps.

The cache's name is a hash of everything that its numbers depend on: encoder, weights,
preprocessing, view, and each photo's name, size and time of change. So a stale cache is never
found, and an interrupted extraction goes on where it was.
"""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from showtell.data.table import CaptionedPhoto
from showtell.errors import DatasetError, PhotoError
from showtell.image import Preprocessing, open_photo, prepare

logger = logging.getLogger(__name__)

VIEWS = ("plain", "flip")
SAVE_EVERY = 512  # photos between two marks from which an interrupted extraction goes on

Encode = Callable[[NDArray[np.float32]], dict[str, NDArray[np.float32]]]


@dataclass(frozen=True)
class Features:
    """Cached features of one view: `arrays` by name, float16 [photos, ...], and `bad` photos.

    `bad` maps the row of each photo that could not be read to what was wrong; its rows are zero.
    """

    arrays: dict[str, NDArray[np.float16]]
    bad: dict[int, str]

    def rows(self, index: Sequence[int] | NDArray[np.int64]) -> dict[str, NDArray[np.float16]]:
        """Return the features of some photos, copied from disk, in the order of `index`."""
        return {name: np.asarray(array[index]) for name, array in self.arrays.items()}


def see(image: Image.Image, view: str) -> Image.Image:
    """Return a view of a photo: as it is (`plain`), or mirrored (`flip`)."""
    return ImageOps.mirror(image) if view == "flip" else image


def cache_key(
    photos: Sequence[CaptionedPhoto], encoder: str, preprocessing: Preprocessing, view: str,
    names: Sequence[str],
) -> str:  # fmt: skip
    """Return the cache's name: a hash of all that the features depend on."""
    digest = hashlib.sha256()
    settings = [2, encoder, preprocessing.to_dict(), view, list(names)]
    digest.update(json.dumps(settings, sort_keys=True).encode())
    for photo in photos:
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
    progress: Callable[[int], None] | None = None,
) -> Features:
    """Return the features of `photos`, from the cache folder where they are, else computed.

    `encode` takes pixels [batch, 3, H, W] to arrays by name, `encoder` is its fingerprint, and
    `shapes` gives the shape of each array that is kept, for one photo. `progress` is told how
    many photos are done. Photos that cannot be read are named in the result's `bad`.

    Raises DatasetError where the cache cannot be written.
    """
    key = cache_key(photos, encoder, preprocessing, view, sorted(shapes))
    folder = cache / key
    try:
        if not (folder / "complete.json").is_file():
            _fill(folder, photos, encode, shapes, preprocessing, view, batch_size, progress)
        bad = json.loads((folder / "complete.json").read_text("utf-8"))["bad"]
        arrays = {name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in shapes}
    except OSError as error:
        raise DatasetError(
            f"{folder}: the feature cache cannot be written or read ({error.strerror or error}):"
            " free some space or choose another folder with feature_cache=DIR"
        ) from error
    return Features(arrays, {int(row): reason for row, reason in bad.items()})


def _fill(
    folder: Path, photos: Sequence[CaptionedPhoto], encode: Encode,
    shapes: dict[str, tuple[int, ...]], preprocessing: Preprocessing, view: str, batch_size: int,
    progress: Callable[[int], None] | None,
) -> None:  # fmt: skip
    """Compute the features into `folder`, from the last mark on."""
    folder.mkdir(parents=True, exist_ok=True)
    mark = folder / "progress.json"
    state: dict[str, Any] = {"done": 0, "bad": {}}
    files = {name: folder / f"{name}.npy" for name in shapes}
    if mark.is_file() and all(file.is_file() for file in files.values()):
        state = json.loads(mark.read_text("utf-8"))
        arrays = {name: np.load(file, mmap_mode="r+") for name, file in files.items()}
    else:
        arrays = {
            name: np.lib.format.open_memmap(
                file, mode="w+", dtype=np.float16, shape=(len(photos), *shapes[name])
            )
            for name, file in files.items()
        }
    started, first = time.perf_counter(), int(state["done"])
    saved = first
    for rows, pixels, bad in _pixels(photos, first, preprocessing, view, batch_size):
        if len(pixels):
            kept = [row for row in rows if row not in bad]
            for name, values in encode(pixels).items():
                if name in arrays:
                    arrays[name][kept] = values
        state["bad"].update({str(row): reason for row, reason in bad.items()})
        state["done"] = rows[-1] + 1
        if progress:
            progress(state["done"])
        if state["done"] - saved >= SAVE_EVERY:
            _save(mark, state, arrays)
            saved = state["done"]
    _save(mark, state, arrays)
    done = len(photos) - first
    seconds = time.perf_counter() - started
    logger.info("features of %d photos (%s) in %.0f s", done, view, seconds)
    mark.replace(folder / "complete.json")


def _save(mark: Path, state: dict[str, Any], arrays: dict[str, Any]) -> None:
    for array in arrays.values():
        array.flush()
    temporary = mark.with_suffix(".tmp")
    temporary.write_text(json.dumps(state), "utf-8")
    temporary.replace(mark)


def _pixels(
    photos: Sequence[CaptionedPhoto], first: int, preprocessing: Preprocessing, view: str,
    batch_size: int,
) -> Iterator[tuple[range, NDArray[np.float32], dict[int, str]]]:  # fmt: skip
    """Yield batches of rows, pixels of the readable photos, and what was wrong with the others."""

    def read(row: int) -> NDArray[np.float32] | str:
        try:
            image = open_photo(photos[row].path, preprocessing=preprocessing)
        except PhotoError as error:
            return str(error)
        return prepare(see(image, view), preprocessing)

    batches = [
        range(start, min(start + batch_size, len(photos)))
        for start in range(first, len(photos), batch_size)
    ]
    with ThreadPoolExecutor(2) as pool:
        ahead = pool.map(read, batches[0]) if batches else iter(())
        for number, rows in enumerate(batches):
            results = list(ahead)
            if number + 1 < len(batches):
                ahead = pool.map(read, batches[number + 1])
            bad = {row: r for row, r in zip(rows, results, strict=True) if isinstance(r, str)}
            good = [result for result in results if not isinstance(result, str)]
            yield rows, np.stack(good) if good else np.empty((0,), np.float32), bad
