"""Photos in Parquet: a column of paths or of bytes, read a few rows at a time."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from showtell.errors import DatasetError
from showtell.files.printable_names import printable
from showtell.files.remote import open_file, translate_read_errors

ROWS_OF_BYTES, ROWS_OF_PATHS = 16, 1024  # read at a time
# names of columns of paths or photo names, the most likely first
NAME_COLUMNS = (
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

Content = Literal["paths", "bytes", "struct"]


@dataclass(frozen=True)
class PhotoColumns:
    """Where Parquet has photos: the column `photo` holds paths, bytes or {bytes, path}.

    Hugging Face's datasets write {bytes, path}. Where `bytes` is null, the photo is at `path`.
    """

    photo: str
    holds: Content
    name: str | None = None


def count_rows(address: str) -> int:
    """Return the number of rows of a Parquet file. Raises DatasetError."""
    with _open_parquet(address) as file:
        return int(file.metadata.num_rows)


def split_rows(rows: int, size: int) -> Iterator[tuple[int, int]]:
    """Divide rows into runs of `size`, each as (start, count); the last may be shorter.

    Row groups are ignored: a reader that starts inside one decodes and skips the rows before.
    """
    for start in range(0, rows, size):
        yield start, min(size, rows - start)


def find_columns(address: str, column: str | None, name_column: str | None) -> PhotoColumns:
    """Return the columns of photos and of their names, found by type and name if not given.

    Raises DatasetError, which lists the columns of the file.
    """
    with _open_parquet(address) as file:
        schema = file.schema_arrow
    contents = _column_contents(schema)
    shown = printable(address)
    columns = ", ".join(printable(name) for name in schema.names)
    for requested in (column, name_column):
        if requested is not None and requested not in schema.names:
            raise DatasetError(f"{shown}: no column {requested!r}: the columns are {columns}")
    if column is not None and column not in contents:
        raise DatasetError(f"{shown}: {column!r} holds neither paths nor bytes")
    if name_column is not None and contents.get(name_column) != "paths":
        raise DatasetError(f"{shown}: {name_column!r} holds no text to name photos by")
    photo_column = column or _guess_photo_column(contents)
    if photo_column is None:
        raise DatasetError(
            f"{shown}: choose the column of photos with --column: the columns are {columns}"
        )
    content = contents[photo_column]
    if name_column is None and content == "bytes":
        name_column = next(iter(_known_names(contents)), None)
    return PhotoColumns(photo_column, content, None if content == "paths" else name_column)


def read_rows(
    address: str, columns: PhotoColumns, start: int, count: int
) -> Iterator[tuple[str, bytes | str]]:
    """Yield name and photo of the rows `start` to `start + count`: its bytes, or its path.

    A row without a name is named FILE#ROW; a row without a photo has no bytes.
    Raises DatasetError if the file cannot be read.
    """
    batch_rows = ROWS_OF_PATHS if columns.holds == "paths" else ROWS_OF_BYTES
    wanted = [columns.photo, *([columns.name] if columns.name else [])]
    with _open_parquet(address) as file:
        groups, skipped_rows = _row_groups(file, start, count)
        row, to_skip = start, start - skipped_rows
        for batch in file.iter_batches(batch_rows, row_groups=groups, columns=wanted):
            if to_skip >= len(batch):
                to_skip -= len(batch)
                continue
            batch, to_skip = batch.slice(to_skip), 0
            photos = batch.column(columns.photo).to_pylist()
            names = batch.column(columns.name).to_pylist() if columns.name else [None] * len(photos)
            for photo, name in zip(photos, names, strict=True):
                if row == start + count:
                    return
                yield _name_and_photo(f"{address}#{row}", columns, photo, name)
                row += 1


def _column_contents(schema: Any) -> dict[str, Content]:
    """Return what each column can hold: paths, bytes, or {bytes, path}."""
    import pyarrow as pa

    contents: dict[str, Content] = {}
    for entry in schema:
        kind = entry.type.value_type if pa.types.is_dictionary(entry.type) else entry.type
        if pa.types.is_string(kind) or pa.types.is_large_string(kind):
            contents[entry.name] = "paths"
        elif pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
            contents[entry.name] = "bytes"
        elif pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0:
            contents[entry.name] = "struct"
    return contents


def _guess_photo_column(contents: dict[str, Content]) -> str | None:
    """Return the only column of bytes, else the most likely column of paths, else None."""
    binary = [name for name, content in contents.items() if content != "paths"]
    if binary:
        return binary[0] if len(binary) == 1 else None
    if known := _known_names(contents):
        return known[0]
    return next(iter(contents)) if len(contents) == 1 else None


def _known_names(contents: dict[str, Content]) -> list[str]:
    return [name for name in NAME_COLUMNS if contents.get(name) == "paths"]


def _row_groups(file: Any, start: int, count: int) -> tuple[list[int], int]:
    """Return the row groups that hold some rows, and the number of rows before the first."""
    groups: list[int] = []
    first_row = rows_before = 0
    for group in range(file.num_row_groups):
        rows = file.metadata.row_group(group).num_rows
        if first_row + rows <= start:
            rows_before += rows
        elif first_row < start + count:
            groups.append(group)
        first_row += rows
    return groups, rows_before


def _name_and_photo(
    row_name: str, columns: PhotoColumns, photo: Any, name: Any
) -> tuple[str, bytes | str]:
    path = None
    if columns.holds == "paths":
        photo, path = None, os.fsdecode(photo) if photo else None
    elif columns.holds == "struct":
        path, photo = (photo or {}).get("path"), (photo or {}).get("bytes")
    name = name or path or row_name
    return (name, path) if photo is None and path else (name, photo or b"")


@contextlib.contextmanager
def _open_parquet(address: str) -> Iterator[Any]:
    """Open a Parquet file so that columns are read in small pieces, not by whole row groups."""
    import pyarrow.parquet as pq

    with translate_read_errors(address), open_file(address, random_access=True) as file:
        yield pq.ParquetFile(file, buffer_size=1 << 20, pre_buffer=False)
