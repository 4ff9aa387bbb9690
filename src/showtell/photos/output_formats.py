"""Photos that were found as text, JSON lines or CSV."""

from __future__ import annotations

import json
import os
from typing import Any

from showtell.cli.caption_output import csv_row, harmless
from showtell.files.printable_names import printable
from showtell.photos.catalogue.search import PhotoRecord

COLUMNS = (
    "path",
    "text",
    "confidence",
    "source",
    "model",
    "taken",
    "latitude",
    "longitude",
    "width",
    "height",
    "likeness",
)


def header(form: str) -> str:
    """Return the line that stands before all photos: CSV's column names, else nothing."""
    return csv_row(list(COLUMNS)) if form == "csv" else ""


def line(record: PhotoRecord, form: str) -> str:
    """Return a photo in one of the formats, newline included; see `caption_output.line`."""
    values: dict[str, Any] = {"path": os.fspath(record.path), "text": record.caption}
    values |= {name: getattr(record, name) for name in COLUMNS[2:]}
    if form == "jsonl":
        return json.dumps(values) + "\n"
    if form == "csv":
        return csv_row(cells(values))
    likeness = "" if record.likeness is None else f"{record.likeness:.3f}  "
    return f"{likeness}{printable(values['path'])}: {printable(record.caption or '')}\n"


def cells(values: dict[str, Any]) -> list[str]:
    """Return values as cells of a CSV that no spreadsheet runs as formulas."""
    return [
        harmless(value) if isinstance(value, str) else "" if value is None else str(value)
        for value in values.values()
    ]
