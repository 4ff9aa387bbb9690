"""Find photos in the catalogue: by words, by date and place on disk, by likeness to a photo."""

from __future__ import annotations

import datetime
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from showtell.decoding.beam_search import Floats
from showtell.errors import CatalogueError, ShowtellError
from showtell.files.printable_names import printable
from showtell.photos.catalogue.database import Catalogue
from showtell.photos.catalogue.pictures import (
    ModelName,
    packed,
    path_of,
    picture_of,
    real_place,
    within,
)
from showtell.photos.catalogue.query import parse
from showtell.photos.reading import read_photo

if TYPE_CHECKING:
    from showtell.captioner import Captioner

_COLUMNS = """
    files.id, folders.path, files.name, pictures.id, pictures.hash, pictures.caption, confidence,
    source, model, taken, latitude, longitude, width, height
"""
_AT_ONCE = 4096  # vectors compared in one multiplication
_PAGE = 512
_DATE = re.compile(r"(\d{4})(?:-(\d{1,2})(?:-(\d{1,2}))?)?")


@dataclass(frozen=True, slots=True)
class PhotoRecord:
    """A photo as the catalogue holds it.

    `source` says whose words `caption` are: `model` or `person`; `confidence` is a model's.
    `taken` is ISO, by the camera's clock. `likeness` is the cosine of two photos' features, up
    to 1, where likeness was asked for.
    """

    file: int
    path: Path
    picture: int
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
    likeness: float | None = None


@dataclass(frozen=True)
class Filter:
    """Which photos: in these folders, taken `after` (or on) and `before` a date, sure enough.

    Dates are ISO beginnings: 2024, 2024-05 or 2024-05-31. A photo that does not say when it was
    taken is in no span of time. A person's words are sure.
    """

    folders: Sequence[Path] = ()
    after: str | None = None
    before: str | None = None
    min_confidence: float | None = None

    def sql(self) -> tuple[str, list[object]]:
        """Return the condition over files, folders and pictures, and its parameters."""
        where, places = within(self.folders)
        conditions, values = ["files.gone IS NULL", where], list[object](places)
        for date, sign in ((self.after, ">="), (self.before, "<")):
            if date is not None:
                conditions.append(f"taken {sign} ?")
                values.append(checked_date(date))
        if self.min_confidence is not None:
            conditions.append("(source = 'person' OR confidence >= ?)")
            values.append(self.min_confidence)
        return " AND ".join(conditions), values


def checked_date(text: str) -> str:
    """Return a date as `2024-05-31`, the first day of a year or month given alone.

    Raises ShowtellError where it is no date.
    """
    match = _DATE.fullmatch(text.strip())
    try:
        if match is None:
            raise ValueError
        year, month, day = (int(part) if part else 1 for part in match.groups())
        return datetime.date(year, month, day).isoformat()
    except ValueError:
        raise ShowtellError(
            f"{printable(text)}: no date: write 2024, 2024-05 or 2024-05-31"
        ) from None


def search(
    catalogue: Catalogue,
    query: str,
    filters: Filter | None = None,
    *,
    any_word: bool = False,
    limit: int | None = None,
) -> Iterator[PhotoRecord]:
    """Yield the photos whose words match, best first; each place of a picture is one.

    For the language see `query.parse`. A query without words (empty, or exclusions alone) finds
    all photos that have words, by folder and name.
    """
    parsed = parse(query, any_word=any_word)
    condition, values = (filters or Filter()).sql()
    if not parsed.wanted and query.strip() and not parsed.unwanted:
        return  # punctuation: nothing can match it
    if parsed.wanted:
        match = f"({parsed.wanted})" + (f" NOT ({parsed.unwanted})" if parsed.unwanted else "")
        # CROSS JOIN keeps the order of the ranking, so that a limit ends the work early
        sql = f"""
            SELECT {_COLUMNS} FROM search
            CROSS JOIN pictures ON pictures.id = search.rowid
            CROSS JOIN files ON files.picture_id = pictures.id
            CROSS JOIN folders ON folders.id = files.folder_id
            WHERE search MATCH ? AND {condition} ORDER BY search.rank LIMIT ?
        """
        parameters = [match, *values]
    else:
        excluded = "pictures.id NOT IN (SELECT rowid FROM search WHERE search MATCH ?) AND "
        sql = f"""
            SELECT {_COLUMNS} FROM files
            JOIN folders ON folders.id = files.folder_id
            JOIN pictures ON pictures.id = files.picture_id
            WHERE pictures.caption IS NOT NULL AND {excluded if parsed.unwanted else ""}{condition}
            ORDER BY folders.path, files.name LIMIT ?
        """
        parameters = [*([parsed.unwanted] if parsed.unwanted else []), *values]
    for row in catalogue.rows(sql, [*parameters, -1 if limit is None else limit]):
        yield _record(row)


def like(
    catalogue: Catalogue,
    photo: Path,
    filters: Filter | None = None,
    *,
    captioner: Callable[[], Captioner],
    limit: int | None = None,
) -> Iterator[PhotoRecord]:
    """Yield the photos most like one, best first, by the angle between the encoder's features.

    The photo itself is not among them. `captioner` is called where the photo is not in the
    catalogue.

    Raises PhotoError where the photo cannot be read, CatalogueError where no photo has features
    of the model's encoder.
    """
    picture, encoder, vector = _features_of(catalogue, photo, captioner)
    condition, values = (filters or Filter()).sql()
    numbers, likeness = _likeness(catalogue, encoder, vector)
    if not len(numbers):
        raise CatalogueError(
            f"{catalogue.shown}: no photo was seen by the model {encoder}:"
            " showtell photos scan --again DIR, or give another --model"
        )
    found = 0
    for place in np.argsort(-likeness, kind="stable"):
        number = int(numbers[place])
        if number == picture:
            continue
        rows = catalogue.rows(
            f"""
            SELECT {_COLUMNS} FROM files
            JOIN folders ON folders.id = files.folder_id
            JOIN pictures ON pictures.id = files.picture_id
            WHERE files.picture_id = ? AND {condition} ORDER BY folders.path, files.name
            """,
            [number, *values],
        )
        for row in rows:
            if limit is not None and found >= limit:
                return
            found += 1
            yield _record(row, float(likeness[place]))


def find_file(catalogue: Catalogue, photo: Path) -> tuple[int, int | None] | None:
    """Return the number of a photo's file and picture by its path, or None."""
    found = catalogue.row(
        "SELECT files.id, picture_id FROM files JOIN folders ON folders.id = folder_id"
        " WHERE folders.path = ? AND name = ?",
        real_place(photo),
    )
    return None if found is None else (found[0], found[1])


def _features_of(
    catalogue: Catalogue, photo: Path, captioner: Callable[[], Captioner]
) -> tuple[int | None, str, bytes]:
    """Return the photo's picture, encoder and features: from the catalogue, or computed."""
    known = find_file(catalogue, photo)
    if known is not None and known[1] is not None:
        row = catalogue.row(
            "SELECT encoder, vector FROM features WHERE picture_id = ?", (known[1],)
        )
        if row is not None:
            return known[1], row[0], row[1]
    loaded = captioner()
    reading = read_photo(photo, loaded.bundle.manifest.preprocessing, lambda _: True)
    assert reading.pixels is not None
    [(_, pooled)] = loaded.caption_pixels(reading.pixels[None], [photo])
    picture = picture_of(catalogue, reading.hash)
    return picture, ModelName.of(loaded.bundle).encoder, packed(pooled)


def _likeness(
    catalogue: Catalogue, encoder: str, vector: bytes
) -> tuple[NDArray[np.int64], Floats]:
    """Return the pictures seen by an encoder, and the cosine of each with the vector."""
    wanted = np.frombuffer(vector, np.int8).astype(np.float32)
    wanted /= np.linalg.norm(wanted) or 1
    numbers: list[NDArray[np.int64]] = []
    cosines: list[Floats] = []
    rows = catalogue.rows(
        "SELECT picture_id, vector FROM features WHERE encoder = ? AND length(vector) = ?",
        (encoder, len(vector)),
    )
    while chunk := [row for row, _ in zip(rows, range(_AT_ONCE), strict=False)]:
        own = np.frombuffer(b"".join(row[1] for row in chunk), np.int8).astype(np.float32)
        own = own.reshape(len(chunk), -1)
        lengths = np.sqrt(np.einsum("ij,ij->i", own, own))
        cosines.append((own @ wanted) / np.maximum(lengths, 1e-9))
        numbers.append(np.array([row[0] for row in chunk], np.int64))
    if not numbers:
        return np.empty(0, np.int64), np.empty(0, np.float32)
    return np.concatenate(numbers), np.concatenate(cosines)


def _record(row: tuple[Any, ...], likeness: float | None = None) -> PhotoRecord:
    file, folder, name, picture, image_hash, *rest = row
    record = PhotoRecord(file, path_of(folder, name), picture, image_hash.hex(), *rest)
    return record if likeness is None else replace(record, likeness=round(likeness, 4))


def records(catalogue: Catalogue, filters: Filter | None = None) -> Iterator[PhotoRecord]:
    """Yield every photo that is there and has words, by folder and name.

    Read page by page, so that the catalogue can be written meanwhile, by this process and others.
    """
    condition, values = (filters or Filter()).sql()
    last = (b"", b"")
    while True:
        page = list(
            catalogue.rows(
                f"""
                SELECT {_COLUMNS} FROM folders
                JOIN files ON files.folder_id = folders.id
                JOIN pictures ON pictures.id = files.picture_id
                WHERE pictures.caption IS NOT NULL AND {condition}
                    AND folders.path >= ? AND (folders.path, files.name) > (?, ?)
                ORDER BY folders.path, files.name LIMIT {_PAGE}
                """,
                [*values, last[0], *last],
            )
        )
        if not page:
            return
        last = (page[-1][1], page[-1][2])
        yield from map(_record, page)
