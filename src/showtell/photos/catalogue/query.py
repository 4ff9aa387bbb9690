"""What a person types into a search, made into a query that SQLite's FTS5 cannot misread."""

from __future__ import annotations

import re
from dataclasses import dataclass

from showtell.photos.catalogue.pictures import clean_words, spaced

# They are in nearly every caption, so they would cost much and tell little.
STOP_WORDS = frozenset(
    {"a", "an", "and", "are", "as", "at", "be", "by", "for", "from", "in", "into", "is", "it"}
    | {"its", "of", "on", "or", "that", "the", "their", "them", "they", "this", "to", "up"}
    | {"was", "were", "while", "with"}
)
_TERM = re.compile(r'(-?)"([^"]*)"?(\*?)|(\S+)')


@dataclass(frozen=True, slots=True)
class Query:
    """A search as FTS5 takes it: what is wanted, and what is not; either may be empty."""

    wanted: str
    unwanted: str


def parse(text: str, *, any_word: bool = False) -> Query:
    """Understand `dog run* "on a beach" -snow`: all words, in any order and form, none excluded.

    Common words like `the` count only within quotes, or where there are no others. With
    `any_word` one of the words is enough. Every text is a query; what holds no letter or digit
    is passed over.
    """
    wanted, common, unwanted = [], [], []
    for match in _TERM.finditer(clean_words(text)):
        minus, phrase, star, word = match.groups()
        if word is not None:
            minus = "-" if word.startswith("-") else ""
            star = "*" if word.endswith("*") else ""
            phrase = word.lstrip("-").rstrip("*")
        if not any(letter.isalnum() for letter in phrase):
            continue
        term = '"' + spaced(phrase).replace('"', " ") + '"' + ("*" if star else "")
        if minus:
            unwanted.append(term)
        elif word is not None and phrase.lower() in STOP_WORDS and not star:
            common.append(term)
        else:
            wanted.append(term)
    between = " OR " if any_word else " AND "
    return Query(between.join(wanted or common), " OR ".join(unwanted))
