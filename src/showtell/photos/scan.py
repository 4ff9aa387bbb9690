"""Scan a photo library: caption what is new, know again what was moved or re-tagged."""

from __future__ import annotations

import os
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from showtell.caption import Caption
from showtell.decoding.beam_search import Floats
from showtell.errors import PhotoError
from showtell.files.printable_names import printable
from showtell.photos.catalogue import pictures
from showtell.photos.catalogue.database import Catalogue
from showtell.photos.catalogue.pictures import ModelName, path_of, within
from showtell.photos.folder_changes import Compared, compare
from showtell.photos.reading import Reading, read_photo
from showtell.photos.walk import Report
from showtell.pipeline import pipeline

if TYPE_CHECKING:
    from showtell.captioner import Captioner

BATCH_SIZE = 16


@dataclass
class Scanned:
    """What a scan has done so far; `to_read` is how many photos it has to open in all."""

    found: int = 0
    unchanged: int = 0
    gone: int = 0
    to_read: int = 0
    captioned: int = 0
    known: int = 0  # read, and a picture that has its caption: a copy, or re-tagged
    moved: int = 0
    failed: int = 0
    seconds: float = 0.0

    @property
    def read(self) -> int:
        """How many photos were opened."""
        return self.captioned + self.known + self.moved + self.failed


@dataclass(frozen=True, slots=True)
class _Waiting:
    """A file that is to be read."""

    file: int
    path: Path


@dataclass(frozen=True, slots=True)
class _Read:
    """A file that was read: what was found, or an error; captioned unless its picture was known."""

    waiting: _Waiting
    reading: Reading | None = None
    error: str | None = None
    caption: Caption | None = None
    pooled: Floats | None = None


def scan(
    catalogue: Catalogue,
    folders: Sequence[Path],
    *,
    captioner: Callable[[], Captioner],
    again: bool = False,
    batch_size: int = BATCH_SIZE,
    report: Report,
) -> Iterator[Scanned]:
    """Bring the catalogue up to date with `folders`; yields its counts as it goes on.

    Photos with the size and date that the catalogue knows are not opened. Captions are saved batch
    by batch: a scan that is killed loses the batches it was working on, and the next one goes on.
    A picture is captioned once; with `again` also those that another model has captioned. What
    cannot be read goes to `report`, and is tried again by the next scan. `captioner` is called
    when the first photo has to be read.
    """
    began = time.perf_counter()
    identity = secrets.randbits(62)  # of this scan, among others on the same catalogue
    counts = Scanned()
    compared = Compared()
    for compared in compare(catalogue, folders, identity, report):
        counts.found, counts.unchanged = compared.found, compared.unchanged
        counts.seconds = time.perf_counter() - began
        yield counts
    counts.gone = compared.gone

    loaded: Captioner | None = None
    if again:
        loaded = captioner()
        _want_again(catalogue, folders, ModelName.of(loaded.bundle).caption)
    where, places = within(folders)
    counts.to_read = catalogue.value(
        "SELECT count(*) FROM files JOIN folders ON folders.id = folder_id"
        f" WHERE pending AND gone IS NULL AND {where}",
        places,
    )
    if counts.to_read:
        loaded = loaded or captioner()
        for _ in _read_all(catalogue, folders, loaded, again, batch_size, identity, counts, report):
            counts.seconds = time.perf_counter() - began
            yield counts
    counts.seconds = time.perf_counter() - began
    yield counts


def _want_again(catalogue: Catalogue, folders: Sequence[Path], model: str) -> None:
    where, places = within(folders)
    with catalogue.transaction():
        catalogue.execute(
            f"""
            UPDATE files SET pending = 1, claim = NULL WHERE id IN (
                SELECT files.id FROM files JOIN folders ON folders.id = folder_id
                WHERE gone IS NULL AND {where} AND NOT EXISTS (
                    SELECT 1 FROM captions
                    WHERE captions.picture_id = files.picture_id AND model = ?))
            """,
            [*places, model],
        )


def _read_all(
    catalogue: Catalogue,
    folders: Sequence[Path],
    captioner: Captioner,
    again: bool,
    batch_size: int,
    identity: int,
    counts: Scanned,
    report: Report,
) -> Iterator[None]:
    """Read and caption what waits; yields after each batch that was saved."""
    model = ModelName.of(captioner.bundle)
    preprocessing = captioner.bundle.manifest.preprocessing
    # the threads that open photos ask by a connection of their own, one at a time
    asked, asking = Catalogue(catalogue.path, any_thread=True), threading.Lock()
    needed = model.caption if again else None

    def wanted(image_hash: bytes) -> bool:
        with asking:
            picture = pictures.picture_of(asked, image_hash)
            return picture is None or not pictures.has_caption(asked, picture, needed)

    def open_item(_: int, waiting: _Waiting) -> _Read:
        try:
            reading = read_photo(waiting.path, preprocessing, wanted)
            return _Read(waiting, reading, reading.error)
        except PhotoError as error:
            return _Read(waiting, error=str(error))
        except Exception as error:  # what no one thought of shall not end a scan of 50,000
            shown = printable(os.fspath(waiting.path))
            return _Read(waiting, error=f"{shown}: cannot be read ({error!r})")

    def finish(batch: list[_Read]) -> list[_Read]:
        pixels = [
            item.reading.pixels
            for item in batch
            if item.reading is not None and item.reading.pixels is not None
        ]
        paths = [item.waiting.path for item in batch if _has_pixels(item)]
        found = iter(captioner.caption_pixels(np.stack(pixels), paths) if pixels else ())
        return [_captioned(item, *next(found)) if _has_pixels(item) else item for item in batch]

    results = pipeline(
        _claimed(catalogue, folders, identity, batch_size),
        open_item=open_item,
        finish=finish,
        batch_size=batch_size,
        threads=captioner.threads,
    )
    batch: list[_Read] = []
    try:
        for result in results:
            batch.append(result)
            if len(batch) >= batch_size:
                _save(catalogue, batch, model, counts, report)
                batch = []
                yield
        _save(catalogue, batch, model, counts, report)
        yield
    finally:
        results.close()  # type: ignore[attr-defined]
        asked.close()


def _has_pixels(item: _Read) -> bool:
    return item.reading is not None and item.reading.pixels is not None


def _captioned(item: _Read, caption: Caption, pooled: Floats) -> _Read:
    reading = item.reading and replace(item.reading, pixels=None)
    if caption.error is not None:
        return _Read(item.waiting, error=caption.error)
    return _Read(item.waiting, reading, None, caption, pooled)


def _claimed(
    catalogue: Catalogue, folders: Sequence[Path], identity: int, batch_size: int
) -> Iterator[_Waiting]:
    """Yield what waits, a batch at a time: first what no other scan is about to read.

    What others have claimed comes last, for a scan that was killed claimed its last batches too.
    """
    where, places = within(folders)
    for claimed in ("claim IS NULL", f"claim IS NOT NULL AND claim <> {identity:d}"):
        while True:
            with catalogue.transaction():
                found = list(
                    catalogue.rows(
                        f"""
                        SELECT files.id, folders.path, files.name
                        FROM files JOIN folders ON folders.id = folder_id
                        WHERE pending AND gone IS NULL AND {claimed} AND {where}
                        LIMIT {batch_size:d}
                        """,
                        places,
                    )
                )
                catalogue.many(
                    "UPDATE files SET claim = ? WHERE id = ?",
                    ((identity, file) for file, _, _ in found),
                )
            if not found:
                break
            for file, folder, name in found:
                yield _Waiting(file, path_of(folder, name))


def _save(
    catalogue: Catalogue, batch: list[_Read], model: ModelName, counts: Scanned, report: Report
) -> None:
    moved = known = captioned = 0
    with catalogue.transaction():
        for item in batch:
            if item.reading is None:
                catalogue.execute(
                    "UPDATE files SET pending = 0, claim = NULL, error = ? WHERE id = ?",
                    (item.error, item.waiting.file),
                )
                continue
            is_new = pictures.picture_of(catalogue, item.reading.hash) is None
            picture = pictures.store_picture(
                catalogue, item.reading.hash, item.reading.facts, item.reading.size
            )
            if item.caption is not None and item.pooled is not None:
                pictures.store_caption(catalogue, picture, item.caption, item.pooled, model)
            followed = _place(catalogue, item, picture, is_new=is_new)
            moved += followed
            if item.error is not None:
                catalogue.execute(
                    "UPDATE files SET error = ? WHERE id = ?", (item.error, item.waiting.file)
                )
            captioned += item.caption is not None and not followed
            known += item.caption is None and item.error is None and not followed
    counts.moved += moved
    counts.known += known
    counts.captioned += captioned
    for item in batch:
        if item.error is not None:
            counts.failed += 1
            report(PhotoError(item.error))


def _place(catalogue: Catalogue, item: _Read, picture: int, *, is_new: bool) -> bool:
    """Enter which picture a file holds; True where the file is another one, moved here."""
    reading, file = item.reading, item.waiting.file
    if reading is None:
        return False
    stamp = (picture, reading.file_size, reading.mtime_ns)
    renew = """
        UPDATE files SET picture_id = ?, size = ?, mtime_ns = ?, pending = 0, claim = NULL,
            gone = NULL, error = NULL
        WHERE id = ?
    """
    before = catalogue.row("SELECT folder_id, name, picture_id FROM files WHERE id = ?", (file,))
    if before is None:  # another scan has followed it here meanwhile
        return False
    folder, name, held = before
    left = None
    if not is_new and held is None:
        left = next(
            (
                other
                for other, path in _others(catalogue, picture, file)
                if not os.path.lexists(path)
            ),
            None,
        )
    if left is None:
        catalogue.execute(renew, (*stamp, file))
        return False
    catalogue.execute("DELETE FROM files WHERE id = ?", (file,))
    catalogue.execute("UPDATE files SET folder_id = ?, name = ? WHERE id = ?", (folder, name, left))
    catalogue.execute(renew, (*stamp, left))
    return True


def _others(catalogue: Catalogue, picture: int, file: int) -> list[tuple[int, Path]]:
    return [
        (other, path_of(folder, name))
        for other, folder, name in catalogue.rows(
            "SELECT files.id, folders.path, name FROM files JOIN folders ON folders.id = folder_id"
            " WHERE picture_id = ? AND files.id <> ? ORDER BY gone IS NULL",
            (picture, file),
        )
    ]
