"""Search results as text, JSON lines or CSV."""

from __future__ import annotations

import json
import os
from typing import Any

from showtell.files.csv_text import csv_number, csv_row, escape_csv_formula
from showtell.files.printable_names import printable
from showtell.photos.catalogue.records import PhotoRecord
from showtell.photos.keyword_cells import format_keywords

_RESULT_COLUMNS = (
    "path",
    "text",
    "confidence",
    "source",
    "model",
    "keywords",
    "taken",
    "latitude",
    "longitude",
    "width",
    "height",
    "similarity",
)


def result_header(output_format: str) -> str:
    """Return the line that precedes the results: column names for CSV, otherwise nothing."""
    return csv_row(list(_RESULT_COLUMNS)) if output_format == "csv" else ""


def result_line(record: PhotoRecord, output_format: str, *, mark: str = "") -> str:
    """Return a photo as one line, with its newline.

    In text, control characters are escaped. `mark` follows the caption, and then the keywords by
    which a search found the photo.
    """
    values: dict[str, Any] = {"path": os.fspath(record.path), "text": record.caption}
    values |= {name: getattr(record, name) for name in _RESULT_COLUMNS[2:]}
    if output_format == "jsonl":
        return json.dumps(values | {"keywords": [k.to_dict() for k in record.keywords]}) + "\n"
    if output_format == "csv":
        return csv_row(csv_cells(values | {"keywords": format_keywords(record.keywords)}))
    if record.matches:
        mark += f"  [{printable(format_keywords(record.matches))}]"
    similarity = "" if record.similarity is None else f"{record.similarity:.3f}  "
    return f"{similarity}{printable(values['path'])}: {printable(record.caption or '')}{mark}\n"


def csv_cells(values: dict[str, Any]) -> list[str]:
    """Return values as CSV cells that no spreadsheet runs as formulas."""
    return [_csv_cell(name, value) for name, value in values.items()]


def _csv_cell(name: str, value: Any) -> str:
    if name == "confidence":
        return csv_number(value)
    if isinstance(value, str):
        return escape_csv_formula(value)
    return "" if value is None else str(value)
