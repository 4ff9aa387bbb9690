"""Undo the last run of writes: restore the files byte for byte."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from showtell.errors import MetadataError, PhotoError, PhotoErrorHandler, ShowtellError
from showtell.files.atomic_write import sync_folder
from showtell.files.regular_files import UnsuitableFileError
from showtell.photos.binary_patch import apply_patch
from showtell.photos.catalogue.database import Catalogue, now
from showtell.photos.catalogue.file_paths import file_path
from showtell.photos.catalogue.journal import (
    hash_file,
    may_be_disconnected,
    recover,
    temporary_path,
    update_file_stamp,
)
from showtell.photos.catalogue.writer_lock import only_writer
from showtell.photos.metadata.image_hash import hash_bytes
from showtell.photos.metadata.sidecar import SIDECAR_SUFFIX, sidecar_path
from showtell.photos.replace import failure_message, file_stamp, replace_target, write_copy

_BATCH_SIZE = 16
_CHANGED = "has changed since, so it is left alone"


@dataclass
class LastRun:
    """The run that undo would revert: when it started, and how many files it wrote."""

    id: int
    started: str
    files: int


@dataclass
class UndoCounts:
    """Counts of an undo so far.

    Files are restored, or skipped because they have changed since, or cannot be restored now:
    the next undo tries the latter again.
    """

    restored: int = 0
    skipped: int = 0
    failed: int = 0
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class _FinishedWrite:
    """A write to undo; `target` is the current path of the written file."""

    id: int
    file_id: int
    target: Path
    temporary: Path
    before_hash: bytes | None
    after_hash: bytes
    undo_data: bytes | None
    is_gone: bool  # a scan has found the photo missing


def last_run(catalogue: Catalogue) -> LastRun | None:
    """Return the latest run that has not been undone, or None."""
    row = catalogue.row(
        "SELECT runs.id, started, count(*) FROM runs JOIN writes ON run_id = runs.id"
        " WHERE undone IS NULL AND state <> 'begun' GROUP BY runs.id ORDER BY runs.id DESC LIMIT 1"
    )
    return None if row is None else LastRun(*row)


def writes_of(catalogue: Catalogue, run: LastRun) -> Iterator[tuple[Path, bool]]:
    """Yield the files that undoing a run restores, and whether the run created them."""
    next_batch = _next_batch(catalogue, run.id)
    while batch := next_batch:
        for write in batch:
            yield write.target, write.before_hash is None
        next_batch = _next_batch(catalogue, run.id, before=batch[-1].id)


def undo_last_run(catalogue: Catalogue, *, report: PhotoErrorHandler) -> Iterator[UndoCounts]:
    """Undo the last run; yield the counts after each batch.

    A file that has changed since is left alone and goes to `report`. So does one that cannot be
    read or written now, but the run then counts as not undone, and the next undo tries that file
    again. The next undo also completes one that was killed. Raises MetadataError if there is
    nothing to undo.
    """
    started = time.perf_counter()
    counts = UndoCounts()
    with only_writer(catalogue.path):
        recover(catalogue)
        run = last_run(catalogue)
        if run is None:
            raise MetadataError("nothing to undo: no run has written captions, or all are undone")
        try:
            next_batch = _next_batch(catalogue, run.id)
            while batch := next_batch:
                _undo_batch(catalogue, batch, counts, report)
                next_batch = _next_batch(catalogue, run.id, before=batch[-1].id)
                counts.seconds = time.perf_counter() - started
                yield counts
        except BaseException:
            recover(catalogue)
            raise
        with catalogue.transaction(durable=True):
            catalogue.execute(
                """
                UPDATE runs SET undone = ? WHERE id = ? AND NOT EXISTS (
                    SELECT 1 FROM writes WHERE run_id = runs.id AND state IN ('done', 'undoing'))
                """,
                (now(), run.id),
            )


def _next_batch(
    catalogue: Catalogue, run_id: int, before: int | None = None
) -> list[_FinishedWrite]:
    """Return the latest writes of a run that are to be undone, below the id `before`."""
    rows = catalogue.rows(
        f"""
        SELECT writes.id, file_id, writes.path, token, folders.path, files.name,
            before_hash, after_hash, before, missing_since NOT NULL
        FROM writes JOIN runs ON runs.id = run_id
        JOIN files ON files.id = file_id JOIN folders ON folders.id = folder_id
        WHERE run_id = :run AND state = 'done' AND (:before IS NULL OR writes.id < :before)
        ORDER BY writes.id DESC LIMIT {_BATCH_SIZE}
        """,
        {"run": run_id, "before": before},
    )
    batch = []
    for write_id, file_id, path, token, folder, name, *restore in list(rows):
        target = _current_target(Path(os.fsdecode(path)), file_path(folder, name))
        temporary = temporary_path(target, token, write_id)
        batch.append(_FinishedWrite(write_id, file_id, target, temporary, *restore))
    return batch


def _undo_batch(
    catalogue: Catalogue, batch: list[_FinishedWrite], counts: UndoCounts, report: PhotoErrorHandler
) -> None:
    with catalogue.transaction(durable=True):
        catalogue.execute_many(
            "UPDATE writes SET state = 'undoing', path = ? WHERE id = ?",
            ((os.fsencode(write.target), write.id) for write in batch),
        )
    states = []
    for write in batch:
        try:
            _restore(write)
            states.append("undone")
            counts.restored += 1
        except ShowtellError as error:
            states.append("kept")
            counts.skipped += 1
            report(PhotoError(failure_message(write.target, error)))
        except Exception as error:  # one file must not end the undo of 50,000
            states.append("done")
            counts.failed += 1
            message = failure_message(write.target, error)
            report(PhotoError(f"{message}: run undo again when that is solved"))
    with catalogue.transaction(durable=True):
        for write, state in zip(batch, states, strict=True):
            catalogue.execute("UPDATE writes SET state = ? WHERE id = ?", (state, write.id))
            update_file_stamp(catalogue, write.file_id, write.target)


def _current_target(target: Path, photo: Path) -> Path:
    """Return the current path of a written file, whose photo may have been moved since."""
    if os.path.lexists(target):
        return target
    if target.suffix.lower() != SIDECAR_SUFFIX:
        return Path(os.path.realpath(photo))
    try:
        return sidecar_path(photo)
    except OSError:  # the folder is missing too
        return target


def _restore(write: _FinishedWrite) -> None:
    """Restore a file's old bytes, or remove it if it did not exist.

    Raises MetadataError if the file is missing or has changed since, and OSError if it cannot be
    read or written now.
    """
    target = write.target
    stamp = file_stamp(target)
    try:
        current_hash = hash_file(target)
    except UnsuitableFileError:  # a pipe or device in its place
        raise MetadataError(_CHANGED) from None
    if current_hash is None and not write.is_gone and may_be_disconnected(target):
        raise OSError(
            errno.ENODEV,
            "its folder is missing or empty: connect its drive, or scan if you deleted the photos",
        )
    if current_hash == write.before_hash:
        return
    if current_hash is None:
        raise MetadataError("no longer exists")
    if current_hash != write.after_hash:
        raise MetadataError(_CHANGED)
    if write.before_hash is None or write.undo_data is None:
        target.unlink()
        sync_folder(target.parent)
        return
    is_sidecar = target.suffix.lower() == SIDECAR_SUFFIX
    old = write.undo_data if is_sidecar else apply_patch(write.undo_data, target.read_bytes())
    if hash_bytes(old) != write.before_hash:
        raise MetadataError("the data that restores it is damaged: left alone")
    write.temporary.unlink(missing_ok=True)  # of an undo that could not remove it
    replace_target(write_copy(write.temporary, target, old, stamp))
