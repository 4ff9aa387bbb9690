"""Write captions into sidecars and photos, without risk to the photos.

A photo is replaced only by a complete copy that is on the disk and verified: image data, EXIF and
colour profile are the same byte for byte, and the new texts read back. A killed run leaves no
damage (see `catalogue.journal`), and `undo` restores the old files.
"""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from showtell.errors import MetadataError, PhotoError, PhotoErrorHandler, ShowtellError
from showtell.files.printable_names import printable
from showtell.photos.binary_patch import apply_patch, make_patch
from showtell.photos.catalogue.database import Catalogue
from showtell.photos.catalogue.journal import (
    WORK_FOLDER_PREFIX,
    JournalEntry,
    PlannedWrite,
    PreparedWrite,
    WriteRun,
    recover,
)
from showtell.photos.catalogue.records import photo_records
from showtell.photos.catalogue.writer_lock import only_writer
from showtell.photos.metadata import exiftool
from showtell.photos.metadata.container import Container, SegmentKind, parse_container
from showtell.photos.metadata.current_metadata import read_photo_metadata
from showtell.photos.metadata.image_hash import hash_bytes, hash_image
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
from showtell.photos.write_plan import WriteOptions, WritePlan, plan_photo

_BATCH_SIZE = 16
# errors that end the run: what is wrong, and the way out
_OUT_OF_SPACE = {
    errno.ENOSPC: ("the disk is full", "free some space"),
    errno.EDQUOT: ("your disk quota is used up", "free some space or have the quota raised"),
    errno.EFBIG: ("larger than the file size limit (ulimit -f)", "raise the limit"),
}


@dataclass
class WriteCounts:
    """Counts of a run so far: photos examined, and their outcomes."""

    examined: int = 0
    sidecars: int = 0
    embedded: int = 0
    up_to_date: int = 0
    user_edited: int = 0
    failed: int = 0
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class _Target:
    """A file to write, and its bytes and stamp when it was read: both None if it does not exist.

    `job` is for exiftool, or None if the file is a sidecar.
    """

    plan: WritePlan
    entry: JournalEntry
    data: bytes | None
    stamp: FileStamp | None
    job: exiftool.EmbedJob | None = None


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

    Photos that fail go to `report`, and the others are written.

    Raises MetadataError if exiftool is needed and missing, or no disk space is left;
    CatalogueError if another write is running.
    """
    started = time.perf_counter()
    program = exiftool.find_exiftool() if options.to == "embed" else None
    with only_writer(catalogue.path):
        recover(catalogue)
        run = WriteRun(catalogue)
        writer = _Writer(run, program, report)
        try:
            if program is not None:
                writer.make_work_folder()
            photos = photo_records(catalogue, options.filters)
            while batch := list(islice(photos, batch_size)):
                writer.write([plan_photo(catalogue, photo, options) for photo in batch])
                writer.counts.seconds = time.perf_counter() - started
                yield writer.counts
            if writer.unsettled:
                recover(catalogue)
        except BaseException:
            recover(catalogue)  # settle the open writes now rather than at the next run
            raise
        finally:
            writer.remove_work_folder()
        run.end()


@dataclass
class _Writer:
    """Writes batches of plans; `program` is exiftool's path, or None if it is not needed."""

    run: WriteRun
    program: str | None
    report: PhotoErrorHandler
    counts: WriteCounts = field(default_factory=WriteCounts)
    work_folder: Path | None = None
    unsettled: set[int] = field(default_factory=set)  # ids of entries, for `recover` to settle

    def make_work_folder(self) -> None:
        self.work_folder = Path(tempfile.mkdtemp(prefix=WORK_FOLDER_PREFIX))
        self.run.record_work_folder(self.work_folder)

    def remove_work_folder(self) -> None:
        if self.work_folder is not None:
            shutil.rmtree(self.work_folder, ignore_errors=True)

    def write(self, plans: list[WritePlan]) -> None:
        """Write the files that need it; count and report the other photos of a batch."""
        self.counts.examined += len(plans)
        for plan in plans:
            self.counts.up_to_date += plan.verdict == "up_to_date"
            self.counts.user_edited += plan.verdict == "user_edited"
            if plan.verdict == "failed":
                self.counts.failed += 1
                self.report(PhotoError(plan.error))
        to_write = [plan for plan in plans if plan.verdict in ("sidecar", "embed")]
        if to_write:
            self._write_batch(to_write)

    def _write_batch(self, plans: list[WritePlan]) -> None:
        """Write the files of a batch; failures are reported and leave their files unchanged."""
        entries = self.run.begin(
            [
                PlannedWrite(plan.photo.file_id, plan.target, plan.photo.caption or "")
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
            except (ShowtellError, OSError) as error:
                self._record_failure(plan, entry, error)
        return targets

    def _stage_copies(self, targets: list[_Target]) -> list[_StagedCopy]:
        """Write a verified copy beside each target, without those that fail."""
        results = self._embed(targets)
        copies = []
        for target in targets:
            try:
                if target.job is None:
                    copies.append(_stage_sidecar(target))
                else:
                    copies.append(_stage_photo(target, results[target.entry.id]))
            except (ShowtellError, OSError) as error:
                self._record_failure(target.plan, target.entry, error)
        return copies

    def _embed(self, targets: list[_Target]) -> dict[int, exiftool.EmbedResult]:
        """Run exiftool for the photos of a batch; return its results by journal entry id."""
        jobs = {target.entry.id: target.job for target in targets if target.job is not None}
        if not jobs:
            return {}
        assert self.program is not None
        assert self.work_folder is not None
        folder = self.work_folder / "batch"
        results = exiftool.embed_texts(self.program, folder, list(jobs.values()))
        return dict(zip(jobs, results, strict=True))

    def _replace(self, copy: _StagedCopy) -> bool:
        """Replace a target by its copy; return False if that fails."""
        try:
            replace_target(copy.replacement)
        except (ShowtellError, OSError) as error:
            self._record_failure(copy.plan, copy.prepared.entry, error)
            return False
        self.counts.sidecars += copy.plan.verdict == "sidecar"
        self.counts.embedded += copy.plan.verdict == "embed"
        return True

    def _record_failure(
        self, plan: WritePlan, entry: JournalEntry, error: ShowtellError | OSError
    ) -> None:
        """Count and report a file that cannot be written.

        After an error of the system the outcome is unknown: a network drive may have replaced the
        file and failed to say so. Raises MetadataError, to end the run, if no space is left.
        """
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
    job = _embed_job(data, plan.texts) if plan.verdict == "embed" else None
    return _Target(plan, entry, data, stamp, job)


def _embed_job(data: bytes, texts: dict[str, str]) -> exiftool.EmbedJob:
    container = parse_container(data)
    iptc = read_photo_metadata(data, container).iptc
    suffix = f".{container.format.lower()}" if container else ".bin"
    return exiftool.EmbedJob(data, suffix, texts, iptc.present and not iptc.utf8)


def _stage_sidecar(target: _Target) -> _StagedCopy:
    """Write a sidecar's new content beside it; undo restores the old content itself."""
    return _stage(target, set_fields(target.data, target.plan.texts), undo_data=target.data)


def _stage_photo(target: _Target, result: exiftool.EmbedResult) -> _StagedCopy:
    """Verify exiftool's result and write it beside the photo; undo restores it by a patch."""
    old, new = target.data, result.data
    if new is None:
        raise MetadataError(result.error)
    assert old is not None
    _verify_embedded(old, new, target.plan.texts)
    patch = make_patch(old, new)
    if apply_patch(patch, new) != old:
        raise MetadataError("undo could not restore it, so it is left alone")
    return _stage(target, new, undo_data=patch)


def _stage(target: _Target, new: bytes, undo_data: bytes | None) -> _StagedCopy:
    entry = target.entry
    old_hash = None if target.data is None else hash_bytes(target.data)
    prepared = PreparedWrite(entry, old_hash, hash_bytes(new), undo_data)
    replacement = write_copy(entry.temporary, entry.target, new, target.stamp)
    return _StagedCopy(target.plan, prepared, replacement)


def _verify_embedded(old: bytes, new: bytes, texts: dict[str, str]) -> None:
    """Raise MetadataError unless `new` is `old` with `texts` and has no other change."""
    before = parse_container(old)
    try:
        after = parse_container(new)
    except PhotoError as error:
        raise MetadataError(f"exiftool damaged its copy ({error})") from None
    if before is None or after is None or before.format != after.format:
        raise MetadataError("exiftool changed its format")
    if hash_image(old, before) != hash_image(new, after):
        raise MetadataError("exiftool changed its image data")
    kinds: tuple[SegmentKind, ...] = ("exif", "icc")
    for kind in kinds:
        if _joined_payloads(before, kind, old) != _joined_payloads(after, kind, new):
            raise MetadataError(f"exiftool changed its {kind.upper()} too")
    metadata = read_photo_metadata(new, after)
    for key, text in texts.items():
        if metadata.value(key) != text:
            raise MetadataError(f"exiftool did not write its {key} correctly")


def _joined_payloads(container: Container, kind: SegmentKind, data: bytes) -> bytes:
    return b"".join(container.payloads(kind, data))
