"""Process any number of photos in order: opened ahead in threads, then worked on in batches."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from showtell.errors import PhotoError
from showtell.image import Photo, Preprocessing, load_pixels, name_of
from showtell.image_formats.decoding_memory import MAX_PIXELS

if TYPE_CHECKING:
    from concurrent.futures import Future

Item = TypeVar("Item")
Opened = TypeVar("Opened")
Result = TypeVar("Result")
Transform = Callable[[Image.Image], Image.Image]


@dataclass(frozen=True, slots=True)
class PreparedPhoto:
    """Photo number `index` of an input: `pixels` float32 [3, height, width], or an error."""

    index: int
    path: Path | None
    name: str
    pixels: NDArray[np.float32] | None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class PixelBatch:
    """Consecutive photos of an input: those that can be read, as one array, and the others.

    `pixels` is float32 [readable photos, 3, height, width], or None if no photo can be read.
    """

    readable: list[PreparedPhoto]
    unreadable: list[PreparedPhoto]
    pixels: NDArray[np.float32] | None

    @classmethod
    def of(cls, photos: Sequence[PreparedPhoto]) -> PixelBatch:
        """Return a batch of prepared photos."""
        readable = [photo for photo in photos if photo.pixels is not None]
        unreadable = [photo for photo in photos if photo.pixels is None]
        pixels = [photo.pixels for photo in readable if photo.pixels is not None]
        return cls(readable, unreadable, np.stack(pixels) if pixels else None)


def prepare_photo(
    index: int,
    photo: Photo,
    preprocessing: Preprocessing,
    *,
    max_pixels: int = MAX_PIXELS,
    transform: Transform | None = None,
) -> PreparedPhoto:
    """Open a photo and turn it into model input; a photo that cannot be read gets an error.

    `transform` changes the upright RGB image first.
    """
    path = Path(photo) if isinstance(photo, str | os.PathLike) else None
    name = name_of(photo)
    try:
        pixels = load_pixels(photo, preprocessing, max_pixels=max_pixels, transform=transform)
    except PhotoError as error:
        return PreparedPhoto(index, path, name, None, str(error))
    except MemoryError:
        return PreparedPhoto(index, path, name, None, f"{name}: not enough memory to prepare it")
    return PreparedPhoto(index, path, name, pixels)


def pixel_batches(
    photos: Iterable[Photo],
    preprocessing: Preprocessing,
    *,
    batch_size: int,
    threads: int = 2,
    transform: Transform | None = None,
) -> Iterator[PixelBatch]:
    """Yield model input for batches of `batch_size` photos, in order; the last may be smaller.

    `threads` open photos, up to three batches ahead. `transform` changes each image first.
    """
    return pipeline(
        photos,
        open_item=partial(prepare_photo, preprocessing=preprocessing, transform=transform),
        finish=lambda batch: [PixelBatch.of(batch)],
        batch_size=batch_size,
        threads=1,
        opening_threads=threads,
    )


def pipeline(
    items: Iterable[Item],
    *,
    open_item: Callable[[int, Item], Opened],
    finish: Callable[[list[Opened]], list[Result]],
    batch_size: int,
    threads: int,
    opening_threads: int | None = None,
) -> Iterator[Result]:
    """Yield the results of `finish` in the order of `items`, which may be endless.

    `open_item` gets the index of an item and the item; it runs on `opening_threads` threads, by
    default `threads` but at least two. `finish` gets batches of opened items and runs on `threads`
    threads, one core each, which uses the cores better than splitting each operation of one
    batch. At most `threads` + 2 batches are read ahead. Closing the iterator ends the threads. An
    error of `items` itself is raised after the results of all items before it.
    """
    # imported here: one photo needs no threads, and start-up time counts
    from concurrent.futures import ThreadPoolExecutor

    opening: deque[Future[Opened]] = deque()
    finishing: deque[Future[list[Result]]] = deque()
    error_of_items: Exception | None = None
    exhausted = False
    count = 0

    def finish_batch(batch: list[Future[Opened]]) -> list[Result]:
        return finish([item.result() for item in batch])

    iterator = iter(items)
    openers = ThreadPoolExecutor(opening_threads or max(2, threads), "showtell-open")
    finishers = ThreadPoolExecutor(threads, "showtell-finish")
    try:
        while True:
            while not exhausted and len(opening) < batch_size:
                try:
                    item = next(iterator)
                except StopIteration:
                    exhausted = True
                except Exception as error:
                    exhausted, error_of_items = True, error
                else:
                    opening.append(openers.submit(open_item, count, item))
                    count += 1
            if opening and len(finishing) <= threads:
                size = min(batch_size, len(opening))
                if exhausted and not finishing:  # few items in all: some for each thread
                    size = -(-size // threads)
                while opening:
                    batch = [opening.popleft() for _ in range(min(size, len(opening)))]
                    finishing.append(finishers.submit(finish_batch, batch))
            elif finishing:
                yield from finishing.popleft().result()
            else:
                break
    finally:
        for pool in (finishers, openers):
            pool.shutdown(wait=False, cancel_futures=True)
        for pool in (finishers, openers):
            pool.shutdown(wait=True)
    if error_of_items is not None:
        raise error_of_items
