"""The nouns that most references of a photo name, and whether a text names them.

`nouns.csv` beside this module has a line per noun, reviewed by hand: its synonyms and forms, of
which each stands for all of them ("couch" for "sofa"), and kinds of it, which name it too but not
the other way round ("man" names a person, "ocean" names water).
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from showtell.vocabulary import tokenize

AGREEING = 3  # captions that must name a noun
_TABLE = "nouns.csv"
_VAGUE = frozenset({"picture", "group", "light"})  # said of photos of anything


@dataclass(frozen=True)
class Noun:
    """A noun: its synonyms and forms, itself included, and the words for kinds of it."""

    name: str
    synonyms: frozenset[str]
    kinds: frozenset[str]

    def is_named_by(self, words: Iterable[str]) -> bool:
        """Whether one of these words is the noun, a synonym or a kind of it."""
        return not (self.synonyms | self.kinds).isdisjoint(words)


@cache
def nouns() -> tuple[Noun, ...]:
    """Return the table of nouns."""
    text = files("showtell.scoring").joinpath(_TABLE).read_text("utf-8")
    return tuple(
        Noun(row["noun"], frozenset(row["synonyms"].split()), frozenset(row["kinds"].split()))
        for row in csv.DictReader(text.splitlines())
    )


def main_nouns(references: Sequence[str], agreeing: int = AGREEING) -> dict[Noun, int]:
    """Return the nouns that at least `agreeing` references name, and how many name each."""
    words_of_captions = [set(tokenize(text)) for text in references]
    counts = {
        noun: sum(not noun.synonyms.isdisjoint(words) for words in words_of_captions)
        for noun in nouns()
        if noun.name not in _VAGUE
    }
    return {noun: count for noun, count in counts.items() if count >= agreeing}


def names_main_noun(
    references: Sequence[str], text: str, keywords: Sequence[str] = ()
) -> bool | None:
    """Whether a caption or its keywords name the noun that most references name.

    Of several that equally many name, one is enough. None where the references agree on no noun.
    """
    counts = main_nouns(references)
    if not counts:
        return None
    words = {*tokenize(text), *keywords}
    most = max(counts.values())
    return any(noun.is_named_by(words) for noun, count in counts.items() if count == most)
