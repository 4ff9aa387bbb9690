"""The journal of writes, stored in the catalogue: for undo, and to clean up after killed runs.

Each state of a write is on the disk before the next step begins: `begun` (a temporary file may
exist), `ready` (the copy is complete, and may have replaced the target) and `done`. Undo changes
`done` to `undoing` and then to `undone`, or to `kept` if the file has changed since and is left
alone; if it cannot be restored now, it stays `done`. After a killed run, `recover` compares the
files with the journal and settles the writes that are still open.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from showtell.files.regular_files import read_regular
from showtell.photos.catalogue.database import Catalogue, now
from showtell.photos.catalogue.file_status import FileStatus
from showtell.photos.metadata.image_hash import hash_bytes
from showtell.photos.metadata.sidecar import SIDECAR_SUFFIX

_TEMPORARY_PREFIX, _TEMPORARY_SUFFIX = ".showtell-", ".tmp"
_MAX_FILE_SIZE = 4 << 30  # bytes; larger files are never written


@dataclass(frozen=True, slots=True)
class WrittenKeywords:
    """The keywords in a file that showtell wrote, and those that a person has removed since."""

    words: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PlannedWrite:
    """A write to begin: the id of the photo's file, the file to write, caption and keywords.

    `keywords` is None if the write does not change them.
    """

    file_id: int
    target: Path
    caption: str
    keywords: WrittenKeywords | None = None


@dataclass(frozen=True, slots=True)
class JournalEntry:
    """A write in the journal: `temporary` is the copy that replaces `target`."""

    id: int
    file_id: int
    target: Path
    temporary: Path


@dataclass(frozen=True, slots=True)
class PreparedWrite:
    """A write whose copy is complete, with the hashes of the old and new bytes.

    `undo_data` restores the old bytes: it is those of a sidecar, or a patch for a photo.
    `before_hash` and `undo_data` are None if the target does not exist.
    """

    entry: JournalEntry
    before_hash: bytes | None
    after_hash: bytes
    undo_data: bytes | None


@dataclass(frozen=True, slots=True)
class _OpenWrite:
    """A write that a killed run left open, or whose outcome is unknown after an I/O error.

    `is_gone` says whether a scan has found the photo missing.
    """

    entry: JournalEntry
    state: str
    before_hash: bytes | None
    after_hash: bytes | None
    is_gone: bool


class WriteRun:
    """A run of writes: creates journal entries and advances their states."""

    def __init__(self, catalogue: Catalogue) -> None:
        self.catalogue = catalogue
        self.token = secrets.token_hex(4)
        with catalogue.transaction(durable=True):
            self.id = int(
                catalogue.execute(
                    "INSERT INTO runs (token, started) VALUES (?, ?)", (self.token, now())
                ).lastrowid
                or 0
            )

    def begin(self, writes: Sequence[PlannedWrite]) -> list[JournalEntry]:
        """Record the writes of a batch before the first temporary file is created."""
        entries = []
        with self.catalogue.transaction(durable=True):
            for write in writes:
                cursor = self.catalogue.execute(
                    "INSERT INTO writes (run_id, file_id, path, state, caption, keywords)"
                    " VALUES (?, ?, ?, 'begun', ?, ?)",
                    (
                        self.id,
                        write.file_id,
                        os.fsencode(write.target),
                        write.caption,
                        write.keywords and json.dumps(dataclasses.asdict(write.keywords)),
                    ),
                )
                write_id = int(cursor.lastrowid or 0)
                temporary = temporary_path(write.target, self.token, write_id)
                entries.append(JournalEntry(write_id, write.file_id, write.target, temporary))
        return entries

    def mark_ready(self, prepared: Sequence[PreparedWrite]) -> None:
        """Record that copies are complete and about to replace their targets."""
        with self.catalogue.transaction(durable=True):
            self.catalogue.execute_many(
                "UPDATE writes SET state = 'ready', before_hash = ?, after_hash = ?, before = ?"
                " WHERE id = ?",
                (
                    (write.before_hash, write.after_hash, write.undo_data, write.entry.id)
                    for write in prepared
                ),
            )

    def settle(self, done: Sequence[JournalEntry], failed: Sequence[JournalEntry]) -> None:
        """Record which copies replaced their targets, and delete the writes that failed."""
        with self.catalogue.transaction(durable=True):
            for entry in done:
                self.catalogue.execute("UPDATE writes SET state = 'done' WHERE id = ?", (entry.id,))
                update_file_stamp(self.catalogue, entry.file_id, entry.target)
            self.catalogue.execute_many(
                "DELETE FROM writes WHERE id = ?", ((entry.id,) for entry in failed)
            )

    def end(self) -> None:
        """End the run, and delete it if it wrote nothing."""
        with self.catalogue.transaction(durable=True):
            self.catalogue.execute("UPDATE runs SET ended = ? WHERE id = ?", (now(), self.id))
            _delete_empty_runs(self.catalogue)


def written_keywords(catalogue: Catalogue, file_id: int) -> tuple[WrittenKeywords, WrittenKeywords]:
    """Return the keywords that showtell has written into a photo, and into its sidecar.

    A write that was undone does not count. One that undo left alone does: the file has changed
    since, but may still contain the keywords.
    """
    in_photo = in_sidecar = WrittenKeywords()
    rows = catalogue.rows(
        "SELECT path, keywords FROM writes WHERE file_id = ? AND keywords IS NOT NULL"
        " AND state IN ('done', 'kept') ORDER BY id",
        (file_id,),
    )
    for path, stored in rows:
        values = json.loads(stored)
        written = WrittenKeywords(tuple(values["words"]), tuple(values["removed"]))
        if os.fsdecode(path).lower().endswith(SIDECAR_SUFFIX):
            in_sidecar = written
        else:
            in_photo = written
    return in_photo, in_sidecar


def temporary_path(target: Path, token: str, write_id: int) -> Path:
    """Return the path of the copy that replaces `target`: a hidden file beside it."""
    return target.with_name(f"{_TEMPORARY_PREFIX}{token}-{write_id}{_TEMPORARY_SUFFIX}")


def hash_file(path: Path) -> bytes | None:
    """Hash a file as `hash_bytes` does; return None if there is no such file."""
    try:
        return hash_bytes(read_regular(path, _MAX_FILE_SIZE))
    except FileNotFoundError:
        return None


def may_be_disconnected(target: Path) -> bool:
    """Return whether the drive of a missing file may be away: its folder is missing or empty."""
    try:
        with os.scandir(target.parent) as entries:
            return next(entries, None) is None
    except OSError:
        return True


def update_file_stamp(catalogue: Catalogue, file_id: int, target: Path) -> None:
    """Store the new size and date of a photo that was written, so the next scan skips it.

    Does nothing if `target` is the photo's sidecar.
    """
    row = catalogue.row(
        "SELECT path, name FROM files JOIN folders ON folders.id = folder_id WHERE files.id = ?",
        (file_id,),
    )
    if row is None or os.path.realpath(os.path.join(*row)) != os.fsencode(target):  # noqa: PTH118
        return
    with contextlib.suppress(OSError):
        # NULL stays: the scan has not read it since the column exists
        catalogue.execute(
            "UPDATE files SET size = ?, mtime_ns = ?,"
            " ctime_ns = iif(ctime_ns IS NULL, NULL, ?), access = ? WHERE id = ?",
            (*FileStatus.of(target.stat()), file_id),
        )


def recover(catalogue: Catalogue) -> int:
    """Clean up after killed runs and return how many writes they left open.

    Call it while holding the writer's lock, so that no other run is active.
    """
    open_writes = _open_writes(catalogue)
    if not open_writes:
        return 0
    with catalogue.transaction(durable=True):
        for write in open_writes:
            _settle_open(catalogue, write)
        catalogue.execute("UPDATE runs SET ended = ? WHERE ended IS NULL", (now(),))
        _delete_empty_runs(catalogue)
    return len(open_writes)


def _open_writes(catalogue: Catalogue) -> list[_OpenWrite]:
    rows = catalogue.rows(
        """
        SELECT writes.id, file_id, path, token, state, before_hash, after_hash,
            missing_since NOT NULL
        FROM writes JOIN runs ON runs.id = run_id JOIN files ON files.id = file_id
        WHERE state IN ('begun', 'ready', 'undoing')
        """
    )
    writes = []
    for write_id, file_id, encoded_path, token, *outcome in rows:
        target = Path(os.fsdecode(encoded_path))
        entry = JournalEntry(write_id, file_id, target, temporary_path(target, token, write_id))
        writes.append(_OpenWrite(entry, *outcome))
    return writes


def _settle_open(catalogue: Catalogue, write: _OpenWrite) -> None:
    """Remove a write's temporary file, and set the write to the state that its target is in.

    A write that was not finished stays open if its temporary file cannot be removed now.
    """
    write_id, target = write.entry.id, write.entry.target
    exists = os.path.exists(target)  # noqa: PTH110 (Path raises without permission)
    is_disconnected = not write.is_gone and not exists and may_be_disconnected(target)
    is_removed = not is_disconnected
    try:
        write.entry.temporary.unlink(missing_ok=True)
        current_hash = None if write.state == "begun" else hash_file(target)
    except OSError:
        is_removed = False
        current_hash = write.after_hash
    if is_disconnected:  # treat an unreadable file as written, so that undo tries again
        current_hash = write.after_hash
    if write.state == "undoing":
        state = "undone" if current_hash == write.before_hash else "done"
        catalogue.execute("UPDATE writes SET state = ? WHERE id = ?", (state, write_id))
    elif write.state == "ready" and current_hash == write.after_hash:
        catalogue.execute("UPDATE writes SET state = 'done' WHERE id = ?", (write_id,))
    elif is_removed:
        catalogue.execute("DELETE FROM writes WHERE id = ?", (write_id,))
    update_file_stamp(catalogue, write.entry.file_id, target)


def _delete_empty_runs(catalogue: Catalogue) -> None:
    catalogue.execute(
        "DELETE FROM runs WHERE NOT EXISTS (SELECT 1 FROM writes WHERE run_id = runs.id)"
    )
