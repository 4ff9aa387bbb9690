"""Read the rows of captions and keywords that `showtell photos import` gets, from CSV or JSONL."""

from __future__ import annotations

import csv
import json
import os
from codecs import BOM_UTF16_BE, BOM_UTF16_LE
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from showtell.errors import CatalogueError
from showtell.files.counts import count_of
from showtell.files.csv_text import csv_fields, detect_delimiter, unescape_csv_formula
from showtell.files.os_errors import error_reason
from showtell.files.printable_names import printable
from showtell.files.regular_files import read_regular
from showtell.photos.catalogue.caption_text import clean_text

_MAX_IMPORT_BYTES = 1 << 30
# accepted names of a column; the first is the export's
_IMAGE_COLUMNS, _CAPTION_COLUMNS = ("image", "path"), ("caption", "text")


@dataclass(frozen=True, slots=True)
class ImportRow:
    """A row of captions: the photo's path as written, its caption, and what the export adds.

    `location` is the file and the line for messages. `image_hash` is empty if the row has no
    valid one. `model` is the caption's model when it was exported, or None. `keywords` is the
    value of that column, see `keywords_of_cell`, or None, as for a photo that was not captioned.
    """

    location: str
    line_number: int
    name: str
    caption: str
    image_hash: bytes
    model: str | None
    keywords: object = None


def import_rows(source: Path) -> Iterator[ImportRow]:
    """Yield the rows of a CSV or JSONL file, by its suffix.

    Raises CatalogueError, naming file and line, if the file is not valid.
    """
    display_path = printable(os.fspath(source))
    for line_number, values in _rows(source, display_path):
        location = f"{display_path}:{line_number}"
        model = values.get("model")
        yield ImportRow(
            location,
            line_number,
            _text(values, _IMAGE_COLUMNS, location),
            clean_text(_text(values, _CAPTION_COLUMNS, location)),
            _hash(values.get("hash")),
            model if isinstance(model, str) and values.get("source") == "model" else None,
            None if values.get("error") else values.get("keywords"),
        )


def _hash(digest: object) -> bytes:
    try:
        return bytes.fromhex(digest) if isinstance(digest, str) else b""
    except ValueError:
        return b""


def _text(row: dict[str, Any], names: tuple[str, ...], location: str) -> str:
    for name in names:
        value = row.get(name)
        if isinstance(value, str):
            return value
        if value is None and name in row:
            return ""
    raise CatalogueError(f"{location}: {names[0]!r} is missing or not text")


def _rows(source: Path, display_path: str) -> Iterator[tuple[int, dict[str, Any]]]:
    try:
        data = read_regular(source, _MAX_IMPORT_BYTES, or_pipe=True)
        # the "Unicode text" of spreadsheets is UTF-16
        text = data.decode("utf-16" if data[:2] in (BOM_UTF16_LE, BOM_UTF16_BE) else "utf-8-sig")
    except UnicodeDecodeError:
        raise CatalogueError(f"{display_path}: not UTF-8: save it as CSV UTF-8") from None
    except OSError as error:
        raise CatalogueError(f"{display_path}: cannot be read ({error_reason(error)})") from None
    if source.suffix.lower() in (".jsonl", ".ndjson"):
        yield from _json_rows(text, display_path)
    else:
        yield from _csv_rows(text, display_path)


def _json_rows(text: str, display_path: str) -> Iterator[tuple[int, dict[str, Any]]]:
    for line_number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise CatalogueError(f"{display_path}:{line_number}: not JSON ({error})") from None
        if not isinstance(row, dict):
            raise CatalogueError(
                f'{display_path}:{line_number}: not an object such as {{"image": …, "caption": …}}'
            )
        yield line_number, row


def _csv_rows(text: str, display_path: str) -> Iterator[tuple[int, dict[str, Any]]]:
    text, delimiter, lines_before = detect_delimiter(text, (_IMAGE_COLUMNS, _CAPTION_COLUMNS))
    reader = csv_fields(text, delimiter)
    columns: list[str] = []
    next_line = lines_before + 1
    try:
        for fields in reader:
            # a quoted field may span lines
            line_number, next_line = next_line, lines_before + reader.line_num + 1
            if not any(fields):
                continue
            if not columns:
                columns = _column_names(fields, f"{display_path}:{line_number}")
                continue
            if len(fields) > len(columns):
                raise CatalogueError(
                    f"{display_path}:{line_number}: {count_of(len(fields), 'field')} for"
                    f" {count_of(len(columns), 'column')}: put captions that contain commas in"
                    " quotes"
                )
            yield line_number, dict(zip(columns, map(unescape_csv_formula, fields), strict=False))
    except csv.Error as error:
        raise CatalogueError(f"{display_path}:{next_line}: broken CSV ({error})") from None


def _column_names(fields: list[str], location: str) -> list[str]:
    columns = [field.strip().lower() for field in fields]
    for names in (_IMAGE_COLUMNS, _CAPTION_COLUMNS):
        if not set(names) & set(columns):
            raise CatalogueError(
                f"{location}: the first line must name the columns image and caption,"
                f" but it is {printable(','.join(fields)[:80])}"
            )
    return columns
