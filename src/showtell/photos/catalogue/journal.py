"""The journal of what was written, kept in the catalogue: for undo, and for runs that were killed.

Each write goes through states, and each state is on the disk before the next step is taken:
`begun` (a temporary file may exist), `ready` (the copy is whole; it may have taken its place) and
`done`. Undo goes from `done` over `undoing` to `undone`, or to `kept` where a file was changed
since and is left alone. `recover` looks at the files themselves to find out how far a killed run
came.
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
class Entry:
    """One write: its number, the photo's file, what is written, and where it is made."""

    number: int
    file: int
    target: Path
    temporary: Path


@dataclass(frozen=True, slots=True)
class Change:
    """A write that is ready: hashes of the old and new bytes, and what makes the old of the new.

    `before_hash` is None where there was no such file.
    """

    entry: Entry
    before_hash: bytes | None
    after_hash: bytes
    before: bytes | None


class Run:
    """A run of writes; makes its entries and moves them from state to state."""

    def __init__(self, catalogue: Catalogue) -> None:
        self.catalogue = catalogue
        self.token = secrets.token_hex(4)
        with catalogue.transaction(durable=True):
            self.number = int(
                catalogue.execute(
                    "INSERT INTO runs (token, began) VALUES (?, ?)", (self.token, now())
                ).lastrowid
                or 0
            )

    def use_folder(self, folder: Path) -> None:
        """Note a folder for exiftool's work, so that it goes even where this process is killed."""
        with self.catalogue.transaction():
            self.catalogue.execute(
                "UPDATE runs SET work = ? WHERE id = ?", (os.fsencode(folder), self.number)
            )

    def begin(self, writes: Sequence[tuple[int, Path, str]]) -> list[Entry]:
        """Enter a batch of writes: file, target, words."""
        entries = []
        with self.catalogue.transaction(durable=True):
            for file, target, words in writes:
                cursor = self.catalogue.execute(
                    "INSERT INTO writes (run_id, file_id, path, state, words)"
                    " VALUES (?, ?, ?, 'begun', ?)",
                    (self.number, file, os.fsencode(target), words),
                )
                number = int(cursor.lastrowid or 0)
                entries.append(
                    Entry(number, file, target, temporary_of(target, self.token, number))
                )
        return entries

    def ready(self, changes: Sequence[Change]) -> None:
        """Enter that copies are whole and about to take their places."""
        with self.catalogue.transaction(durable=True):
            self.catalogue.many(
                "UPDATE writes SET state = 'ready', before_hash = ?, after_hash = ?, before = ?"
                " WHERE id = ?",
                ((c.before_hash, c.after_hash, c.before, c.entry.number) for c in changes),
            )

    def settle(self, done: Sequence[Entry], dropped: Sequence[Entry]) -> None:
        """Enter what took its place and what did not."""
        with self.catalogue.transaction(durable=True):
            for entry in done:
                self.catalogue.execute(
                    "UPDATE writes SET state = 'done' WHERE id = ?", (entry.number,)
                )
                renew_stamp(self.catalogue, entry.file, entry.target)
            self.catalogue.many(
                "DELETE FROM writes WHERE id = ?", ((entry.number,) for entry in dropped)
            )

    def end(self) -> None:
        """Close the run; one that wrote nothing is forgotten."""
        with self.catalogue.transaction(durable=True):
            self.catalogue.execute(
                "UPDATE runs SET ended = ?, work = NULL WHERE id = ?", (now(), self.number)
            )
            _forget_empty(self.catalogue)


def temporary_of(target: Path, token: str, number: int) -> Path:
    """Return where a new version of `target` is made: beside it, hidden, of a name of our own."""
    return target.with_name(f"{_PREFIX}{token}-{number}{_SUFFIX}")


def hash_of(path: Path) -> bytes | None:
    """Return the hash of a file's bytes, None where there is no file."""
    try:
        return file_hash(path.read_bytes())
    except FileNotFoundError:
        return None


def renew_stamp(catalogue: Catalogue, file: int, target: Path) -> None:
    """Note a photo's new size and time where it was written itself, so it counts as unchanged."""
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
    """Clean up after runs that were killed; returns how many writes they had open.

    Called with the writer's lock held, so that no run is alive.
    """
    opened = list(
        catalogue.rows(
            """
            SELECT writes.id, file_id, path, state, before_hash, after_hash, token
            FROM writes JOIN runs ON runs.id = run_id WHERE state IN ('begun', 'ready', 'undoing')
            """
        )
    )
    works = [row[0] for row in catalogue.rows("SELECT work FROM runs WHERE work IS NOT NULL")]
    for work in works:
        folder = os.fsdecode(work)
        if os.path.basename(folder).startswith(WORK_PREFIX):  # noqa: PTH119
            shutil.rmtree(folder, ignore_errors=True)
    if not opened and not works:
        return 0
    with catalogue.transaction(durable=True):
        for number, file, place, state, before, after, token in opened:
            target = Path(os.fsdecode(place))
            with contextlib.suppress(OSError):
                temporary_of(target, token, number).unlink()
            _settle_open(catalogue, number, file, target, state, before, after)
        catalogue.execute("UPDATE runs SET ended = ? WHERE ended IS NULL", (now(),))
        catalogue.execute("UPDATE runs SET work = NULL")
        _forget_empty(catalogue)
    return len(opened)


def _settle_open(
    catalogue: Catalogue,
    number: int,
    file: int,
    target: Path,
    state: str,
    before: bytes | None,
    after: bytes | None,
) -> None:
    if state == "begun":
        catalogue.execute("DELETE FROM writes WHERE id = ?", (number,))
        return
    try:
        held = hash_of(target)
    except OSError:  # cannot be read now: as good as written, so that undo looks at it again
        held = after
    if state == "undoing":
        settled = "undone" if held == before else "done"
        catalogue.execute("UPDATE writes SET state = ? WHERE id = ?", (settled, number))
    elif held == after:
        catalogue.execute("UPDATE writes SET state = 'done' WHERE id = ?", (number,))
    else:
        catalogue.execute("DELETE FROM writes WHERE id = ?", (number,))
    renew_stamp(catalogue, file, target)


def _forget_empty(catalogue: Catalogue) -> None:
    catalogue.execute(
        "DELETE FROM runs WHERE NOT EXISTS (SELECT 1 FROM writes WHERE run_id = runs.id)"
    )
