"""Open a catalogue file, migrate it to the current format, and run SQL on it."""

from __future__ import annotations

import contextlib
import datetime
import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from showtell.errors import CatalogueError
from showtell.files.os_errors import error_reason
from showtell.files.permissions import PRIVATE
from showtell.files.printable_names import printable
from showtell.files.retry import delays_until_timeout, retry
from showtell.photos.catalogue.schema import APPLICATION_ID, MIGRATIONS
from showtell.photos.catalogue.schema_check import has_schema

BUSY_TIMEOUT = 30.0  # seconds to wait until another process finishes its transaction
Parameters = Sequence[object] | dict[str, object]
_DAMAGE_ADVICE = (
    "move it away and scan again, or restore a copy; captions saved with the photos are not lost"
)

_SIGNS_OF_DAMAGE = (
    "malformed",
    "not a database",
    "corrupt",
    "unsupported file format",
    "vtable constructor failed",
    "fts5",
    "decode to UTF-8",
)

# what code raises that gets a value of another type than the schema says
_ERRORS_BY_DAMAGE = (TypeError, ValueError, LookupError, ArithmeticError, AttributeError)
_OWN_TABLES = (
    "SELECT name FROM sqlite_master WHERE type = 'table'"
    " AND name NOT LIKE 'search%' AND name NOT LIKE 'sqlite_%'"
)
_STORED_TYPES = {
    "INTEGER": ("integer", "null"),
    "REAL": ("real", "integer", "null"),
    "TEXT": ("text", "null"),
    "BLOB": ("blob", "null"),
}


class Catalogue:
    """An open catalogue file, which several processes may use at once; close it when done.

    With `any_thread`, threads may share it if only one uses it at a time. A catalogue that cannot
    be written can be read. Every method raises CatalogueError if the file is missing (unless
    `create`), locked, damaged, not a catalogue, or from a newer showtell.
    """

    def __init__(self, path: Path, *, create: bool = False, any_thread: bool = False) -> None:
        self.path = path
        self.display_path = printable(os.fspath(path))
        if not path.exists():
            if not create:
                raise CatalogueError(
                    f"{self.display_path}: no catalogue here:"
                    " create one with showtell photos scan DIR"
                )
            _create_folder_of(path, self.display_path)
            _create_private_file(path)
        elif not path.is_file():
            raise CatalogueError(
                f"{self.display_path}: not a file: --catalogue takes the path of a file"
            )
        for suffix in ("-journal", "-wal", "-shm"):  # SQLite would wait for a named pipe
            beside = path.with_name(path.name + suffix)
            if beside.exists() and not beside.is_file():
                raise CatalogueError(f"{self.display_path}{suffix}: not a file: move it away")
        self._is_writable = os.access(path, os.W_OK) and os.access(path.parent, os.W_OK)
        with self._catalogue_errors():
            self._connection = sqlite3.connect(
                path if self._is_writable else _read_only_uri(path),
                timeout=BUSY_TIMEOUT,
                isolation_level=None,
                check_same_thread=not any_thread,
                uri=not self._is_writable,
            )
        try:
            with self._catalogue_errors():
                self._check_and_migrate()
        except BaseException:
            self._connection.close()
            raise

    def __enter__(self) -> Catalogue:
        return self

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        try:
            # such as a number where the path of a photo should be
            if isinstance(error, _ERRORS_BY_DAMAGE) and not self.is_intact():
                raise CatalogueError(f"{self.display_path}: damaged: {_DAMAGE_ADVICE}") from error
        finally:
            self.close()

    def close(self) -> None:
        """Close the file. Committed transactions are kept."""
        self._connection.close()

    @contextlib.contextmanager
    def transaction(self, *, durable: bool = False) -> Iterator[None]:
        """Commit the block, or roll it back on an error; `durable` also survives a power cut."""
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
        """Run one statement and return its cursor."""
        with self._catalogue_errors():
            return self._connection.execute(sql, parameters)

    def execute_many(self, sql: str, rows: Iterable[Parameters]) -> int:
        """Run one statement for each row of parameters; return how many rows it changed."""
        with self._catalogue_errors():
            return self._connection.executemany(sql, rows).rowcount

    def rows(self, sql: str, parameters: Parameters = ()) -> Iterator[tuple[Any, ...]]:
        """Yield a query's rows, reading a few at a time."""
        with self._catalogue_errors():
            cursor = self._connection.execute(sql, parameters)
        while True:
            with self._catalogue_errors():
                rows = cursor.fetchmany(256)
            if not rows:
                return
            yield from rows

    def row(self, sql: str, parameters: Parameters = ()) -> tuple[Any, ...] | None:
        """Return a query's first row, or None."""
        with self._catalogue_errors():
            row: tuple[Any, ...] | None = self._connection.execute(sql, parameters).fetchone()
        return row

    def value(self, sql: str, parameters: Parameters = ()) -> Any:
        """Return the first column of a query's first row, or None."""
        row = self.row(sql, parameters)
        return None if row is None else row[0]

    def is_intact(self) -> bool:
        """Check the whole file for damage: structure, types, references and search index."""
        try:
            intact = self.value("PRAGMA integrity_check") == "ok" and self._has_valid_types()
            for index in ("search", "search_keywords") if self._is_writable else ():
                self.execute(f"INSERT INTO {index} ({index}) VALUES ('integrity-check')")
            return intact and self.row("PRAGMA foreign_key_check") is None
        except CatalogueError:
            return False

    def _has_valid_types(self) -> bool:
        """Return whether every value has its column's type, which SQLite does not enforce."""
        for (table,) in list(self.rows(_OWN_TABLES)):
            for _, column, declared, *_ in list(self.rows(f"PRAGMA table_info({table})")):
                allowed = ", ".join(f"'{name}'" for name in _STORED_TYPES.get(declared, ()))
                sql = f'SELECT 1 FROM {table} WHERE typeof("{column}") NOT IN ({allowed}) LIMIT 1'
                if self.row(sql) is not None:
                    return False
        return True

    def _check_and_migrate(self) -> None:
        """Check that the file is a catalogue of this format or an older one, and migrate it."""
        connection = self._connection
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("BEGIN")  # one consistent view: another process may be creating the file
        application = connection.execute("PRAGMA application_id").fetchone()[0]
        version = self._version()
        has_tables = version or connection.execute("SELECT 1 FROM sqlite_master").fetchone()
        connection.execute("COMMIT")
        if application != APPLICATION_ID and (application or has_tables):
            raise CatalogueError(
                f"{self.display_path}: a database of another program:"
                " choose another file with --catalogue"
            )
        if version > len(MIGRATIONS):
            raise CatalogueError(
                f"{self.display_path}: from a newer showtell (format {version}, this one reads"
                f" {len(MIGRATIONS)}): upgrade showtell"
            )
        if self._is_writable:
            _use_wal(connection)
        connection.execute("PRAGMA synchronous = NORMAL")
        if version < len(MIGRATIONS):
            self._migrate()
        if not has_schema(connection, MIGRATIONS):
            raise CatalogueError(f"{self.display_path}: damaged (wrong tables): {_DAMAGE_ADVICE}")

    def _version(self) -> int:
        return int(self._connection.execute("PRAGMA user_version").fetchone()[0])

    def _migrate(self) -> None:
        """Apply all missing migrations in one transaction, which a kill rolls back."""
        with self.transaction(durable=True):
            current = self._version()  # another process may have migrated it
            for version, statements in enumerate(MIGRATIONS[current:], current + 1):
                for statement in statements:
                    self._connection.execute(statement)
                self._connection.execute(f"PRAGMA user_version = {version}")
            self._connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")

    @contextlib.contextmanager
    def _catalogue_errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.DatabaseError as error:
            raise CatalogueError(f"{self.display_path}: {_reason(error)}") from error
        except UnicodeDecodeError as error:  # a message of SQLite with a damaged name in it
            raise CatalogueError(f"{self.display_path}: damaged: {_DAMAGE_ADVICE}") from error


def _read_only_uri(path: Path) -> str:
    """Return the URI that opens a catalogue which cannot be written, and so has no new log.

    SQLite needs to create files beside a database with a write-ahead log, unless it is told that
    nobody changes the database. With a log of changes that are not in the database, it must read
    that too.
    """
    log = path.with_name(path.name + "-wal")
    mode = "mode=ro" if log.exists() and log.stat().st_size else "mode=ro&immutable=1"
    return f"{path.absolute().as_uri()}?{mode}"


def now() -> str:
    """Return the current time as the catalogue stores it: ISO 8601, UTC, to the second."""
    return datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _create_folder_of(path: Path, display_path: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CatalogueError(
            f"{display_path}: its folder cannot be created ({error_reason(error)})"
        ) from error


def _create_private_file(path: Path) -> None:
    """Create an empty file that only the user can read: photos described in it may be private."""
    with contextlib.suppress(OSError):  # SQLite reports it
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY, PRIVATE))


def _use_wal(connection: sqlite3.Connection) -> None:
    """Switch to write-ahead logging, so that readers and a writer do not block each other.

    SQLite's own timeout does not apply to this switch, so wait here.
    """
    until_timeout = delays_until_timeout(0.05, BUSY_TIMEOUT)

    def delay(failures: int, error: sqlite3.OperationalError) -> float | None:
        return until_timeout(failures, error) if "locked" in str(error) else None

    def switch() -> None:
        connection.execute("PRAGMA journal_mode = WAL")

    retry(switch, on=sqlite3.OperationalError, delay=delay)


def _reason(error: sqlite3.DatabaseError) -> str:
    text = str(error)
    if "locked" in text or "busy" in text:
        return "locked by another program: wait until it has finished and try again"
    if any(sign in text for sign in _SIGNS_OF_DAMAGE):
        return f"damaged ({text}): {_DAMAGE_ADVICE}"
    if "I/O error" in text:
        return "disk I/O error: is the disk full or failing?"
    if "full" in text:
        return "the disk is full: free some space and try again; saved data is kept"
    if "readonly" in text or "read-only" in text:
        return "cannot be written: no permission, or the disk is read-only"
    if "unable to open" in text:
        return "cannot be opened: check that its folder exists and that you may write to it"
    return f"the catalogue failed ({text}): if it fails again, {_DAMAGE_ADVICE}"
