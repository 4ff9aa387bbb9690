"""Words by a person: edited one by one, exported, and imported when corrected.

What is exported is what `showtell train` and `showtell data check` read: `image` and `caption`.
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

from showtell.cli.caption_output import csv_row
from showtell.errors import CatalogueError, PhotoError
from showtell.files.printable_names import printable
from showtell.photos.catalogue.database import Catalogue
from showtell.photos.catalogue.pictures import clean_words, store_edit
from showtell.photos.catalogue.search import PhotoRecord, find_file
from showtell.photos.output_formats import cells
from showtell.photos.walk import Report

Format = Literal["csv", "jsonl"]
COLUMNS = (
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
_IMAGE, _CAPTION = ("image", "path"), ("caption", "text")


@dataclass
class Imported:
    """Counts of an import: rows whose words are new, the same as before, blank, or not known."""

    changed: int = 0
    same: int = 0
    blank: int = 0
    failed: int = 0


def edit(catalogue: Catalogue, photo: Path, text: str | None) -> None:
    """Give a photo a person's words, which hold over every model's; None takes them back.

    Raises CatalogueError where the photo is not in the catalogue, PhotoError for blank words.
    """
    picture = picture_at(catalogue, photo)
    words = None if text is None else clean_words(text)
    if words == "":
        raise PhotoError(f"{printable(os.fspath(photo))}: no words: --clear takes words back")
    with catalogue.transaction():
        store_edit(catalogue, picture, words)


def picture_at(catalogue: Catalogue, photo: Path) -> int:
    """Return the picture that a photo holds.

    Raises CatalogueError where it is not in the catalogue.
    """
    shown = printable(os.fspath(photo))
    found = find_file(catalogue, photo)
    if found is None:
        raise CatalogueError(
            f"{shown}: not in the catalogue: showtell photos scan its folder first"
        )
    if found[1] is None:
        raise CatalogueError(
            f"{shown}: not read yet, or unreadable: showtell photos scan its folder"
        )
    return found[1]


def words_of(catalogue: Catalogue, photo: Path) -> str:
    """Return the words that hold for a photo; empty where it has none."""
    picture = picture_at(catalogue, photo)
    return catalogue.value("SELECT caption FROM pictures WHERE id = ?", (picture,)) or ""


def header(form: Format) -> str:
    """Return what stands before all exported photos: CSV's column names."""
    return csv_row(list(COLUMNS)) if form == "csv" else ""


def line(record: PhotoRecord, form: Format) -> str:
    """Return a photo as one exported line; a name that is no UTF-8 is whole in JSONL only."""
    values: dict[str, Any] = {
        "image": os.fspath(record.path),
        **{name: getattr(record, name) for name in COLUMNS if name != "image"},
    }
    if form == "jsonl":
        return json.dumps(values) + "\n"
    return csv_row(cells(values))


def import_words(catalogue: Catalogue, source: Path, *, report: Report) -> Imported:
    """Take over a person's corrections from an exported CSV or JSONL file: all rows, or none.

    A photo is found by its path (relative ones from the file's folder), else by its `hash`. A row
    that says what the catalogue says already, or nothing, changes nothing. Photos that are not
    known go to `report`.

    Raises CatalogueError, naming file and line, where the file cannot be understood.
    """
    counts = Imported()
    with catalogue.transaction():
        for number, row in _rows(source):
            where = f"{printable(os.fspath(source))}:{number}"
            picture = _find(catalogue, source.parent, row, where)
            if picture is None:
                counts.failed += 1
                name = printable(_cell(row, _IMAGE, where))
                report(PhotoError(f"{where}: {name}: not in the catalogue: scan its folder first"))
                continue
            words = clean_words(_cell(row, _CAPTION, where))
            before = catalogue.value("SELECT caption FROM pictures WHERE id = ?", (picture,))
            if not words:
                counts.blank += 1
            elif words == before:
                counts.same += 1
            else:
                store_edit(catalogue, picture, words)
                counts.changed += 1
    return counts


def _find(catalogue: Catalogue, folder: Path, row: dict[str, Any], where: str) -> int | None:
    name = _cell(row, _IMAGE, where)
    for candidate in dict.fromkeys((name, name.removeprefix("'"))):  # as CSV disarms formulas
        if not candidate or "\0" in candidate:
            continue
        with contextlib.suppress(UnicodeEncodeError):  # no file is called so
            found = find_file(catalogue, folder / candidate)
            if found is not None and found[1] is not None:
                return found[1]
    digest = row.get("hash")
    try:
        key = bytes.fromhex(digest) if isinstance(digest, str) else b""
    except ValueError:
        key = b""
    picture = catalogue.value("SELECT id FROM pictures WHERE hash = ?", (key,))
    return None if picture is None else int(picture)


def _cell(row: dict[str, Any], names: tuple[str, ...], where: str) -> str:
    for name in names:
        value = row.get(name)
        if isinstance(value, str):
            return value
        if value is None and name in row:
            return ""
    raise CatalogueError(f"{where}: no {names[0]!r} that is text")


def _rows(source: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    shown = printable(os.fspath(source))
    try:
        text = source.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError:
        raise CatalogueError(f"{shown}: not UTF-8: save it as CSV UTF-8") from None
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise CatalogueError(f"{shown}: cannot be read ({reason})") from None
    if source.suffix.lower() == ".jsonl":
        yield from _json_rows(text, shown)
    else:
        yield from _csv_rows(text, shown)


def _json_rows(text: str, shown: str) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line_ in enumerate(text.split("\n"), 1):
        if not line_.strip():
            continue
        try:
            row = json.loads(line_)
        except (ValueError, RecursionError) as error:
            raise CatalogueError(f"{shown}:{number}: not JSON ({error})") from None
        if not isinstance(row, dict):
            raise CatalogueError(f'{shown}:{number}: not of the form {{"image": …, "caption": …}}')
        yield number, row


def _csv_rows(text: str, shown: str) -> Iterator[tuple[int, dict[str, Any]]]:
    first = text.partition("\n")[0]
    # spreadsheets of half of Europe write semicolons into a .csv
    delimiter = next((mark for mark in ",;\t" if mark in first), ",")
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    columns: list[str] = []
    number = 1
    try:
        for fields in reader:
            where, number = number, reader.line_num + 1
            if not any(fields):
                continue
            if columns:
                if len(fields) > len(columns):
                    raise CatalogueError(
                        f"{shown}:{where}: {len(fields)} fields under {len(columns)} columns:"
                        " put a caption that holds commas in quotes"
                    )
                yield where, dict(zip(columns, fields, strict=False))
                continue
            columns = [field.strip().lower() for field in fields]
            for names in (_IMAGE, _CAPTION):
                if not set(names) & set(columns):
                    raise CatalogueError(
                        f"{shown}:{where}: the header must name the columns image and caption;"
                        f" here it is {printable(','.join(fields)[:80])}"
                    )
    except csv.Error as error:
        raise CatalogueError(f"{shown}:{number}: broken CSV ({error})") from None
