"""The journal of writes, stored in the catalogue: for undo, and to clean up after killed runs.

Each write has a state, and a state is on the disk before the next step begins: `begun` (a
temporary file may exist), `ready` (the copy is complete, and may have replaced the target) and
`done`. Undo changes `done` to `undoing` and then to `undone`, or to `kept` if the file has changed
since and is left alone. `recover` compares the files with the journal to settle what a killed run
left open.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from showtell.photos.catalogue.database import Catalogue, now
from showtell.photos.metadata.image_hash import file_hash

_PREFIX, _SUFFIX = ".showtell-", ".tmp"
WORK_PREFIX = "showtell-exiftool-"


@dataclass(frozen=True, slots=True)
class JournalEntry:
    """One write: its number, the photo's file in the catalogue, and the paths that it uses."""

    number: int
    file: int
    target: Path
    temporary: Path


@dataclass(frozen=True, slots=True)
class PreparedWrite:
    """A write whose copy is complete, with the hashes of the old and new bytes.

    `before` restores the old bytes: the bytes of a sidecar, or a patch for a photo. `before_hash`
    and `before` are None if the target does not exist.
    """

    entry: JournalEntry
    before_hash: bytes | None
    after_hash: bytes
    before: bytes | None


@dataclass(frozen=True, slots=True)
class _OpenWrite:
    """A write that a killed run left open."""

    entry: JournalEntry
    state: str
    before_hash: bytes | None
    after_hash: bytes | None


class WriteRun:
    """A run of writes: creates journal entries and advances their states."""

    def __init__(self, catalogue: Catalogue) -> None:
        self.catalogue = catalogue
        self.token = secrets.token_hex(4)
        with catalogue.transaction(durable=True):
            self.number = int(
                catalogue.execute(
                    "INSERT INTO runs (token, started) VALUES (?, ?)", (self.token, now())
                ).lastrowid
                or 0
            )

    def use_folder(self, folder: Path) -> None:
        """Record exiftool's work folder, so that it is removed even if this process is killed."""
        with self.catalogue.transaction():
            self.catalogue.execute(
                "UPDATE runs SET work = ? WHERE id = ?", (os.fsencode(folder), self.number)
            )

    def begin(self, writes: Sequence[tuple[int, Path, str]]) -> list[JournalEntry]:
        """Record the writes of a batch: file, target and caption of each."""
        entries = []
        with self.catalogue.transaction(durable=True):
            for file, target, caption in writes:
                cursor = self.catalogue.execute(
                    "INSERT INTO writes (run_id, file_id, path, state, caption)"
                    " VALUES (?, ?, ?, 'begun', ?)",
                    (self.number, file, os.fsencode(target), caption),
                )
                number = int(cursor.lastrowid or 0)
                temporary = temporary_path(target, self.token, number)
                entries.append(JournalEntry(number, file, target, temporary))
        return entries

    def ready(self, prepared: Sequence[PreparedWrite]) -> None:
        """Record that copies are complete and about to replace their targets."""
        with self.catalogue.transaction(durable=True):
            self.catalogue.execute_many(
                "UPDATE writes SET state = 'ready', before_hash = ?, after_hash = ?, before = ?"
                " WHERE id = ?",
                ((p.before_hash, p.after_hash, p.before, p.entry.number) for p in prepared),
            )

    def settle(self, done: Sequence[JournalEntry], failed: Sequence[JournalEntry]) -> None:
        """Record which copies replaced their targets, and forget the writes that failed."""
        with self.catalogue.transaction(durable=True):
            for entry in done:
                self.catalogue.execute(
                    "UPDATE writes SET state = 'done' WHERE id = ?", (entry.number,)
                )
                update_file_stamp(self.catalogue, entry.file, entry.target)
            self.catalogue.execute_many(
                "DELETE FROM writes WHERE id = ?", ((entry.number,) for entry in failed)
            )

    def end(self) -> None:
        """End the run, and forget it if it wrote nothing."""
        with self.catalogue.transaction(durable=True):
            self.catalogue.execute(
                "UPDATE runs SET ended = ?, work = NULL WHERE id = ?", (now(), self.number)
            )
            _delete_empty_runs(self.catalogue)


def temporary_path(target: Path, token: str, number: int) -> Path:
    """Return the path of the copy that replaces `target`: a hidden file beside it."""
    return target.with_name(f"{_PREFIX}{token}-{number}{_SUFFIX}")


def hash_file(path: Path) -> bytes | None:
    """Return the hash of a file's bytes, or None if there is no such file."""
    try:
        return file_hash(path.read_bytes())
    except FileNotFoundError:
        return None


def update_file_stamp(catalogue: Catalogue, file: int, target: Path) -> None:
    """Store the new size and date of a photo that was written, so the next scan skips it.

    Does nothing if `target` is the photo's sidecar.
    """
    row = catalogue.row(
        "SELECT path, name FROM files JOIN folders ON folders.id = folder_id WHERE files.id = ?",
        (file,),
    )
    if row is None or os.path.realpath(os.path.join(*row)) != os.fsencode(target):  # noqa: PTH118
        return
    with contextlib.suppress(OSError):
        status = target.stat()
        catalogue.execute(
            "UPDATE files SET size = ?, mtime_ns = ? WHERE id = ?",
            (status.st_size, status.st_mtime_ns, file),
        )


def recover(catalogue: Catalogue) -> int:
    """Clean up after killed runs and return how many writes they left open.

    Call it while holding the writer's lock, so that no other run is active.
    """
    open_writes = _open_writes(catalogue)
    work_folders = [row[0] for row in catalogue.rows("SELECT work FROM runs WHERE work NOT NULL")]
    for encoded in work_folders:
        folder = os.fsdecode(encoded)
        if os.path.basename(folder).startswith(WORK_PREFIX):  # noqa: PTH119
            shutil.rmtree(folder, ignore_errors=True)
    if not open_writes and not work_folders:
        return 0
    with catalogue.transaction(durable=True):
        for write in open_writes:
            with contextlib.suppress(OSError):
                write.entry.temporary.unlink()
            _settle_open(catalogue, write)
        catalogue.execute("UPDATE runs SET ended = ? WHERE ended IS NULL", (now(),))
        catalogue.execute("UPDATE runs SET work = NULL")
        _delete_empty_runs(catalogue)
    return len(open_writes)


def _open_writes(catalogue: Catalogue) -> list[_OpenWrite]:
    rows = catalogue.rows(
        """
        SELECT writes.id, file_id, path, state, before_hash, after_hash, token
        FROM writes JOIN runs ON runs.id = run_id WHERE state IN ('begun', 'ready', 'undoing')
        """
    )
    writes = []
    for number, file, encoded_path, state, before_hash, after_hash, token in rows:
        target = Path(os.fsdecode(encoded_path))
        entry = JournalEntry(number, file, target, temporary_path(target, token, number))
        writes.append(_OpenWrite(entry, state, before_hash, after_hash))
    return writes


def _settle_open(catalogue: Catalogue, write: _OpenWrite) -> None:
    """Set an open write to the state that its target is in."""
    number = write.entry.number
    if write.state == "begun":
        catalogue.execute("DELETE FROM writes WHERE id = ?", (number,))
        return
    try:
        current_hash = hash_file(write.entry.target)
    except OSError:  # unreadable now: treat it as written, so that undo tries again
        current_hash = write.after_hash
    if write.state == "undoing":
        state = "undone" if current_hash == write.before_hash else "done"
        catalogue.execute("UPDATE writes SET state = ? WHERE id = ?", (state, number))
    elif current_hash == write.after_hash:
        catalogue.execute("UPDATE writes SET state = 'done' WHERE id = ?", (number,))
    else:
        catalogue.execute("DELETE FROM writes WHERE id = ?", (number,))
    update_file_stamp(catalogue, write.entry.file, write.entry.target)


def _delete_empty_runs(catalogue: Catalogue) -> None:
    catalogue.execute(
        "DELETE FROM runs WHERE NOT EXISTS (SELECT 1 FROM writes WHERE run_id = runs.id)"
    )
