"""Convert a search that a user typed into a query for SQLite's full-text index, FTS5."""

from __future__ import annotations

import re
from dataclasses import dataclass

from showtell.photos.catalogue.caption_text import clean_text, segment_cjk
from showtell.photos.catalogue.synonyms import synonyms

# Nearly every caption contains these words: they make a search slow and do not narrow it.
_STOP_WORDS = frozenset(
    {"a", "an", "and", "are", "as", "at", "be", "by", "for", "from", "in", "into", "is", "it"}
    | {"its", "of", "on", "or", "that", "the", "their", "them", "they", "this", "to", "up"}
    | {"was", "were", "while", "with"}
)
_TERM_PATTERN = re.compile(r'(-?)"([^"]*)"?(\*?)|(\S+)')


@dataclass(frozen=True, slots=True)
class Query:
    """FTS5 expressions: one of each term to match, and one of the terms to exclude, maybe empty."""

    include: tuple[str, ...]
    exclude: str


def parse_query(text: str) -> Query:
    """Parse a search such as `dog run* "on a beach" -snow`.

    A plain word also matches by its `synonyms`; a word in quotes, a prefix or an exclusion does
    not. Stop words such as `the` count only in quotes, or if there are no other words. Every text
    is a valid query: terms without a letter or digit are ignored.
    """
    include, stop_words, exclude = [], [], []
    for match in _TERM_PATTERN.finditer(clean_text(text)):
        minus, phrase, star, word = match.groups()
        if word is not None:
            minus = "-" if word.startswith("-") else ""
            star = "*" if word.endswith("*") else ""
            phrase = word.lstrip("-").rstrip("*")
        if not any(letter.isalnum() for letter in phrase):
            continue
        term = _quoted(phrase) + ("*" if star else "")
        if word is not None and not minus and not star and (others := synonyms(phrase)):
            term = f"({' OR '.join([term, *map(_quoted, others)])})"
        if minus:
            exclude.append(term)
        elif word is not None and phrase.lower() in _STOP_WORDS and not star:
            stop_words.append(term)
        else:
            include.append(term)
    return Query(tuple(dict.fromkeys(include or stop_words)), " OR ".join(exclude))


def _quoted(phrase: str) -> str:
    return '"' + segment_cjk(phrase).replace('"', " ") + '"'
