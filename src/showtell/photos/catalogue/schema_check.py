"""Check that a catalogue has the tables, columns and indices of its format, and no triggers."""

from __future__ import annotations

import functools
import sqlite3

_Schema = frozenset[tuple[str, ...]]
_COLUMNS = """
    SELECT tables.name, columns.name, columns.type
    FROM sqlite_master AS tables, pragma_table_info(tables.name) AS columns
    WHERE tables.type = 'table' AND tables.name NOT LIKE 'sqlite_%'
"""


def has_schema(connection: sqlite3.Connection, migrations: tuple[tuple[str, ...], ...]) -> bool:
    """Return whether a database has what `migrations` make; more tables and indices may be there.

    A trigger would change data that no command changes, and a view can compute for ever.
    """
    objects = _objects(connection)
    if any(kind == "trigger" for kind, *_ in objects):
        return False
    expected_objects, expected_columns = _schema_after(migrations)
    if not expected_objects <= objects:
        return False
    tables = {name for name, *_ in expected_columns}
    return expected_columns == {row for row in connection.execute(_COLUMNS) if row[0] in tables}


@functools.cache
def _schema_after(migrations: tuple[tuple[str, ...], ...]) -> tuple[_Schema, _Schema]:
    """Return the objects and the columns of an empty catalogue."""
    connection = sqlite3.connect(":memory:")
    try:
        for statements in migrations:
            for statement in statements:
                connection.execute(statement)
        return _objects(connection), frozenset(connection.execute(_COLUMNS))
    finally:
        connection.close()


def _objects(connection: sqlite3.Connection) -> _Schema:
    """Return the type and name of each table, index, view and trigger, with its table's name."""
    return frozenset(
        connection.execute(
            "SELECT type, name, tbl_name FROM sqlite_master WHERE name NOT LIKE 'sqlite_%'"
        )
    )
