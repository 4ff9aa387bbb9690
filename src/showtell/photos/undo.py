"""Bring the last run of writes back: the files become, byte by byte, what they were."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from showtell.errors import MetadataError, PhotoError, ShowtellError
from showtell.photos.binary_patch import apply_patch
from showtell.photos.catalogue.database import Catalogue, now
from showtell.photos.catalogue.journal import hash_of, recover, renew_stamp, temporary_of
from showtell.photos.catalogue.pictures import path_of
from showtell.photos.catalogue.writer_lock import only_writer
from showtell.photos.metadata.current_metadata import SUFFIX, sidecar_of
from showtell.photos.metadata.image_hash import file_hash
from showtell.photos.replace import (
    failure_line,
    put_in_place,
    stamp_of,
    sync_folder,
    write_copy,
)
from showtell.photos.walk import Report

BATCH_SIZE = 16


@dataclass
class LastRun:
    """The run that an undo would bring back: when it began, how many files it wrote."""

    number: int
    began: str
    files: int


@dataclass
class Undone:
    """What an undo has done so far: brought back, and left alone because changed since."""

    restored: int = 0
    kept: int = 0
    seconds: float = 0.0


def last_run(catalogue: Catalogue) -> LastRun | None:
    """Return the latest run that was not undone, or None."""
    row = catalogue.row(
        "SELECT runs.id, began, count(*) FROM runs JOIN writes ON run_id = runs.id"
        " WHERE undone IS NULL AND state <> 'begun' GROUP BY runs.id ORDER BY runs.id DESC LIMIT 1"
    )
    return None if row is None else LastRun(*row)


def undo(catalogue: Catalogue, *, report: Report) -> Iterator[Undone]:
    """Bring the last run back; yields the counts after each batch.

    A file that was changed since is left alone and goes to `report`. An undo that was killed is
    finished by the next. Raises MetadataError where there is nothing to undo.
    """
    began = time.perf_counter()
    counts = Undone()
    with only_writer(catalogue.path):
        recover(catalogue)
        run = last_run(catalogue)
        if run is None:
            raise MetadataError("nothing to undo: no words were written yet, or all are undone")
        try:
            while _undo_batch(catalogue, run.number, counts, report):
                counts.seconds = time.perf_counter() - began
                yield counts
        except BaseException:
            recover(catalogue)
            raise
        with catalogue.transaction(durable=True):
            catalogue.execute("UPDATE runs SET undone = ? WHERE id = ?", (now(), run.number))


def _undo_batch(catalogue: Catalogue, run: int, counts: Undone, report: Report) -> bool:
    rows = list(
        catalogue.rows(
            f"""
            SELECT writes.id, file_id, writes.path, before_hash, after_hash, before, token,
                folders.path, files.name
            FROM writes JOIN runs ON runs.id = run_id
            JOIN files ON files.id = file_id JOIN folders ON folders.id = folder_id
            WHERE run_id = ? AND state = 'done' ORDER BY writes.id DESC LIMIT {BATCH_SIZE}
            """,
            (run,),
        )
    )
    if not rows:
        return False
    targets = [_target(row) for row in rows]
    with catalogue.transaction(durable=True):
        catalogue.many(
            "UPDATE writes SET state = 'undoing', path = ? WHERE id = ?",
            ((os.fsencode(target), row[0]) for target, row in zip(targets, rows, strict=True)),
        )
    states = []
    for target, row in zip(targets, rows, strict=True):
        try:
            number, _, _, before_hash, after_hash, before, token, *_ = row
            temporary = temporary_of(target, token, number)
            _restore(target, before_hash, after_hash, before, temporary)
            states.append("undone")
            counts.restored += 1
        except (ShowtellError, OSError) as error:
            states.append("kept")
            counts.kept += 1
            report(PhotoError(failure_line(target, error)))
    with catalogue.transaction(durable=True):
        for target, row, state in zip(targets, rows, states, strict=True):
            catalogue.execute("UPDATE writes SET state = ? WHERE id = ?", (state, row[0]))
            renew_stamp(catalogue, row[1], target)
    return True


def _target(row: tuple[Any, ...]) -> Path:
    """Return where the file lies now: a scan may have followed its photo elsewhere."""
    target = Path(os.fsdecode(row[2]))
    if os.path.lexists(target):
        return target
    photo = path_of(row[7], row[8])
    if target.suffix.lower() != SUFFIX:
        return Path(os.path.realpath(photo))
    try:
        return sidecar_of(photo)
    except OSError:  # its folder is gone too
        return target


def _restore(
    target: Path,
    before_hash: bytes | None,
    after_hash: bytes,
    before: bytes | None,
    temporary: Path,
) -> None:
    stamp = stamp_of(target)
    held = hash_of(target)
    if held == before_hash:
        return
    if held is None:
        raise MetadataError("is not there any more")
    if held != after_hash:
        raise MetadataError("was changed since, so it is left alone")
    if before_hash is None or before is None:
        target.unlink()
        sync_folder(target.parent)
        return
    data = target.read_bytes()
    old = before if target.suffix.lower() == SUFFIX else apply_patch(before, data)
    if file_hash(old) != before_hash:
        raise MetadataError("what was kept of it does not fit: left alone")
    put_in_place(write_copy(temporary, target, old, stamp))
