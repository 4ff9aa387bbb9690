"""Search the catalogue by the words of captions and by keywords."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Literal, get_args

from showtell.decoding.keywords import SURE
from showtell.photos.catalogue.database import Catalogue
from showtell.photos.catalogue.filters import PhotoFilter
from showtell.photos.catalogue.keywords import word_key
from showtell.photos.catalogue.query_parser import Query, parse_query
from showtell.photos.catalogue.records import RECORD_COLUMNS, PhotoRecord, record_from_row

# The pictures that match one term, `sureness` says how surely: a caption by its confidence, and
# by a person for certain, a keyword by its probability. CROSS JOIN makes SQLite begin with the
# words. `rank` only decides between equals: alone it would prefer captions that repeat a word,
# which are the worse ones.
_MATCHES_OF_TERM = """
    SELECT search.rowid AS picture_id, {term} AS term,
        iif(source = 'person', 1.0, confidence) AS sureness, search.rank AS rank, NULL AS keyword
    FROM search CROSS JOIN pictures ON pictures.id = search.rowid WHERE search MATCH ?
    UNION ALL
    SELECT keywords.picture_id, {term}, probability, 0, keywords.word
    FROM search_keywords CROSS JOIN keywords ON keywords.id = search_keywords.rowid
    WHERE search_keywords MATCH ?
"""
_EXCLUDED = f"""
    SELECT rowid FROM search WHERE search MATCH ?
    UNION ALL
    SELECT keywords.picture_id
    FROM search_keywords CROSS JOIN keywords ON keywords.id = search_keywords.rowid
    WHERE search_keywords MATCH ? AND probability >= {SURE}
"""

Sort = Literal["surest", "doubtful", "name", "date"]
SORTS: tuple[Sort, ...] = get_args(Sort)
_BY_NAME = "folders.path, files.name"
# by the sureness of the matches, or the confidence of the captions of a query without words
_ORDERS: dict[Sort, str] = {
    "surest": f"source = 'person' DESC, {{sureness}} DESC, {_BY_NAME}",
    "doubtful": f"source = 'person', {{sureness}} IS NULL, {{sureness}}, {_BY_NAME}",
    "name": _BY_NAME,
    "date": f"taken IS NULL, taken, {_BY_NAME}",
}


def search_photos(
    catalogue: Catalogue,
    query: str,
    filters: PhotoFilter | None = None,
    *,
    any_word: bool = False,
    sort: Sort | None = None,
    limit: int | None = None,
) -> Iterator[PhotoRecord]:
    """Yield the photos whose captions or keywords match; each copy of a picture is one.

    All terms must match, in any order and form; with `any_word`, one of them. `parse_query`
    describes the syntax. A query without words (empty, or exclusions only) yields all photos that
    have a caption.

    With the sort `surest`, captions and keywords by a person come first, then the model's by
    confidence and probability. The least sure term of a photo counts, with `any_word` the surest.
    With `doubtful` the lowest confidence comes first, and photos without one last. By default, a
    query with words sorts by `surest`, and one without by `name`: folder and name.
    """
    parsed = parse_query(query)
    filters = filters or PhotoFilter()
    if parsed.include:
        sql, parameters = _ranked(parsed, sort, filters, any_word=any_word)
    elif parsed.exclude or not query.strip():
        sql, parameters = _all(parsed.exclude, sort, filters)
    else:
        return  # only punctuation: nothing can match
    for *row, matches in catalogue.rows(sql, [*parameters, -1 if limit is None else limit]):
        record = record_from_row(tuple(row))
        keys = {word_key(word) for word in matches.split("\n")} if matches else set()
        matching = tuple(item for item in record.keywords if word_key(item.word) in keys)
        yield replace(record, matches=matching) if matching else record


def _ranked(
    query: Query, sort: Sort | None, filters: PhotoFilter, *, any_word: bool
) -> tuple[str, list[object]]:
    condition, values = filters.sql_condition("sureness")
    order = _ORDERS[sort].format(sureness="sureness") if sort else "sureness DESC, results.rank"
    terms = range(len(query.include))
    matches = " UNION ALL ".join(_MATCHES_OF_TERM.format(term=term) for term in terms)
    # with one max(), SQLite takes the keyword of the row that has it
    sql = f"""
        WITH matches AS ({matches}), terms AS (
            SELECT picture_id, max(sureness) AS sureness, sum(rank) AS rank, keyword
            FROM matches GROUP BY picture_id, term
        ), results AS (
            SELECT picture_id, {"max" if any_word else "min"}(sureness) AS sureness,
                sum(rank) AS rank, group_concat(keyword, char(10)) AS keywords
            FROM terms GROUP BY picture_id HAVING count(*) >= {1 if any_word else len(terms)}
        )
        SELECT {RECORD_COLUMNS}, results.keywords FROM results
        CROSS JOIN pictures ON pictures.id = results.picture_id
        CROSS JOIN files ON files.picture_id = pictures.id
        CROSS JOIN folders ON folders.id = files.folder_id
        WHERE {_not_excluded(query.exclude)}{condition}
        ORDER BY {order} LIMIT ?
    """
    included = [term for term in query.include for _ in ("captions", "keywords")]
    return sql, [*included, *_excluded_values(query.exclude), *values]


def _all(exclude: str, sort: Sort | None, filters: PhotoFilter) -> tuple[str, list[object]]:
    condition, values = filters.sql_condition()
    order = _ORDERS[sort or "name"].format(sureness="confidence")
    sql = f"""
        SELECT {RECORD_COLUMNS}, NULL FROM files
        JOIN folders ON folders.id = files.folder_id
        JOIN pictures ON pictures.id = files.picture_id
        WHERE pictures.caption IS NOT NULL AND {_not_excluded(exclude)}{condition}
        ORDER BY {order} LIMIT ?
    """
    return sql, [*_excluded_values(exclude), *values]


def _not_excluded(exclude: str) -> str:
    return f"pictures.id NOT IN ({_EXCLUDED}) AND " if exclude else ""


def _excluded_values(exclude: str) -> list[object]:
    return [exclude, exclude] if exclude else []
