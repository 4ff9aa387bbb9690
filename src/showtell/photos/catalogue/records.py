"""Photos as the catalogue stores them: records, filters, and how to list them."""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from showtell.errors import ShowtellError
from showtell.files.printable_names import printable
from showtell.photos.catalogue.database import Catalogue
from showtell.photos.catalogue.file_paths import file_path, folder_and_name, paths_condition

# the columns that `record_from_row` expects
RECORD_COLUMNS = """
    files.id, folders.path, files.name, pictures.id, pictures.hash, pictures.caption, confidence,
    source, model, taken, latitude, longitude, width, height
"""
_PAGE_SIZE = 512
_DATE_PATTERN = re.compile(r"(\d{4})(?:-(\d{1,2})(?:-(\d{1,2}))?)?")


@dataclass(frozen=True, slots=True)
class PhotoRecord:
    """A photo in the catalogue, with its current caption.

    `source` is `model` or `person`, the author of `caption`; `confidence` and `model` are set for
    a model's caption. `taken` is ISO, by the camera's clock. `similarity` is set by a search for
    similar photos: the cosine of the two photos' features, at most 1.
    """

    file_id: int
    path: Path
    picture_id: int
    hash: str
    caption: str | None
    confidence: float | None
    source: str | None
    model: str | None
    taken: str | None
    latitude: float | None
    longitude: float | None
    width: int | None
    height: int | None
    similarity: float | None = None


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file in the catalogue; `picture_id` is None until the file has been read."""

    id: int
    picture_id: int | None


@dataclass(frozen=True)
class PhotoFilter:
    """Conditions that photos must meet.

    They are in `folders` or below, or are themselves listed there; taken on or after `after`, and
    before `before`; and their caption has at least `min_confidence`. Dates are 2024, 2024-05 or
    2024-05-31. A photo without a date matches no date condition. A caption by a person matches
    any `min_confidence`.
    """

    folders: Sequence[Path] = ()
    after: str | None = None
    before: str | None = None
    min_confidence: float | None = None

    def sql_condition(self) -> tuple[str, list[object]]:
        """Return a condition on files, folders and pictures, and its parameters."""
        in_folders, folders = paths_condition(self.folders)
        conditions, values = ["files.missing_since IS NULL", in_folders], list[object](folders)
        for date, operator in ((self.after, ">="), (self.before, "<")):
            if date is not None:
                conditions.append(f"taken {operator} ?")
                values.append(parse_date(date))
        if self.min_confidence is not None:
            conditions.append("(source = 'person' OR confidence >= ?)")
            values.append(self.min_confidence)
        return " AND ".join(conditions), values


def parse_date(text: str) -> str:
    """Return a date as `2024-05-31`; a year or month alone means its first day.

    Raises ShowtellError if it is not a date.
    """
    match = _DATE_PATTERN.fullmatch(text.strip())
    try:
        if match is None:
            raise ValueError
        year, month, day = (int(part) if part else 1 for part in match.groups())
        return datetime.date(year, month, day).isoformat()
    except ValueError:
        raise ShowtellError(
            f"{printable(text)}: not a date: write 2024, 2024-05 or 2024-05-31"
        ) from None


def record_from_row(row: tuple[Any, ...], similarity: float | None = None) -> PhotoRecord:
    """Return the photo of a row of RECORD_COLUMNS."""
    file_id, folder, name, picture_id, image_hash, *rest = row
    record = PhotoRecord(file_id, file_path(folder, name), picture_id, image_hash.hex(), *rest)
    return record if similarity is None else replace(record, similarity=round(similarity, 4))


def photo_records(
    catalogue: Catalogue, filters: PhotoFilter | None = None
) -> Iterator[PhotoRecord]:
    """Yield every photo that is present and has a caption, by folder and name.

    The photos are read page by page, so that this and other processes can write meanwhile.
    """
    condition, values = (filters or PhotoFilter()).sql_condition()
    last = (b"", b"")
    while True:
        page = list(
            catalogue.rows(
                f"""
                SELECT {RECORD_COLUMNS} FROM folders
                JOIN files ON files.folder_id = folders.id
                JOIN pictures ON pictures.id = files.picture_id
                WHERE pictures.caption IS NOT NULL AND {condition}
                    AND folders.path >= ? AND (folders.path, files.name) > (?, ?)
                ORDER BY folders.path, files.name LIMIT {_PAGE_SIZE}
                """,
                [*values, last[0], *last],
            )
        )
        if not page:
            return
        last = (page[-1][1], page[-1][2])
        yield from map(record_from_row, page)


def find_file(catalogue: Catalogue, photo: Path) -> StoredFile | None:
    """Return a photo's file by its path, or None if it is not in the catalogue."""
    row = catalogue.row(
        "SELECT files.id, picture_id FROM files JOIN folders ON folders.id = folder_id"
        " WHERE folders.path = ? AND name = ?",
        folder_and_name(photo),
    )
    return None if row is None else StoredFile(*row)
