"""Captions and keywords by the user: edited one by one, or exported, corrected and imported.

`showtell train` and `showtell data check` read the exported columns `image` and `caption`.
"""

from __future__ import annotations

import contextlib
import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar

from showtell.caption import Keyword
from showtell.errors import CatalogueError, MetadataError, PhotoError, PhotoErrorHandler
from showtell.files.counts import count_of
from showtell.files.csv_text import csv_row
from showtell.files.damaged_letters import is_lossy_copy, is_misread
from showtell.files.printable_names import printable
from showtell.photos.catalogue.caption_text import clean_text
from showtell.photos.catalogue.database import Catalogue
from showtell.photos.catalogue.file_paths import file_path
from showtell.photos.catalogue.keywords import (
    current_keywords,
    model_keywords,
    store_keyword_edit,
)
from showtell.photos.catalogue.pictures import find_picture_id, related_picture_ids, store_edit
from showtell.photos.catalogue.records import PhotoRecord, find_file
from showtell.photos.import_rows import ImportRow, import_rows
from showtell.photos.keyword_cells import format_keywords, keywords_of_cell
from showtell.photos.metadata.image_hash import HASH_SIZE, image_hash_of
from showtell.photos.output_formats import csv_cells

T = TypeVar("T")
ExportFormat = Literal["csv", "jsonl"]
EXPORT_COLUMNS = (
    "image",
    "caption",
    "keywords",
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
_DAMAGED_LETTERS = "a program has damaged letters outside ASCII"


@dataclass
class ImportCounts:
    """Counts of imported rows: caption changed, unchanged or blank, and keywords changed."""

    changed: int = 0
    unchanged: int = 0
    blank: int = 0
    keywords_changed: int = 0


def edit_caption(catalogue: Catalogue, photo: Path, text: str | None) -> None:
    """Give a photo the user's caption, which replaces the model's.

    None removes the user's caption and keywords.

    Raises CatalogueError if the photo is not in the catalogue, PhotoError if the text is blank.
    """
    picture_id = _catalogued_picture_id(catalogue, photo)
    caption = None if text is None else clean_text(text)
    if caption == "":
        display_path = printable(os.fspath(photo))
        raise PhotoError(f"{display_path}: blank caption: use --clear to remove your caption")
    with catalogue.transaction():
        store_edit(catalogue, picture_id, caption)
        if caption is None:
            store_keyword_edit(catalogue, picture_id, None)


def _catalogued_picture_id(catalogue: Catalogue, photo: Path) -> int:
    """Return the id of a photo's picture.

    Raises CatalogueError if the photo is not in the catalogue, or was never read.
    """
    display_path = printable(os.fspath(photo))
    file = find_file(catalogue, photo)
    if file is None and not os.path.lexists(photo):
        raise CatalogueError(f"{display_path}: no such file")
    if file is None:
        raise CatalogueError(
            f"{display_path}: not in the catalogue: run showtell photos scan on its folder first"
        )
    if file.picture_id is None:
        if file.error is not None:  # it names the photo
            raise CatalogueError(f"{file.error}: repair or replace the photo, then scan again")
        raise CatalogueError(
            f"{display_path}: not read yet: run showtell photos scan on its folder"
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
        return json.dumps(values | {"keywords": [k.to_dict() for k in record.keywords]}) + "\n"
    return csv_row(csv_cells(values | {"keywords": format_keywords(record.keywords)}))


def import_captions(
    catalogue: Catalogue, source: Path, *, report: PhotoErrorHandler
) -> ImportCounts:
    """Import corrected captions and keywords from an exported CSV or JSONL file: all rows, or none.

    A photo is found by its path, relative to the file's folder, or else by its `hash` if no file
    is at its path. A row changes nothing if its caption is blank, or the one that the catalogue
    had before the import, or one by the model that the row names. So it is with keywords, but a
    blank cell of CSV, or an empty list, removes them all. Copies of a photo have one caption, so
    one changed row is enough. To `report` go photos that are not found, a path and a
    hash of different pictures, letters that a spreadsheet has damaged, and a second new caption
    for one picture, or second new keywords.

    Raises CatalogueError, naming file and line, if the file is not valid, or if any row went to
    `report`.
    """
    importing = _Import(catalogue, source, report)
    with catalogue.transaction():
        for row in import_rows(source):
            importing.add(row)
        importing.raise_if_refused()
        for picture_id, change in importing.captions.items():
            store_edit(catalogue, picture_id, change.value)
        for picture_id, keywords in importing.keywords.items():
            store_keyword_edit(catalogue, picture_id, keywords.value)
    return importing.counts


@dataclass(frozen=True, slots=True)
class _Change(Generic[T]):
    """A new caption or new keywords, and the line of the imported file that has them."""

    value: T
    line_number: int


@dataclass
class _Import:
    """The rows of a file, compared with the catalogue, and the changes by picture."""

    catalogue: Catalogue
    source: Path
    report: PhotoErrorHandler
    counts: ImportCounts = field(default_factory=ImportCounts)
    captions: dict[int, _Change[str]] = field(default_factory=dict)
    keywords: dict[int, _Change[tuple[Keyword, ...]]] = field(default_factory=dict)
    not_found: int = 0
    refused: int = 0

    def add(self, row: ImportRow) -> None:
        """Compare one row with the catalogue, which does not change meanwhile."""
        try:
            picture_id = _row_picture_id(self.catalogue, self.source.parent, row)
        except MetadataError as error:
            self._refuse(row, str(error))
            return
        if picture_id is None:
            self.not_found += 1
            self._report(row, "not in the catalogue: scan its folder first")
            return
        self._add_caption(picture_id, row)
        self._add_keywords(picture_id, row)

    def _add_caption(self, picture_id: int, row: ImportRow) -> None:
        current = clean_text(_picture_caption(self.catalogue, picture_id) or "")
        if not row.caption:
            self.counts.blank += 1
        elif row.caption == current or self._is_exported_caption(picture_id, row):
            self.counts.unchanged += 1
        elif is_misread(row.caption) or is_lossy_copy(row.caption, current):
            self._refuse(
                row,
                f"{_DAMAGED_LETTERS} in the caption:"
                " if it is right, use showtell photos edit for it",
            )
        elif self._accept(self.captions, picture_id, row.caption, row, "another new caption"):
            self.counts.changed += 1

    def _add_keywords(self, picture_id: int, row: ImportRow) -> None:
        current = current_keywords(self.catalogue, picture_id)
        new = keywords_of_cell(row.keywords, current, row.location)
        if new is None or new == current or self._are_exported_keywords(picture_id, row):
            return
        cell = format_keywords(new)
        if is_misread(cell) or is_lossy_copy(cell, format_keywords(current)):
            self._refuse(row, f"{_DAMAGED_LETTERS} in the keywords: save it as UTF-8")
        elif self._accept(self.keywords, picture_id, new, row, "other new keywords"):
            self.counts.keywords_changed += 1

    def _are_exported_keywords(self, picture_id: int, row: ImportRow) -> bool:
        """Return whether a row still has the keywords of the model that it names."""
        exported = model_keywords(self.catalogue, picture_id, row.model)
        return exported is not None and exported == keywords_of_cell(
            row.keywords, exported, row.location
        )

    def _accept(
        self, changes: dict[int, _Change[T]], picture_id: int, value: T, row: ImportRow, what: str
    ) -> bool:
        """Note a change, or refuse it if an earlier line has another one for the same picture."""
        change = changes.setdefault(picture_id, _Change(value, row.line_number))
        if change.value == value:
            return True
        self._refuse(
            row,
            f"line {change.line_number} has {what} for the same picture:"
            f" give both the same {what.rpartition(' ')[2]}",
        )
        return False

    def _is_exported_caption(self, picture_id: int, row: ImportRow) -> bool:
        """Return whether a row still has the caption of the model that it names."""
        exported: str | None = self.catalogue.value(
            "SELECT text FROM captions WHERE picture_id = ? AND model = ?", (picture_id, row.model)
        )
        return exported is not None and row.caption == clean_text(exported)

    def _refuse(self, row: ImportRow, reason: str) -> None:
        self.refused += 1
        self._report(row, reason)

    def _report(self, row: ImportRow, reason: str) -> None:
        self.report(PhotoError(f"{row.location}: {printable(row.name)}: {reason}"))

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


def _row_picture_id(catalogue: Catalogue, folder: Path, row: ImportRow) -> int | None:
    """Return the id of a row's picture, or None if it is not in the catalogue.

    The path counts first. Without a file there, the photo was moved or renamed since the export,
    and the hash finds it.

    Raises MetadataError if the hash is another picture's, or the path has damaged letters.
    """
    if row.name and "\0" not in row.name:
        with contextlib.suppress(UnicodeEncodeError):  # no file can have this name
            file = find_file(catalogue, folder / row.name)
            if file is not None and file.picture_id is not None:
                _check_hash(catalogue, file.picture_id, row)
                return file.picture_id
            if os.path.lexists(folder / row.name):
                return None
    picture_id = find_picture_id(catalogue, row.image_hash)
    if picture_id is None and row.image_hash:  # turned since, or exported by an older version
        related = related_picture_ids(catalogue, row.image_hash)
        picture_id = related[0] if len(related) == 1 else None
    if picture_id is not None and (
        is_misread(row.name)
        or any(is_lossy_copy(row.name, path) for path in _picture_paths(catalogue, picture_id))
    ):
        raise MetadataError(f"{_DAMAGED_LETTERS} in the path: export again, and save it as UTF-8")
    return picture_id


def _check_hash(catalogue: Catalogue, picture_id: int, row: ImportRow) -> None:
    """Raise MetadataError if a row has the hash of another picture than that at its path."""
    stored: bytes = catalogue.value("SELECT hash FROM pictures WHERE id = ?", (picture_id,))
    has_hash = len(row.image_hash) >= HASH_SIZE  # a spreadsheet may have made a number of it
    if has_hash and image_hash_of(row.image_hash) != image_hash_of(stored):
        raise MetadataError(
            "the hash is another picture's: the photo was edited since the export, or the rows are"
            " mixed up: export again, or clear the hash if the caption is right"
        )


def _picture_paths(catalogue: Catalogue, picture_id: int) -> list[str]:
    rows = catalogue.rows(
        "SELECT folders.path, name FROM files JOIN folders ON folders.id = folder_id"
        " WHERE picture_id = ?",
        (picture_id,),
    )
    return [os.fspath(file_path(folder, name)) for folder, name in rows]
