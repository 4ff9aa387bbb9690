"""Search the catalogue by the words of captions."""

from __future__ import annotations

from collections.abc import Iterator

from showtell.photos.catalogue.database import Catalogue
from showtell.photos.catalogue.filters import PhotoFilter
from showtell.photos.catalogue.query_parser import Query, parse_query
from showtell.photos.catalogue.records import RECORD_COLUMNS, PhotoRecord, record_from_row


def search_photos(
    catalogue: Catalogue,
    query: str,
    filters: PhotoFilter | None = None,
    *,
    any_word: bool = False,
    limit: int | None = None,
) -> Iterator[PhotoRecord]:
    """Yield the photos whose captions match; each copy of a picture is one.

    A person's captions come first, then the model's by confidence.
    `parse_query` describes the syntax. A query without words (empty, or exclusions only) yields
    all photos that have a caption, by folder and name.
    """
    parsed = parse_query(query, any_word=any_word)
    condition, values = (filters or PhotoFilter()).sql_condition()
    if parsed.include:
        sql, parameters = _ranked(parsed, condition, values)
    elif parsed.exclude or not query.strip():
        sql, parameters = _by_name(parsed.exclude, condition, values)
    else:
        return  # only punctuation: nothing can match
    for row in catalogue.rows(sql, [*parameters, -1 if limit is None else limit]):
        yield record_from_row(row)


def _ranked(query: Query, condition: str, values: list[object]) -> tuple[str, list[object]]:
    match = f"({query.include})" + (f" NOT ({query.exclude})" if query.exclude else "")
    # CROSS JOIN makes SQLite begin with the words. A rank by words alone would prefer captions that
    # repeat a word, which are the worse ones.
    sql = f"""
        SELECT {RECORD_COLUMNS} FROM search
        CROSS JOIN pictures ON pictures.id = search.rowid
        CROSS JOIN files ON files.picture_id = pictures.id
        CROSS JOIN folders ON folders.id = files.folder_id
        WHERE search MATCH ? AND {condition}
        ORDER BY source = 'person' DESC, confidence DESC, search.rank LIMIT ?
    """
    return sql, [match, *values]


def _by_name(exclude: str, condition: str, values: list[object]) -> tuple[str, list[object]]:
    excluded = "pictures.id NOT IN (SELECT rowid FROM search WHERE search MATCH ?) AND "
    sql = f"""
        SELECT {RECORD_COLUMNS} FROM files
        JOIN folders ON folders.id = files.folder_id
        JOIN pictures ON pictures.id = files.picture_id
        WHERE pictures.caption IS NOT NULL AND {excluded if exclude else ""}{condition}
        ORDER BY folders.path, files.name LIMIT ?
    """
    return sql, [*([exclude] if exclude else []), *values]
