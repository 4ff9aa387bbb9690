"""The catalogue: one SQLite file, opened, brought up to date, and its troubles put into words."""

from __future__ import annotations

import contextlib
import datetime
import os
import sqlite3
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from showtell.errors import CatalogueError
from showtell.files.printable_names import printable
from showtell.photos.catalogue.schema import APPLICATION_ID, MIGRATIONS

WAIT = 30.0  # seconds for another process to finish its transaction
Parameters = Sequence[object] | dict[str, object]
_INSTEAD = (
    "move it away and scan again, or restore a copy; words already written stay with the photos"
)


class Catalogue:
    """An open catalogue. Several processes may use one file at once; close it when done.

    Raises CatalogueError from every method where the file is missing (unless `create`), locked,
    damaged, of another program, or from a newer showtell.
    """

    def __init__(self, path: Path, *, create: bool = False, any_thread: bool = False) -> None:
        self.path = path
        self.shown = printable(os.fspath(path))
        if not path.exists():
            if not create:
                raise CatalogueError(
                    f"{self.shown}: no catalogue yet: showtell photos scan DIR makes one"
                )
            _make_folder(path, self.shown)
        elif not path.is_file():
            raise CatalogueError(f"{self.shown}: not a file: a catalogue is a file of its own")
        with self._translated():
            self._connection = sqlite3.connect(
                path, timeout=WAIT, isolation_level=None, check_same_thread=not any_thread
            )
        try:
            with self._translated():
                self._prepare()
        except BaseException:
            self._connection.close()
            raise

    def __enter__(self) -> Catalogue:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; what was committed is kept."""
        self._connection.close()

    @contextlib.contextmanager
    def transaction(self, *, durable: bool = False) -> Iterator[None]:
        """Do all of the block or nothing of it; `durable` outlives a power cut, not only a kill."""
        if durable:
            self.execute("PRAGMA synchronous = FULL")
        self.execute("BEGIN IMMEDIATE")
        try:
            yield
            self.execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:
                with contextlib.suppress(sqlite3.Error):
                    self._connection.execute("ROLLBACK")
            raise
        finally:
            if durable:
                with contextlib.suppress(sqlite3.Error):
                    self._connection.execute("PRAGMA synchronous = NORMAL")

    def execute(self, sql: str, parameters: Parameters = ()) -> sqlite3.Cursor:
        """Run one statement; its cursor tells `lastrowid` and `rowcount`."""
        with self._translated():
            return self._connection.execute(sql, parameters)

    def many(self, sql: str, rows: Iterable[Parameters]) -> int:
        """Run one statement for each row of parameters; returns how many rows it changed."""
        with self._translated():
            return self._connection.executemany(sql, rows).rowcount

    def rows(self, sql: str, parameters: Parameters = ()) -> Iterator[tuple[Any, ...]]:
        """Yield a query's rows as they are read."""
        with self._translated():
            cursor = self._connection.execute(sql, parameters)
        while True:
            with self._translated():
                found = cursor.fetchmany(256)
            if not found:
                return
            yield from found

    def row(self, sql: str, parameters: Parameters = ()) -> tuple[Any, ...] | None:
        """Return a query's first row, or None."""
        with self._translated():
            found: tuple[Any, ...] | None = self._connection.execute(sql, parameters).fetchone()
        return found

    def value(self, sql: str, parameters: Parameters = ()) -> Any:
        """Return the first column of a query's first row, or None."""
        found = self.row(sql, parameters)
        return None if found is None else found[0]

    def is_whole(self) -> bool:
        """Check the whole file, as SQLite does: structure, indexes, references, search index."""
        try:
            good = self.value("PRAGMA integrity_check") == "ok"
            self.execute("INSERT INTO search (search) VALUES ('integrity-check')")
            return good and self.row("PRAGMA foreign_key_check") is None
        except CatalogueError:
            return False

    def _prepare(self) -> None:
        connection = self._connection
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("BEGIN")  # one state of the file: another process may be making it
        owner = connection.execute("PRAGMA application_id").fetchone()[0]
        version = self._version()
        used = version or connection.execute("SELECT 1 FROM sqlite_master").fetchone()
        connection.execute("COMMIT")
        if owner != APPLICATION_ID and (owner or used):
            raise CatalogueError(
                f"{self.shown}: a database of another program: give another --catalogue"
            )
        if version > len(MIGRATIONS):
            raise CatalogueError(
                f"{self.shown}: from a newer showtell (format {version}, this one reads"
                f" {len(MIGRATIONS)}): upgrade with pip install -U showtell"
            )
        _use_wal(connection)
        connection.execute("PRAGMA synchronous = NORMAL")
        if version < len(MIGRATIONS):
            self._migrate()

    def _version(self) -> int:
        return int(self._connection.execute("PRAGMA user_version").fetchone()[0])

    def _migrate(self) -> None:
        """Take all missing steps in one transaction: a killed migration never happened."""
        with self.transaction(durable=True):
            version = self._version()  # another process may have been faster
            for number, statements in enumerate(MIGRATIONS[version:], version + 1):
                for statement in statements:
                    self._connection.execute(statement)
                self._connection.execute(f"PRAGMA user_version = {number}")
            self._connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.DatabaseError as error:
            raise CatalogueError(f"{self.shown}: {_reason(error)}") from error


def now() -> str:
    """Return the time as the catalogue writes it: UTC, to the second."""
    return datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _make_folder(path: Path, shown: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise CatalogueError(f"{shown}: its folder cannot be made ({reason})") from error


def _use_wal(connection: sqlite3.Connection) -> None:
    """Readers and a writer do not wait for each other; the switch itself knows no waiting."""
    deadline = time.monotonic() + WAIT
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def _reason(error: sqlite3.DatabaseError) -> str:
    text = str(error)
    if "locked" in text or "busy" in text:
        return "locked by another program: wait until it has finished, then try again"
    if "malformed" in text or "not a database" in text or "corrupt" in text:
        return f"damaged ({text}): {_INSTEAD}"
    if "I/O error" in text:
        return "the disk does not write or read (disk I/O error): is it full or failing?"
    if "full" in text:
        return "the disk is full; what was saved before is kept: make room and go on"
    if "readonly" in text or "read-only" in text:
        return "cannot be written: no permission, or a read-only disk"
    if "unable to open" in text:
        return "cannot be opened: is its folder there, and may you write to it?"
    return f"the catalogue failed ({text})"
