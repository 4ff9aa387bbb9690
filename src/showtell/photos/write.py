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

from showtell.errors import MetadataError, PhotoError, ShowtellError
from showtell.files.printable_names import printable
from showtell.photos.binary_patch import apply_patch, make_patch
from showtell.photos.catalogue.database import Catalogue
from showtell.photos.catalogue.journal import (
    WORK_PREFIX,
    JournalEntry,
    PreparedWrite,
    WriteRun,
    recover,
)
from showtell.photos.catalogue.records import photo_records
from showtell.photos.catalogue.writer_lock import only_writer
from showtell.photos.metadata import exiftool
from showtell.photos.metadata.container import Container, SegmentKind, parse_container
from showtell.photos.metadata.current_metadata import read_photo_metadata
from showtell.photos.metadata.image_hash import file_hash, image_hash
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
from showtell.photos.walk import Report
from showtell.photos.write_plan import WriteOptions, WritePlan, plan_photo

_BATCH_SIZE = 16


@dataclass
class WriteCounts:
    """Counts of a run so far: photos examined, and what happened to them."""

    examined: int = 0
    sidecars: int = 0
    embedded: int = 0
    up_to_date: int = 0
    user_edited: int = 0
    failed: int = 0
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class _Original:
    """A target's bytes and stamp when it was read; both None if it does not exist."""

    data: bytes | None
    stamp: FileStamp | None


@dataclass(frozen=True, slots=True)
class _Copy:
    """A verified copy on the disk, ready to replace its target."""

    plan: WritePlan
    prepared: PreparedWrite
    replacement: Replacement


def write_captions(
    catalogue: Catalogue, options: WriteOptions, *, batch_size: int = _BATCH_SIZE, report: Report
) -> Iterator[WriteCounts]:
    """Write captions as `options` say; yield the counts after each batch.

    Failures go to `report`, and the other photos are written. Raises MetadataError if exiftool is
    needed and missing, or the disk is full; CatalogueError if another write is running.
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
    report: Report
    counts: WriteCounts = field(default_factory=WriteCounts)
    work_folder: Path | None = None

    def make_work_folder(self) -> None:
        self.work_folder = Path(tempfile.mkdtemp(prefix=WORK_PREFIX))
        self.run.use_folder(self.work_folder)

    def remove_work_folder(self) -> None:
        if self.work_folder is not None:
            shutil.rmtree(self.work_folder, ignore_errors=True)

    def write(self, plans: list[WritePlan]) -> None:
        """Write a batch, and count the photos that need no writing."""
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
        entries = self.run.begin(
            [(plan.photo.file, plan.target, plan.photo.caption or "") for plan in plans]
        )
        copies, failures = self._write_copies(plans, entries)
        self.run.ready([copy.prepared for copy in copies])
        done = []
        for copy in copies:
            try:
                replace_target(copy.replacement)
            except (ShowtellError, OSError) as error:
                _raise_if_full(error, copy.plan.target)
                failures.append((copy.prepared.entry, failure_message(copy.plan.target, error)))
                continue
            done.append(copy.prepared.entry)
            self.counts.sidecars += copy.plan.verdict == "sidecar"
            self.counts.embedded += copy.plan.verdict == "embed"
        self.run.settle(done, [entry for entry, _ in failures])
        self.counts.failed += len(failures)
        for _, message in failures:
            self.report(PhotoError(message))

    def _write_copies(
        self, plans: list[WritePlan], entries: list[JournalEntry]
    ) -> tuple[list[_Copy], list[tuple[JournalEntry, str]]]:
        """Write a verified copy for each plan; return the copies and the failures."""
        originals = [_read_original(plan) for plan in plans]
        new_contents = self._new_contents(plans, originals)
        copies: list[_Copy] = []
        failures: list[tuple[JournalEntry, str]] = []
        for plan, entry, original, new in zip(plans, entries, originals, new_contents, strict=True):
            try:
                if isinstance(original, ShowtellError):
                    raise original
                if isinstance(new, ShowtellError):
                    raise new
                copies.append(_write_copy(plan, entry, original, new))
            except (ShowtellError, OSError) as error:
                _raise_if_full(error, plan.target)
                failures.append((entry, failure_message(plan.target, error)))
        return copies, failures

    def _new_contents(
        self, plans: list[WritePlan], originals: Sequence[_Original | ShowtellError]
    ) -> list[bytes | ShowtellError]:
        """Return each target's new bytes, or the error that prevents them."""
        contents: list[bytes | ShowtellError] = []
        jobs: dict[int, exiftool.EmbedJob] = {}  # by index
        for index, (plan, original) in enumerate(zip(plans, originals, strict=True)):
            if isinstance(original, ShowtellError):
                contents.append(original)
            elif plan.verdict == "sidecar":
                contents.append(_new_sidecar(original.data, plan.texts))
            else:
                contents.append(MetadataError("not written"))  # until exiftool has run
                jobs[index] = _embed_job(original.data or b"", plan.texts)
        if jobs and self.program is not None and self.work_folder is not None:
            results = exiftool.embed_texts(
                self.program, self.work_folder / "batch", list(jobs.values())
            )
            for index, result in zip(jobs, results, strict=True):
                contents[index] = MetadataError(result) if isinstance(result, str) else result
        return contents


def _read_original(plan: WritePlan) -> _Original | ShowtellError:
    try:
        stamp = file_stamp(plan.target)
        if stamp is None and plan.verdict == "sidecar":
            return _Original(None, None)
        return _Original(read_stable_file(plan.target)[0], stamp)
    except (ShowtellError, OSError) as error:
        return MetadataError(failure_message(plan.target, error))


def _new_sidecar(packet: bytes | None, texts: dict[str, str]) -> bytes | ShowtellError:
    try:
        return set_fields(packet, texts)
    except MetadataError as error:
        return error


def _embed_job(data: bytes, texts: dict[str, str]) -> exiftool.EmbedJob:
    container = parse_container(data)
    iptc = read_photo_metadata(data, container).iptc
    suffix = f".{container.format.lower()}" if container else ".bin"
    return exiftool.EmbedJob(data, suffix, texts, iptc.present and not iptc.utf8)


def _write_copy(plan: WritePlan, entry: JournalEntry, original: _Original, new: bytes) -> _Copy:
    """Verify a target's new bytes and write them to a copy beside it."""
    old = before = original.data
    if plan.verdict == "embed":
        assert old is not None
        _verify_embedded(old, new, plan.texts)
        before = make_patch(old, new)
        if apply_patch(before, new) != old:
            raise MetadataError("undo could not restore it, so it is left alone")
    before_hash = None if old is None else file_hash(old)
    prepared = PreparedWrite(entry, before_hash, file_hash(new), before)
    return _Copy(plan, prepared, write_copy(entry.temporary, entry.target, new, original.stamp))


def _verify_embedded(old: bytes, new: bytes, texts: dict[str, str]) -> None:
    """Raise MetadataError unless `new` is `old` with `texts`, and nothing else has changed."""
    before = parse_container(old)
    try:
        after = parse_container(new)
    except PhotoError as error:
        raise MetadataError(f"exiftool damaged its copy ({error})") from None
    if before is None or after is None or before.format != after.format:
        raise MetadataError("exiftool changed its format")
    if image_hash(old, before) != image_hash(new, after):
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


def _raise_if_full(error: Exception, target: Path) -> None:
    """Raise MetadataError if an error means that the disk is full, to end the run."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        raise MetadataError(
            f"{printable(os.fspath(target))}: the disk is full. No data is lost:"
            " free some space and run the command again"
        ) from error
