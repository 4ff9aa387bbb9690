from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from showtell.image import Preprocessing
from showtell.pipeline import pipeline, pixel_batches


def named_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if "showtell-" in thread.name]


@settings(max_examples=40)
@given(st.integers(0, 60), st.integers(1, 9), st.integers(1, 4))
def test_items_are_processed_once_and_in_order(count: int, batch_size: int, threads: int) -> None:
    sizes: list[int] = []

    def finish(batch: list[tuple[int, int]]) -> list[tuple[int, int]]:
        sizes.append(len(batch))
        time.sleep(0.001 * (len(sizes) % 3))  # batches end out of order
        return batch

    found = pipeline(
        range(100, 100 + count),
        open_item=lambda place, item: (place, item),
        finish=finish,
        batch_size=batch_size,
        threads=threads,
    )
    assert list(found) == [(place, 100 + place) for place in range(count)]
    assert sum(sizes) == count
    assert max(sizes, default=0) <= batch_size
    assert not named_threads()


def test_few_items_are_divided_among_the_threads() -> None:
    sizes: list[int] = []
    list(
        pipeline(
            range(6),
            open_item=lambda place, item: item,
            finish=lambda batch: (sizes.append(len(batch)), batch)[1],
            batch_size=16,
            threads=3,
        )
    )
    assert sizes == [2, 2, 2]


@pytest.mark.parametrize("threads", [1, 3])
def test_reading_ahead_is_bounded(threads: int) -> None:
    taken = 0

    def endless() -> Iterator[int]:
        nonlocal taken
        while True:
            taken += 1
            yield taken

    found = pipeline(
        endless(), open_item=lambda place, item: item, finish=list, batch_size=5, threads=threads
    )
    for done in range(1, 200):
        next(found)
        assert taken <= done + (threads + 2) * 5
    found.close()  # type: ignore[attr-defined]
    assert not named_threads()


@pytest.mark.parametrize("broken", ["open", "finish"])
def test_unexpected_error_reaches_the_caller_and_ends_the_threads(broken: str) -> None:
    def fail(*_: object) -> list[int]:
        raise ZeroDivisionError

    found = pipeline(
        range(100),
        open_item=fail if broken == "open" else lambda place, item: item,
        finish=fail if broken == "finish" else list,  # type: ignore[arg-type]
        batch_size=4,
        threads=2,
    )
    with pytest.raises(ZeroDivisionError):
        list(found)
    assert not named_threads()


def test_closing_does_not_wait_for_items_that_have_not_started(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    opened = []
    closing = threading.Event()
    shutdown = ThreadPoolExecutor.shutdown

    def open_item(place: int, item: int) -> int:
        opened.append(item)
        if item >= 20:  # after the first batch
            closing.wait()
        return item

    def shutdown_pool(pool: ThreadPoolExecutor, wait: bool, **options: bool) -> None:
        if wait:  # for the items that have started
            closing.set()
        shutdown(pool, wait, **options)

    monkeypatch.setattr(ThreadPoolExecutor, "shutdown", shutdown_pool)
    found = pipeline(range(1000), open_item=open_item, finish=list, batch_size=20, threads=2)
    next(found)
    found.close()  # type: ignore[attr-defined]
    assert len(opened) <= 20 + 2


def test_pixel_batches_hold_readable_photos_in_order_and_name_the_others(tmp_path: Path) -> None:
    photos = []
    for value in range(5):
        path = tmp_path / f"{value}.png"
        Image.new("RGB", (8, 8), (value, 0, 0)).save(path)
        photos.append(path)
    photos[3].write_bytes(b"not a photo")
    preprocessing = Preprocessing(height=4, width=4, mean=(0, 0, 0), std=(1, 1, 1))
    batches = list(pixel_batches(photos, preprocessing, batch_size=2))
    assert [[photo.index for photo in batch.readable] for batch in batches] == [[0, 1], [2], [4]]
    values = [
        round(float(pixels[0, 0, 0]) * 255)
        for batch in batches
        if batch.pixels is not None
        for pixels in batch.pixels
    ]
    assert values == [0, 1, 2, 4]
    [[unreadable]] = [batch.unreadable for batch in batches if batch.unreadable]
    assert (unreadable.index, unreadable.path) == (3, photos[3])
    assert str(unreadable.error).startswith(f"{photos[3]}: ")


def test_pixel_batch_of_unreadable_photos_has_no_pixels(tmp_path: Path) -> None:
    [batch] = pixel_batches([tmp_path / "missing.jpg"], Preprocessing(), batch_size=4)
    assert batch.pixels is None
    assert len(batch.unreadable) == 1


def test_pixel_batches_apply_a_transform() -> None:
    image = Image.new("RGB", (4, 4), (10, 0, 0))
    preprocessing = Preprocessing(height=4, width=4, mean=(0, 0, 0), std=(1, 1, 1))
    [batch] = pixel_batches([image], preprocessing, batch_size=1, transform=ImageOps.invert)
    assert batch.pixels is not None
    assert round(float(batch.pixels[0, 0, 0, 0]) * 255) == 245
