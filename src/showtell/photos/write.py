"""Write captions and keywords into sidecars and photos, without risk to the photos.

A photo is replaced only by a complete copy that is on the disk and verified: it has no other
change, and the new values read back. A killed run leaves no damage (see `catalogue.journal`), and
`undo` restores the old files.
"""

from __future__ import annotations

import errno
import os
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice

from showtell.errors import CatalogueError, MetadataError, PhotoError, PhotoErrorHandler
from showtell.files.printable_names import printable
from showtell.photos.binary_patch import apply_patch, make_patch
from showtell.photos.catalogue.database import Catalogue
from showtell.photos.catalogue.journal import (
    JournalEntry,
    PlannedWrite,
    PreparedWrite,
    WriteRun,
    recover,
)
from showtell.photos.catalogue.writer_lock import only_writer
from showtell.photos.metadata.embed import embed_fields
from showtell.photos.metadata.embedding_check import check_embedded
from showtell.photos.metadata.image_hash import hash_bytes
from showtell.photos.metadata.xmp import set_fields
from showtell.photos.reading import read_stable_file
from showtell.photos.replace import (
    FileStamp,
    Replacement,
    failure_message,
    file_stamp,
    replace_target,
    write_copy,
)
from showtell.photos.write_plan import WriteOptions, WritePlan, plan_writes

_BATCH_SIZE = 16
# errors that end the run: what is wrong, and the way out
_OUT_OF_SPACE = {
    errno.ENOSPC: ("the disk is full", "free some space"),
    errno.EDQUOT: ("your disk quota is used up", "free some space or have the quota raised"),
    errno.EFBIG: ("larger than the file size limit (ulimit -f)", "raise the limit"),
}


@dataclass
class WriteCounts:
    """Counts of a run so far: photos examined, and their outcomes.

    `keywords` counts the written photos whose keywords changed, `kept` the photos by field that
    stays as it is.
    """

    examined: int = 0
    sidecars: int = 0
    embedded: int = 0
    up_to_date: int = 0
    user_edited: int = 0
    unsure: int = 0
    keywords: int = 0
    failed: int = 0
    kept: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class _Target:
    """A file to write, and its bytes and stamp when it was read: both None if it does not exist."""

    plan: WritePlan
    entry: JournalEntry
    data: bytes | None
    stamp: FileStamp | None


@dataclass(frozen=True, slots=True)
class _StagedCopy:
    """A verified copy on the disk, ready to replace its target."""

    plan: WritePlan
    prepared: PreparedWrite
    replacement: Replacement


def write_captions(
    catalogue: Catalogue,
    options: WriteOptions,
    *,
    batch_size: int = _BATCH_SIZE,
    report: PhotoErrorHandler,
) -> Iterator[WriteCounts]:
    """Write captions; yield the counts after each batch.

    Photos that fail, for whatever reason, go to `report`, and the others are written.

    Raises MetadataError if no disk space is left; CatalogueError if another write is running.
    """
    started = time.perf_counter()
    with only_writer(catalogue.path):
        recover(catalogue)
        run = WriteRun(catalogue)
        writer = _Writer(run, report)
        try:
            plans = plan_writes(catalogue, options)
            while batch := list(islice(plans, batch_size)):
                writer.write(batch)
                writer.counts.seconds = time.perf_counter() - started
                yield writer.counts
            if writer.unsettled:
                recover(catalogue)
        except BaseException:
            recover(catalogue)  # settle the open writes now rather than at the next run
            raise
        run.end()


@dataclass
class _Writer:
    """Writes batches of plans."""

    run: WriteRun
    report: PhotoErrorHandler
    counts: WriteCounts = field(default_factory=WriteCounts)
    unsettled: set[int] = field(default_factory=set)  # ids of entries, for `recover` to settle

    def write(self, plans: list[WritePlan]) -> None:
        """Write the files that need it; count and report the other photos of a batch."""
        self.counts.examined += len(plans)
        for plan in plans:
            self.counts.kept.update(plan.kept)
            self.counts.up_to_date += plan.verdict == "up_to_date"
            self.counts.user_edited += plan.verdict == "user_edited"
            self.counts.unsure += plan.verdict == "unsure"
            if plan.verdict == "failed":
                self.counts.failed += 1
                self.report(PhotoError(plan.error))
        to_write = [plan for plan in plans if plan.writes]
        if to_write:
            self._write_batch(to_write)

    def _write_batch(self, plans: list[WritePlan]) -> None:
        """Write the files of a batch; failures are reported and leave their files unchanged."""
        entries = self.run.begin(
            [
                PlannedWrite(
                    plan.photo.file_id, plan.target, plan.photo.caption or "", plan.keywords
                )
                for plan in plans
            ]
        )
        copies = self._stage_copies(self._read_targets(plans, entries))
        self.run.mark_ready([copy.prepared for copy in copies])
        done_ids = {copy.prepared.entry.id for copy in copies if self._replace(copy)}
        self.run.settle(
            done=[entry for entry in entries if entry.id in done_ids],
            failed=[entry for entry in entries if entry.id not in done_ids | self.unsettled],
        )

    def _read_targets(
        self, plans: list[WritePlan], entries: Sequence[JournalEntry]
    ) -> list[_Target]:
        """Read the files to write, without those that cannot be read."""
        targets = []
        for plan, entry in zip(plans, entries, strict=True):
            try:
                targets.append(_read_target(plan, entry))
            except Exception as error:
                self._record_failure(plan, entry, error)
        return targets

    def _stage_copies(self, targets: list[_Target]) -> list[_StagedCopy]:
        """Write a verified copy beside each target, without those that fail."""
        copies = []
        for target in targets:
            try:
                is_photo = target.plan.verdict == "embed"
                copies.append(_stage_photo(target) if is_photo else _stage_sidecar(target))
            except Exception as error:
                self._record_failure(target.plan, target.entry, error)
        return copies

    def _replace(self, copy: _StagedCopy) -> bool:
        """Replace a target by its copy; return False if that fails."""
        try:
            replace_target(copy.replacement)
        except Exception as error:
            self._record_failure(copy.plan, copy.prepared.entry, error)
            return False
        self.counts.sidecars += copy.plan.verdict == "sidecar"
        self.counts.embedded += copy.plan.verdict == "embed"
        self.counts.keywords += copy.plan.keyword_list is not None
        return True

    def _record_failure(self, plan: WritePlan, entry: JournalEntry, error: Exception) -> None:
        """Count and report a file that cannot be written.

        After an error of the system the outcome is unknown: a network drive may have replaced the
        file and failed to say so. Raises MetadataError, to end the run, if no space is left;
        CatalogueError if `error` is one.
        """
        if isinstance(error, CatalogueError):
            raise error
        if isinstance(error, OSError):
            self.unsettled.add(entry.id)
        if isinstance(error, OSError) and error.errno in _OUT_OF_SPACE:
            problem, remedy = _OUT_OF_SPACE[error.errno]
            raise MetadataError(
                f"{printable(os.fspath(plan.target))}: {problem}. No data is lost:"
                f" {remedy} and run the command again"
            ) from error
        self.counts.failed += 1
        self.report(PhotoError(failure_message(plan.target, error)))


def _read_target(plan: WritePlan, entry: JournalEntry) -> _Target:
    stamp = file_stamp(plan.target)
    if stamp is None and plan.verdict == "sidecar":
        return _Target(plan, entry, None, None)
    data, _ = read_stable_file(plan.target)
    return _Target(plan, entry, data, stamp)


def _stage_sidecar(target: _Target) -> _StagedCopy:
    """Write a sidecar's new content beside it; undo restores the old content itself."""
    return _stage(target, set_fields(target.data, target.plan.values), undo_data=target.data)


def _stage_photo(target: _Target) -> _StagedCopy:
    """Embed in a photo and write the verified result beside it; undo restores it by a patch."""
    assert target.data is not None
    new = embed_fields(target.data, target.plan.values)
    check_embedded(target.data, new, target.plan.values)
    patch = make_patch(target.data, new)
    if apply_patch(patch, new) != target.data:
        raise MetadataError("undo could not restore it, so it is left alone")
    return _stage(target, new, undo_data=patch)


def _stage(target: _Target, new: bytes, undo_data: bytes | None) -> _StagedCopy:
    entry = target.entry
    old_hash = None if target.data is None else hash_bytes(target.data)
    prepared = PreparedWrite(entry, old_hash, hash_bytes(new), undo_data)
    photo = target.plan.photo.path
    replacement = write_copy(entry.temporary, entry.target, new, target.stamp, photo=photo)
    return _StagedCopy(target.plan, prepared, replacement)
