"""Captions by the user: edited one by one, or exported, corrected and imported.

`showtell train` and `showtell data check` read the exported columns `image` and `caption`.
"""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from showtell.errors import CatalogueError, PhotoError
from showtell.files.csv_text import csv_row
from showtell.files.os_errors import error_reason
from showtell.files.printable_names import printable
from showtell.photos.catalogue.caption_text import clean_text
from showtell.photos.catalogue.database import Catalogue
from showtell.photos.catalogue.pictures import find_picture, store_edit
from showtell.photos.catalogue.records import PhotoRecord, find_file
from showtell.photos.output_formats import csv_cells
from showtell.photos.walk import Report

ExportFormat = Literal["csv", "jsonl"]
EXPORT_COLUMNS = (
    "image",
    "caption",
    "source",
    "confidence",
    "model",
    "taken",
    "latitude",
    "longitude",
    "width",
    "height",
    "hash",
)
# the names of a column, the one of the export first
_IMAGE, _CAPTION = ("image", "path"), ("caption", "text")


@dataclass
class ImportCounts:
    """Counts of imported rows: caption changed, unchanged or blank, and photo not found."""

    changed: int = 0
    unchanged: int = 0
    blank: int = 0
    failed: int = 0


def edit_caption(catalogue: Catalogue, photo: Path, text: str | None) -> None:
    """Give a photo the user's caption, which replaces the model's; None removes it.

    Raises CatalogueError if the photo is not in the catalogue, PhotoError if the text is blank.
    """
    picture = find_catalogued_picture(catalogue, photo)
    caption = None if text is None else clean_text(text)
    if caption == "":
        shown = printable(os.fspath(photo))
        raise PhotoError(f"{shown}: blank caption: use --clear to remove your caption")
    with catalogue.transaction():
        store_edit(catalogue, picture, caption)


def find_catalogued_picture(catalogue: Catalogue, photo: Path) -> int:
    """Return the picture that a photo contains.

    Raises CatalogueError if the photo is not in the catalogue, or was never read.
    """
    shown = printable(os.fspath(photo))
    file = find_file(catalogue, photo)
    if file is None:
        raise CatalogueError(
            f"{shown}: not in the catalogue: run showtell photos scan on its folder first"
        )
    if file[1] is None:
        raise CatalogueError(
            f"{shown}: not read yet, or unreadable: run showtell photos scan on its folder"
        )
    return file[1]


def current_caption(catalogue: Catalogue, photo: Path) -> str:
    """Return a photo's current caption, or an empty string if it has none."""
    return _picture_caption(catalogue, find_catalogued_picture(catalogue, photo)) or ""


def export_header(output_format: ExportFormat) -> str:
    """Return the line that precedes the photos: column names for CSV, otherwise nothing."""
    return csv_row(list(EXPORT_COLUMNS)) if output_format == "csv" else ""


def export_line(record: PhotoRecord, output_format: ExportFormat) -> str:
    """Return a photo as one line; a path that is not UTF-8 is preserved in JSONL only."""
    values: dict[str, Any] = {
        "image": os.fspath(record.path),
        **{name: getattr(record, name) for name in EXPORT_COLUMNS if name != "image"},
    }
    if output_format == "jsonl":
        return json.dumps(values) + "\n"
    return csv_row(csv_cells(values))


def import_captions(catalogue: Catalogue, source: Path, *, report: Report) -> ImportCounts:
    """Import corrected captions from an exported CSV or JSONL file: all rows, or none.

    A photo is found by its path, relative to the file's folder, or else by its `hash`. Rows whose
    caption is blank or the same as in the catalogue change nothing. Photos that are not found go
    to `report`.

    Raises CatalogueError, naming file and line, if the file is not valid.
    """
    counts = ImportCounts()
    with catalogue.transaction():
        for number, row in _rows(source):
            where = f"{printable(os.fspath(source))}:{number}"
            picture = _find_picture(catalogue, source.parent, row, where)
            if picture is None:
                counts.failed += 1
                name = printable(_cell(row, _IMAGE, where))
                report(PhotoError(f"{where}: {name}: not in the catalogue: scan its folder first"))
                continue
            caption = clean_text(_cell(row, _CAPTION, where))
            if not caption:
                counts.blank += 1
            elif caption == _picture_caption(catalogue, picture):
                counts.unchanged += 1
            else:
                store_edit(catalogue, picture, caption)
                counts.changed += 1
    return counts


def _picture_caption(catalogue: Catalogue, picture: int) -> str | None:
    caption: str | None = catalogue.value("SELECT caption FROM pictures WHERE id = ?", (picture,))
    return caption


def _find_picture(
    catalogue: Catalogue, folder: Path, row: dict[str, Any], where: str
) -> int | None:
    name = _cell(row, _IMAGE, where)
    # the export puts ' before a name that a spreadsheet would run as a formula
    for candidate in dict.fromkeys((name, name.removeprefix("'"))):
        if not candidate or "\0" in candidate:
            continue
        with contextlib.suppress(UnicodeEncodeError):  # no file can have this name
            file = find_file(catalogue, folder / candidate)
            if file is not None and file[1] is not None:
                return file[1]
    digest = row.get("hash")
    try:
        image_hash = bytes.fromhex(digest) if isinstance(digest, str) else b""
    except ValueError:
        image_hash = b""
    return find_picture(catalogue, image_hash)


def _cell(row: dict[str, Any], names: tuple[str, ...], where: str) -> str:
    for name in names:
        value = row.get(name)
        if isinstance(value, str):
            return value
        if value is None and name in row:
            return ""
    raise CatalogueError(f"{where}: {names[0]!r} is missing or not text")


def _rows(source: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    shown = printable(os.fspath(source))
    try:
        text = source.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError:
        raise CatalogueError(f"{shown}: not UTF-8: save it as CSV UTF-8") from None
    except OSError as error:
        raise CatalogueError(f"{shown}: cannot be read ({error_reason(error)})") from None
    if source.suffix.lower() == ".jsonl":
        yield from _json_rows(text, shown)
    else:
        yield from _csv_rows(text, shown)


def _json_rows(text: str, shown: str) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise CatalogueError(f"{shown}:{number}: not JSON ({error})") from None
        if not isinstance(row, dict):
            raise CatalogueError(
                f'{shown}:{number}: not an object such as {{"image": …, "caption": …}}'
            )
        yield number, row


def _csv_rows(text: str, shown: str) -> Iterator[tuple[int, dict[str, Any]]]:
    first_line = text.partition("\n")[0]
    # spreadsheets write semicolons in countries with a decimal comma
    delimiter = next((mark for mark in ",;\t" if mark in first_line), ",")
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    columns: list[str] = []
    next_line = 1
    try:
        for fields in reader:
            number, next_line = next_line, reader.line_num + 1  # a quoted field may span lines
            if not any(fields):
                continue
            if not columns:
                columns = _column_names(fields, f"{shown}:{number}")
                continue
            if len(fields) > len(columns):
                raise CatalogueError(
                    f"{shown}:{number}: {len(fields)} fields under {len(columns)} columns:"
                    " put captions that contain commas in quotes"
                )
            yield number, dict(zip(columns, fields, strict=False))
    except csv.Error as error:
        raise CatalogueError(f"{shown}:{next_line}: broken CSV ({error})") from None


def _column_names(fields: list[str], where: str) -> list[str]:
    columns = [field.strip().lower() for field in fields]
    for names in (_IMAGE, _CAPTION):
        if not set(names) & set(columns):
            raise CatalogueError(
                f"{where}: the first line must name the columns image and caption,"
                f" but it is {printable(','.join(fields)[:80])}"
            )
    return columns
