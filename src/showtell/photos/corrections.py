"""Captions by the user: edited one by one, or exported, corrected and imported.

`showtell train` and `showtell data check` read the exported columns `image` and `caption`.
"""

from __future__ import annotations

import contextlib
import csv
import json
import os
from codecs import BOM_UTF16_BE, BOM_UTF16_LE
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from showtell.errors import CatalogueError, PhotoError, PhotoErrorHandler
from showtell.files.counts import count_of
from showtell.files.csv_text import csv_fields, csv_row, detect_delimiter, unescape_csv_formula
from showtell.files.os_errors import error_reason
from showtell.files.printable_names import printable
from showtell.files.regular_files import read_regular
from showtell.photos.catalogue.caption_text import clean_text
from showtell.photos.catalogue.database import Catalogue
from showtell.photos.catalogue.pictures import find_picture_id, related_picture_ids, store_edit
from showtell.photos.catalogue.records import PhotoRecord, find_file
from showtell.photos.output_formats import csv_cells

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
_MAX_IMPORT_BYTES = 1 << 30
# accepted names of a column; the first is the export's
_IMAGE_COLUMNS, _CAPTION_COLUMNS = ("image", "path"), ("caption", "text")


@dataclass
class ImportCounts:
    """Counts of imported rows: caption changed, unchanged or blank."""

    changed: int = 0
    unchanged: int = 0
    blank: int = 0


def edit_caption(catalogue: Catalogue, photo: Path, text: str | None) -> None:
    """Give a photo the user's caption, which replaces the model's; None removes it.

    Raises CatalogueError if the photo is not in the catalogue, PhotoError if the text is blank.
    """
    picture_id = _catalogued_picture_id(catalogue, photo)
    caption = None if text is None else clean_text(text)
    if caption == "":
        display_path = printable(os.fspath(photo))
        raise PhotoError(f"{display_path}: blank caption: use --clear to remove your caption")
    with catalogue.transaction():
        store_edit(catalogue, picture_id, caption)


def _catalogued_picture_id(catalogue: Catalogue, photo: Path) -> int:
    """Return the id of a photo's picture.

    Raises CatalogueError if the photo is not in the catalogue, or was never read.
    """
    display_path = printable(os.fspath(photo))
    file = find_file(catalogue, photo)
    if file is None:
        raise CatalogueError(
            f"{display_path}: not in the catalogue: run showtell photos scan on its folder first"
        )
    if file.picture_id is None:
        raise CatalogueError(
            f"{display_path}: not read yet, or unreadable: run showtell photos scan on its folder"
        )
    return file.picture_id


def current_caption(catalogue: Catalogue, photo: Path) -> str:
    """Return a photo's current caption, or an empty string if it has none."""
    return _picture_caption(catalogue, _catalogued_picture_id(catalogue, photo)) or ""


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


def import_captions(
    catalogue: Catalogue, source: Path, *, report: PhotoErrorHandler
) -> ImportCounts:
    """Import corrected captions from an exported CSV or JSONL file: all rows, or none.

    A photo is found by its path, relative to the file's folder, or else by its `hash`. A row
    changes nothing if its caption is blank, or the one that the catalogue had before the import,
    or one by the model that the row names. Copies of a photo have one caption, so one changed row
    is enough. Photos that are not found, and rows that give one picture two new captions, go to
    `report`.

    Raises CatalogueError, naming file and line, if the file is not valid, or if any row went to
    `report`.
    """
    importing = _Import(catalogue, source, report)
    with catalogue.transaction():
        for line_number, row in _rows(source):
            importing.add(line_number, row)
        importing.raise_if_refused()
        for picture_id, change in importing.changes.items():
            store_edit(catalogue, picture_id, change.caption)
    return importing.counts


@dataclass(frozen=True, slots=True)
class _Change:
    """A new caption, and the line of the imported file that has it."""

    caption: str
    line_number: int


@dataclass
class _Import:
    """The rows of a file, compared with the catalogue; `changes` has new captions by picture."""

    catalogue: Catalogue
    source: Path
    report: PhotoErrorHandler
    counts: ImportCounts = field(default_factory=ImportCounts)
    changes: dict[int, _Change] = field(default_factory=dict)
    not_found: int = 0
    refused: int = 0

    def add(self, line_number: int, row: dict[str, Any]) -> None:
        """Compare one row with the catalogue, which does not change meanwhile."""
        location = f"{printable(os.fspath(self.source))}:{line_number}"
        name = printable(_cell(row, _IMAGE_COLUMNS, location))
        picture_id = _row_picture_id(self.catalogue, self.source.parent, row, location)
        if picture_id is None:
            self.not_found += 1
            self.report(
                PhotoError(f"{location}: {name}: not in the catalogue: scan its folder first")
            )
            return
        caption = clean_text(_cell(row, _CAPTION_COLUMNS, location))
        if not caption:
            self.counts.blank += 1
        elif self._is_unchanged(picture_id, caption, row):
            self.counts.unchanged += 1
        elif self.changes.setdefault(picture_id, _Change(caption, line_number)).caption == caption:
            self.counts.changed += 1
        else:
            self.refused += 1
            other_line = self.changes[picture_id].line_number
            self.report(
                PhotoError(
                    f"{location}: {name}: line {other_line} has another new caption for the same"
                    " picture: give both the same caption"
                )
            )

    def _is_unchanged(self, picture_id: int, caption: str, row: dict[str, Any]) -> bool:
        """Return whether a caption is the current one, or the model's that was exported."""
        if caption == clean_text(_picture_caption(self.catalogue, picture_id) or ""):
            return True
        exported: str | None = self.catalogue.value(
            "SELECT text FROM captions WHERE picture_id = ? AND model = ?",
            (picture_id, str(row.get("model"))),
        )
        return row.get("source") == "model" and caption == clean_text(exported or "")

    def raise_if_refused(self) -> None:
        """Raise CatalogueError if any row cannot be imported."""
        problems = []
        if self.not_found:
            problems.append(
                f"{count_of(self.not_found, 'photo')} not in the catalogue:"
                " scan the folder first, or remove the row"
            )
        if self.refused:
            problems.append(f"{count_of(self.refused, 'row')} to correct")
        if problems:
            raise CatalogueError(
                f"{printable(os.fspath(self.source))}: nothing is imported: {'; '.join(problems)}"
            )


def _picture_caption(catalogue: Catalogue, picture_id: int) -> str | None:
    caption: str | None = catalogue.value(
        "SELECT caption FROM pictures WHERE id = ?", (picture_id,)
    )
    return caption


def _row_picture_id(
    catalogue: Catalogue, folder: Path, row: dict[str, Any], location: str
) -> int | None:
    name = _cell(row, _IMAGE_COLUMNS, location)
    if name and "\0" not in name:
        with contextlib.suppress(UnicodeEncodeError):  # no file can have this name
            file = find_file(catalogue, folder / name)
            if file is not None and file.picture_id is not None:
                return file.picture_id
    digest = row.get("hash")
    try:
        image_hash = bytes.fromhex(digest) if isinstance(digest, str) else b""
    except ValueError:
        image_hash = b""
    picture_id = find_picture_id(catalogue, image_hash)
    if picture_id is None and image_hash:  # it was turned since, or exported by an older version
        related = related_picture_ids(catalogue, image_hash)
        return related[0] if len(related) == 1 else None
    return picture_id


def _cell(row: dict[str, Any], names: tuple[str, ...], location: str) -> str:
    for name in names:
        value = row.get(name)
        if isinstance(value, str):
            return value
        if value is None and name in row:
            return ""
    raise CatalogueError(f"{location}: {names[0]!r} is missing or not text")


def _rows(source: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    display_path = printable(os.fspath(source))
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
