"""Photos as the catalogue stores them, and how to list them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from showtell.caption import Keyword
from showtell.photos.catalogue.database import Catalogue
from showtell.photos.catalogue.file_paths import file_path, folder_and_name
from showtell.photos.catalogue.filters import PhotoFilter

# the columns that `record_from_row` expects
RECORD_COLUMNS = """
    files.id, folders.path, files.name, pictures.id, pictures.hash, pictures.caption, confidence,
    source, model, taken, latitude, longitude, width, height, (
        SELECT json_group_array(json_array(keywords.id, word, probability))
        FROM keywords WHERE keywords.picture_id = pictures.id
    )
"""
_PAGE_SIZE = 512


@dataclass(frozen=True, slots=True)
class PhotoRecord:
    """A photo in the catalogue, with its current caption.

    `source` is `model` or `person`, the author of `caption`; `confidence` and `model` are set for
    a model's caption. `taken` is ISO, by the camera's clock. `keywords` are the current ones.
    A search sets `matches`, the keywords among them by which it found the photo rather than by the
    caption. `similarity` is set by a search for similar photos: the cosine of the two photos'
    features, at most 1.
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
    keywords: tuple[Keyword, ...] = ()
    matches: tuple[Keyword, ...] = ()
    similarity: float | None = None


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file in the catalogue; `picture_id` is None until the file has been read.

    `error` says why it could not be read when it was last scanned.
    """

    id: int
    picture_id: int | None
    error: str | None


def record_from_row(row: tuple[Any, ...], similarity: float | None = None) -> PhotoRecord:
    """Return the photo of a row of RECORD_COLUMNS."""
    file_id, folder, name, picture_id, image_hash, *values, stored_keywords = row
    keywords = tuple(
        Keyword(word, probability) for _, word, probability in sorted(json.loads(stored_keywords))
    )
    values = [file_id, file_path(folder, name), picture_id, image_hash.hex(), *values, keywords]
    record = PhotoRecord(*values)
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
        "SELECT files.id, picture_id, error FROM files JOIN folders ON folders.id = folder_id"
        " WHERE folders.path = ? AND name = ?",
        folder_and_name(photo),
    )
    return None if row is None else StoredFile(*row)
