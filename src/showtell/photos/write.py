"""Write the catalogue's words where photographers' programs read them, and harm no photo.

A photo is replaced only by a copy that is whole on the disk and was verified: the same image
data, EXIF and colour profile byte by byte, and the new words read back. See `journal` for what a
killed run leaves behind (nothing) and `undo` for the way back.
"""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from showtell.errors import MetadataError, PhotoError, ShowtellError
from showtell.files.printable_names import printable
from showtell.photos.binary_patch import apply_patch, make_patch
from showtell.photos.catalogue.database import Catalogue
from showtell.photos.catalogue.journal import WORK_PREFIX, Change, Entry, Run, recover
from showtell.photos.catalogue.search import records
from showtell.photos.catalogue.writer_lock import only_writer
from showtell.photos.metadata import exiftool
from showtell.photos.metadata.container import Layout, read_layout
from showtell.photos.metadata.current_metadata import held_in_photo
from showtell.photos.metadata.image_hash import file_hash, image_hash
from showtell.photos.metadata.xmp import put_words
from showtell.photos.reading import read_whole
from showtell.photos.replace import (
    Replacement,
    Stamp,
    failure_line,
    put_in_place,
    stamp_of,
    write_copy,
)
from showtell.photos.walk import Report
from showtell.photos.write_plan import Plan, Writing, plan_photo

BATCH_SIZE = 16


@dataclass
class Written:
    """What a run has done so far: photos looked at, and what became of them."""

    looked_at: int = 0
    sidecars: int = 0
    embedded: int = 0
    same: int = 0
    person: int = 0
    failed: int = 0
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class _Old:
    """A target as it was read: its bytes (None: no such file) and the stamp of that moment."""

    data: bytes | None
    stamp: Stamp | None


@dataclass(frozen=True, slots=True)
class _Made:
    """A change whose copy is on the disk."""

    plan: Plan
    change: Change
    replacement: Replacement


def write(
    catalogue: Catalogue, writing: Writing, *, batch_size: int = BATCH_SIZE, report: Report
) -> Iterator[Written]:
    """Write words as `writing` says; yields the counts after each batch.

    What fails goes to `report`, and the others are done. Raises MetadataError where exiftool is
    needed and missing, or the disk is full; CatalogueError where another write is at work.
    """
    began = time.perf_counter()
    counts = Written()
    program = exiftool.find_exiftool() if writing.to == "embed" else ""
    with only_writer(catalogue.path):
        recover(catalogue)
        run = Run(catalogue)
        work = Path(tempfile.mkdtemp(prefix=WORK_PREFIX)) if program else None
        try:
            if work is not None:
                run.use_folder(work)
            photos = records(catalogue, writing.filters)
            while batch := list(islice(photos, batch_size)):
                plans = [plan_photo(catalogue, photo, writing) for photo in batch]
                counts.looked_at += len(plans)
                _count_others(plans, counts, report)
                chosen = [item for item in plans if item.verdict in ("sidecar", "embed")]
                if chosen:
                    _write_batch(run, chosen, program, work, counts, report)
                counts.seconds = time.perf_counter() - began
                yield counts
        except BaseException:
            recover(catalogue)  # what this process leaves open, it knows best itself
            raise
        finally:
            if work is not None:
                shutil.rmtree(work, ignore_errors=True)
        run.end()


def _count_others(plans: list[Plan], counts: Written, report: Report) -> None:
    for item in plans:
        counts.same += item.verdict == "same"
        counts.person += item.verdict == "person"
        if item.verdict == "failed":
            counts.failed += 1
            report(PhotoError(item.error))


def _write_batch(
    run: Run, plans: list[Plan], program: str, work: Path | None, counts: Written, report: Report
) -> None:
    entries = run.begin(
        [(item.photo.file, item.target, item.photo.caption or "") for item in plans]
    )
    old: list[_Old | ShowtellError] = [_read(item) for item in plans]
    new = _new_bytes(plans, old, program, work)
    made: list[_Made] = []
    failed: list[tuple[Entry, str]] = []
    for item, entry, was, data in zip(plans, entries, old, new, strict=True):
        try:
            if isinstance(was, ShowtellError):
                raise was
            if isinstance(data, ShowtellError):
                raise data
            made.append(_make(item, entry, was, data))
        except (ShowtellError, OSError) as error:
            _stop_if_full(error, item.target)
            failed.append((entry, failure_line(item.target, error)))
    run.ready([copy.change for copy in made])
    done = []
    for copy in made:
        try:
            put_in_place(copy.replacement)
        except (ShowtellError, OSError) as error:
            _stop_if_full(error, copy.plan.target)
            failed.append((copy.change.entry, failure_line(copy.plan.target, error)))
            continue
        done.append(copy.change.entry)
        counts.sidecars += copy.plan.verdict == "sidecar"
        counts.embedded += copy.plan.verdict == "embed"
    run.settle(done, [entry for entry, _ in failed])
    counts.failed += len(failed)
    for _, message in failed:
        report(PhotoError(message))


def _read(item: Plan) -> _Old | ShowtellError:
    stamp = None
    try:
        stamp = stamp_of(item.target)
        if stamp is None and item.verdict == "sidecar":
            return _Old(None, None)
        return _Old(read_whole(item.target)[0], stamp)
    except (ShowtellError, OSError) as error:
        return MetadataError(failure_line(item.target, error))


def _new_bytes(
    plans: list[Plan], old: list[_Old | ShowtellError], program: str, work: Path | None
) -> list[bytes | ShowtellError]:
    """Return each target's new bytes, or why there are none."""
    new: list[bytes | ShowtellError] = []
    jobs: list[tuple[int, exiftool.Job]] = []
    for place, (item, was) in enumerate(zip(plans, old, strict=True)):
        new.append(MetadataError("not written"))
        if isinstance(was, ShowtellError):
            new[place] = was
        elif item.verdict == "sidecar":
            try:
                new[place] = put_words(was.data, item.words)
            except MetadataError as error:
                new[place] = error
        else:
            data = was.data or b""
            layout = read_layout(data)
            iptc = held_in_photo(data, layout).iptc
            suffix = f".{layout.format.lower()}" if layout else ".bin"
            old_iptc = iptc.present and not iptc.utf8
            jobs.append((place, exiftool.Job(data, suffix, item.words, old_iptc)))
    if jobs and work is not None:
        results = exiftool.embed(program, work / "batch", [job for _, job in jobs])
        for (place, _), result in zip(jobs, results, strict=True):
            new[place] = MetadataError(result) if isinstance(result, str) else result
    return new


def _make(item: Plan, entry: Entry, was: _Old, data: bytes) -> _Made:
    """Verify the new bytes and put them on the disk beside the target."""
    before = was.data
    if item.verdict == "embed":
        assert before is not None
        _verify(before, data, item.words)
        before = make_patch(was.data or b"", data)
        if apply_patch(before, data) != was.data:
            raise MetadataError("could not be brought back again, so it is left alone")
    before_hash = None if was.data is None else file_hash(was.data)
    change = Change(entry, before_hash, file_hash(data), before)
    return _Made(item, change, write_copy(entry.temporary, entry.target, data, was.stamp))


def _verify(old: bytes, new: bytes, words: dict[str, str]) -> None:
    """Raise MetadataError unless `new` is `old` with other words, and nothing else."""
    before, after = read_layout(old), read_layout(new)
    if before is None or after is None or before.format != after.format:
        raise MetadataError("exiftool made something else of it")
    if image_hash(old, before) != image_hash(new, after):
        raise MetadataError("exiftool changed its image data")
    for kind in ("exif", "icc"):
        if _all(before, kind, old) != _all(after, kind, new):
            raise MetadataError(f"exiftool changed its {kind.upper()} too")
    held = held_in_photo(new, after)
    for key, text in words.items():
        if held.value(key) != text:
            raise MetadataError(f"exiftool did not write its {key} as it was given")


def _all(layout: Layout, kind: str, data: bytes) -> bytes:
    return b"".join(layout.payloads(kind, data))  # type: ignore[arg-type]


def _stop_if_full(error: Exception, target: Path) -> None:
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        raise MetadataError(
            f"{printable(os.fspath(target))}: the disk is full; nothing is lost, and what was"
            " written before stays: make room and run it again"
        ) from error
