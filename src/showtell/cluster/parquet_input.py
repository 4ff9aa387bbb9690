"""Photos in Parquet: a column of paths, or one of bytes, read a few rows at a time."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from showtell.errors import DatasetError
from showtell.files.printable_names import printable
from showtell.files.remote import open_file, reading

BYTES_AT_ONCE, PATHS_AT_ONCE = 16, 1024  # rows
# what archives call a photo's path or name, likeliest first
NAMES = (
    "path",
    "file_path",
    "filepath",
    "image_path",
    "photo_path",
    "file_name",
    "filename",
    "file",
    "uri",
    "url",
    "key",
    "__key__",
    "image",
    "photo",
    "name",
    "id",
)


@dataclass(frozen=True)
class Columns:
    """Where a Parquet file has photos: `photo` holds paths, bytes, or {bytes, path} (`struct`)."""

    photo: str
    holds: Literal["paths", "bytes", "struct"]
    name: str | None = None


def count_rows(address: str) -> int:
    """Return the rows of a Parquet file. Raises DatasetError."""
    with _opened(address) as file:
        return int(file.metadata.num_rows)


def cuts(rows: int, size: int) -> Iterator[tuple[int, int]]:
    """Divide rows into runs of `size`, (start, count) each; the last is shorter.

    Row groups do not count: whoever begins inside one decodes what comes before in it.
    """
    for start in range(0, rows, size):
        yield start, min(size, rows - start)


def find_columns(address: str, column: str | None, name_column: str | None) -> Columns:
    """Find the columns of photos and of their names, those not given by their types and names.

    Raises DatasetError, which names the columns that are there.
    """
    import pyarrow as pa

    with _opened(address) as file:
        schema = file.schema_arrow
    holds: dict[str, Literal["paths", "bytes", "struct"]] = {}
    for entry in schema:
        kind = entry.type.value_type if pa.types.is_dictionary(entry.type) else entry.type
        if pa.types.is_string(kind) or pa.types.is_large_string(kind):
            holds[entry.name] = "paths"
        elif pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
            holds[entry.name] = "bytes"
        elif pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0:
            holds[entry.name] = "struct"
    there = ", ".join(printable(name) for name in schema.names)
    for given in (column, name_column):
        if given is not None and given not in schema.names:
            raise DatasetError(f"{printable(address)}: no column {given!r}: it has {there}")
    if column is not None and column not in holds:
        raise DatasetError(f"{printable(address)}: {column!r} holds neither paths nor bytes")
    if name_column is not None and holds.get(name_column) != "paths":
        raise DatasetError(f"{printable(address)}: {name_column!r} holds no text to name photos by")
    binary = [name for name, what in holds.items() if what != "paths"]
    texts = [name for name, what in holds.items() if what == "paths"]
    known = [name for name in NAMES if name in texts]
    if column is None:
        if len(binary) == 1:
            column = binary[0]
        elif not binary and (known or len(texts) == 1):
            column = known[0] if known else texts[0]
        else:
            raise DatasetError(
                f"{printable(address)}: say with --column which one holds photos: it has {there}"
            )
    name = name_column or (known[0] if known and holds[column] == "bytes" else None)
    return Columns(column, holds[column], name if holds[column] != "paths" else None)


def read_rows(
    address: str, columns: Columns, start: int, count: int
) -> Iterator[tuple[str, bytes | None]]:
    """Yield name and bytes of rows `start` to `start + count`; of paths, the path and None.

    A name that is not given is FILE#ROW, and a photo that is not given no bytes.
    Raises DatasetError where the file cannot be read.
    """
    few = PATHS_AT_ONCE if columns.holds == "paths" else BYTES_AT_ONCE
    wanted = [columns.photo, *([columns.name] if columns.name else [])]
    with _opened(address) as file:
        groups, place = [], 0
        skip = start
        for group in range(file.num_row_groups):
            rows = file.metadata.row_group(group).num_rows
            if place + rows <= start:
                skip -= rows
            elif place < start + count:
                groups.append(group)
            place += rows
        row = start
        for batch in file.iter_batches(few, row_groups=groups, columns=wanted):
            if skip >= len(batch):
                skip -= len(batch)
                continue
            batch, skip = batch.slice(skip), 0
            photos = batch.column(columns.photo).to_pylist()
            names = batch.column(columns.name).to_pylist() if columns.name else [None] * len(photos)
            for photo, name in zip(photos, names, strict=True):
                if row == start + count:
                    return
                yield _named(address, row, columns, photo, name)
                row += 1


def _named(
    address: str, row: int, columns: Columns, photo: Any, name: Any
) -> tuple[str, bytes | None]:
    if columns.holds == "paths" and photo:
        return os.fsdecode(photo), None
    if columns.holds == "struct":
        photo = photo or {}
        name = name or photo.get("path")
        photo = photo.get("bytes")
    return (name or f"{address}#{row}"), photo or b""


@contextlib.contextmanager
def _opened(address: str) -> Iterator[Any]:
    """Open a Parquet file so that a column is read in small pieces, and not a row group at once."""
    import pyarrow.parquet as pq

    with reading(address), open_file(address, random_access=True) as file:
        yield pq.ParquetFile(file, buffer_size=1 << 20, pre_buffer=False)
