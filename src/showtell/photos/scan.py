"""Scan a photo library: caption new photos, and recognise those that were moved or retagged."""

from __future__ import annotations

import contextlib
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from showtell.caption import Caption
from showtell.decoding.beam_search import Floats
from showtell.errors import CatalogueError, PhotoError, PhotoErrorHandler
from showtell.files.folder_walk import UnlistableFolderError
from showtell.files.printable_names import printable
from showtell.photos.catalogue.database import Catalogue
from showtell.photos.catalogue.file_paths import file_path, paths_condition
from showtell.photos.catalogue.pictures import ModelIds, find_picture_id, has_caption
from showtell.photos.folder_changes import ComparisonCounts, compare_folders
from showtell.photos.reading import read_photo
from showtell.photos.scan_results import PendingFile, ScanResult, save_results
from showtell.pipeline import pipeline

if TYPE_CHECKING:
    from showtell.captioner import Captioner

_BATCH_SIZE = 16


@dataclass(frozen=True)
class ScanOptions:
    """How to scan; `recaption` also captions photos that another model has captioned."""

    recaption: bool = False
    batch_size: int = _BATCH_SIZE


@dataclass
class ScanCounts:
    """Counts of a scan so far; `to_read` is the number of photos that it must open in total.

    `already_captioned` photos were opened, but their picture has a caption: they are copies, or
    were retagged. `broken` are links to nothing and other names of photos that cannot be opened at
    all. `missing` photos were not moved.
    """

    found: int = 0
    unchanged: int = 0
    missing: int = 0
    to_read: int = 0
    captioned: int = 0
    already_captioned: int = 0
    moved: int = 0
    failed: int = 0
    broken: int = 0
    seconds: float = 0.0

    @property
    def read(self) -> int:
        """The number of photos that were opened."""
        return self.captioned + self.already_captioned + self.moved + self.failed


def scan_library(
    catalogue: Catalogue,
    folders: Sequence[Path],
    options: ScanOptions | None = None,
    *,
    load_captioner: Callable[[], Captioner],
    report: PhotoErrorHandler,
) -> Iterator[ScanCounts]:
    """Update the catalogue from `folders`; yield the counts after each step.

    Photos whose size and date are in the catalogue are not opened. Captions are saved batch by
    batch: a killed scan loses the batches in progress, and the next scan continues. Photos that
    cannot be read go to `report`, and the next scan tries them again. `load_captioner` is called
    if there are photos to read, or to recaption.
    """
    started = time.perf_counter()
    scan = _Scan(catalogue, folders, options or ScanOptions(), report)
    for _ in scan.run(load_captioner):
        scan.counts.seconds = time.perf_counter() - started
        yield scan.counts


@dataclass
class _Scan:
    """The state of one scan; `scan_id` distinguishes it from all other scans."""

    catalogue: Catalogue
    folders: Sequence[Path]
    options: ScanOptions
    report: PhotoErrorHandler
    counts: ScanCounts = field(default_factory=ScanCounts)
    missing_ids: set[int] = field(default_factory=set)
    scan_id: int = field(default_factory=lambda: secrets.randbits(62))

    def run(self, load_captioner: Callable[[], Captioner]) -> Iterator[None]:
        """Compare the folders, then read and caption; yield after each step."""
        compared = ComparisonCounts()
        for compared in compare_folders(
            self.catalogue, self.folders, self.scan_id, self._report_unlisted
        ):
            self.counts.found, self.counts.unchanged = compared.found, compared.unchanged
            yield
        self.missing_ids = compared.missing
        self.counts.missing = len(self.missing_ids)
        captioner: Captioner | None = None
        if self.options.recaption:
            captioner = load_captioner()
            self._mark_for_recaption(ModelIds.of(captioner.bundle).model_id)
        self.counts.to_read = self._count_pending()
        if self.counts.to_read:
            yield from self._read_pending(captioner or load_captioner())
        yield

    def _report_unlisted(self, error: PhotoError) -> None:
        """Report a folder that cannot be listed, or count and report a photo in a listing."""
        self.counts.broken += not isinstance(error, UnlistableFolderError)
        self.report(error)

    def _mark_for_recaption(self, model_id: str) -> None:
        """Mark as pending the photos that a model has not captioned, or without keywords.

        So are those that were last read by a version which did not notice turned photos.
        """
        in_folders, parameters = paths_condition(self.folders)
        with self.catalogue.transaction():
            self.catalogue.execute(
                f"""
                UPDATE files SET pending = 1, claim = NULL WHERE id IN (
                    SELECT files.id FROM files JOIN folders ON folders.id = folder_id
                    WHERE missing_since IS NULL AND {in_folders} AND (
                        ctime_ns IS NULL OR NOT EXISTS (
                            SELECT 1 FROM captions
                            WHERE captions.picture_id = files.picture_id AND model = ?
                                AND keywords IS NOT NULL)))
                """,
                [*parameters, model_id],
            )

    def _count_pending(self) -> int:
        in_folders, parameters = paths_condition(self.folders)
        count: int = self.catalogue.value(
            "SELECT count(*) FROM files JOIN folders ON folders.id = folder_id"
            f" WHERE pending AND missing_since IS NULL AND {in_folders}",
            parameters,
        )
        return count

    def _read_pending(self, captioner: Captioner) -> Iterator[None]:
        """Read and caption the pending photos; yield after each batch is saved."""
        ids = ModelIds.of(captioner.bundle)
        required_model_id = ids.model_id if self.options.recaption else None
        with _caption_lookup(self.catalogue, required_model_id) as needs_caption:

            def open_item(_: int, pending: PendingFile) -> ScanResult:
                return _read_pending_file(pending, captioner, needs_caption)

            results = pipeline(
                self._claim_pending(),
                open_item=open_item,
                finish=lambda batch: _caption_batch(captioner, batch),
                batch_size=self.options.batch_size,
                threads=captioner.threads,
            )
            batch: list[ScanResult] = []
            try:
                for result in results:
                    batch.append(result)
                    if len(batch) >= self.options.batch_size:
                        self._save(batch, ids)
                        batch = []
                        yield
                self._save(batch, ids)
                yield
            finally:
                results.close()  # type: ignore[attr-defined]

    def _claim_pending(self) -> Iterator[PendingFile]:
        """Yield the pending photos, and claim them for this scan, one batch at a time.

        Photos claimed by other scans come last: a killed scan leaves its claims behind.
        """
        in_folders, parameters = paths_condition(self.folders)
        for claimable in ("claim IS NULL", f"claim IS NOT NULL AND claim <> {self.scan_id:d}"):
            while True:
                with self.catalogue.transaction():
                    rows = list(
                        self.catalogue.rows(
                            f"""
                            SELECT files.id, folders.path, files.name
                            FROM files JOIN folders ON folders.id = folder_id
                            WHERE pending AND missing_since IS NULL AND {claimable}
                                AND {in_folders}
                            LIMIT {self.options.batch_size:d}
                            """,
                            parameters,
                        )
                    )
                    self.catalogue.execute_many(
                        "UPDATE files SET claim = ? WHERE id = ?",
                        ((self.scan_id, file_id) for file_id, _, _ in rows),
                    )
                if not rows:
                    break
                for file_id, folder, name in rows:
                    yield PendingFile(file_id, file_path(folder, name))

    def _save(self, batch: list[ScanResult], ids: ModelIds) -> None:
        """Save results; a photo whose values cannot be stored fails alone."""
        try:
            saved = save_results(self.catalogue, batch, ids)
        except CatalogueError:
            raise
        except Exception as error:
            if len(batch) > 1:
                for result in batch:
                    self._save([result], ids)
                return
            display_path = printable(str(batch[0].file.path))
            failure = f"{display_path}: cannot be stored ({error!r})"
            batch = [ScanResult(batch[0].file, error=failure)]
            saved = save_results(self.catalogue, batch, ids)
        self.counts.captioned += saved.captioned
        self.counts.already_captioned += saved.already_captioned
        self.counts.moved += len(saved.moved)
        self.missing_ids -= saved.moved
        self.counts.missing = len(self.missing_ids)
        for result in batch:
            if result.error is not None:
                self.counts.failed += 1
                self.report(PhotoError(result.error))


def _read_pending_file(
    pending: PendingFile, captioner: Captioner, needs_caption: Callable[[bytes], bool]
) -> ScanResult:
    """Read a photo; any error becomes part of the result."""
    try:
        content = read_photo(
            pending.path,
            captioner.bundle.manifest.preprocessing,
            needs_caption,
            max_pixels=captioner.max_pixels,
        )
        return ScanResult(pending, content, content.error)
    except PhotoError as error:
        return ScanResult(pending, error=str(error))
    except Exception as error:  # one photo must not end a scan of 50,000
        display_path = printable(str(pending.path))
        return ScanResult(pending, error=f"{display_path}: cannot be read ({error!r})")


@contextlib.contextmanager
def _caption_lookup(
    catalogue: Catalogue, model_id: str | None
) -> Iterator[Callable[[bytes], bool]]:
    """Yield a function that returns whether the picture with an image hash needs a caption.

    It has its own connection, which the threads use in turn. With `model_id`, a picture needs a
    caption by that model; otherwise, any caption is enough.
    """
    connection, lock = Catalogue(catalogue.path, any_thread=True), threading.Lock()

    def needs_caption(image_hash: bytes) -> bool:
        with lock:
            picture_id = find_picture_id(connection, image_hash)
            return picture_id is None or not has_caption(connection, picture_id, model_id)

    try:
        yield needs_caption
    finally:
        connection.close()


def _caption_batch(captioner: Captioner, batch: list[ScanResult]) -> list[ScanResult]:
    """Caption the photos of a batch that have pixels."""
    inputs = {
        index: result.content.pixels
        for index, result in enumerate(batch)
        if result.content is not None and result.content.pixels is not None
    }
    if not inputs:
        return batch
    pixels = np.stack(list(inputs.values()))  # (batch, 3, height, width)
    captions = captioner.caption_pixels(pixels, [batch[index].file.path for index in inputs])
    results = list(batch)
    for index, (caption, pooled) in zip(inputs, captions, strict=True):
        results[index] = _with_caption(batch[index], caption, pooled)
    return results


def _with_caption(result: ScanResult, caption: Caption, pooled: Floats) -> ScanResult:
    if caption.error is not None:
        return ScanResult(result.file, error=caption.error)
    content = result.content and replace(result.content, pixels=None)
    return ScanResult(result.file, content, None, caption, pooled)
