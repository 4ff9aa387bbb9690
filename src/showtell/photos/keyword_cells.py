"""Keywords in the cells of exported files, which a person can edit."""

from __future__ import annotations

import re
from collections.abc import Sequence

from showtell.caption import Keyword
from showtell.errors import CatalogueError
from showtell.photos.catalogue.keywords import CERTAIN, unique_keywords

_SEPARATORS = re.compile("[;,\n]")
_WITH_PROBABILITY = re.compile(r"(?P<word>.*\S)\s+(?P<probability>0\.\d+|1\.0+)")


def format_keywords(keywords: Sequence[Keyword]) -> str:
    """Return keywords as `dog 0.93; beach 0.61; my garden`; those by a person have no number."""
    return "; ".join(map(str, keywords))


def keywords_of_cell(
    cell: object, current: Sequence[Keyword], location: str
) -> tuple[Keyword, ...] | None:
    """Return the keywords in a cell of CSV, or in a value of JSONL; None if there is none.

    A cell holds words separated by semicolons or commas, as `format_keywords` writes them; those
    that stand in `current` with the same number keep their exact probability. A value of JSONL may
    also be a list of words, or of objects with `word` and `probability`. A word without a number
    is by a person. Raises CatalogueError if it is none of these.
    """
    if cell is None:
        return None
    if isinstance(cell, list):
        return unique_keywords(_keyword_of_item(item, location) for item in cell)
    if not isinstance(cell, str):
        raise _invalid(location)
    if " ".join(cell.split()) == format_keywords(current):
        return tuple(current)
    known = {str(keyword): keyword for keyword in current}
    parts = (" ".join(part.split()) for part in _SEPARATORS.split(cell))
    return unique_keywords(known.get(part) or _parse(part) for part in parts)


def _parse(part: str) -> Keyword:
    if match := _WITH_PROBABILITY.fullmatch(part):
        return Keyword(match["word"], float(match["probability"]))
    return Keyword(part, CERTAIN)


def _keyword_of_item(item: object, location: str) -> Keyword:
    if isinstance(item, str):
        return Keyword(item, CERTAIN)
    if isinstance(item, dict):
        word, probability = item.get("word"), item.get("probability", CERTAIN)
        is_number = isinstance(probability, int | float) and not isinstance(probability, bool)
        if isinstance(word, str) and is_number and 0 <= probability <= 1:
            return Keyword(word, float(probability))
    raise _invalid(location)


def _invalid(location: str) -> CatalogueError:
    return CatalogueError(
        f"{location}: 'keywords' must be text, or a list of words or of objects such as"
        ' {"word": "dog", "probability": 0.9}'
    )
