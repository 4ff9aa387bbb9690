"""Decide which keywords a photo or sidecar gets: a person's stay, and showtell's join them.

A keyword in a file is showtell's if a write of showtell put it there, which the journal knows. Any
other keyword is a person's: it is never removed, replaced, moved or written a second time.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from showtell.photos.catalogue.journal import WrittenKeywords
from showtell.photos.catalogue.keywords import word_key
from showtell.photos.metadata.field_values import IPTC_KEYWORDS
from showtell.photos.metadata.iptc import MAX_KEYWORD_BYTES

KeywordLists = Mapping[str, tuple[str, ...]]  # by field: those of XMP and of IPTC


@dataclass(frozen=True, slots=True)
class KeywordPlan:
    """The lists of keywords by field that change, and what the journal remembers of them."""

    lists: KeywordLists
    written: WrittenKeywords


def plan_keywords(
    lists: KeywordLists,
    given: Iterable[str],
    earlier: WrittenKeywords,
    elsewhere: Iterable[str] = (),
    *,
    restore_removed: bool = False,
) -> KeywordPlan:
    """Return how `given` keywords join the lists of a file.

    `earlier` are those that showtell wrote into the file. `elsewhere` are a person's keywords in
    other parts of the photo. They are not written again, but copied into a list that has no
    keyword of a person: many programs read only one list, and would no longer show them.

    A keyword by showtell that a person has removed from the file, while others are still there,
    stays removed, unless `restore_removed`.
    """
    in_file = [word for words in lists.values() for word in words]
    by_showtell = {word_key(word): word for word in earlier.words if word in in_file}
    by_person = _by_key(word for word in (*in_file, *elsewhere) if word not in by_showtell.values())
    removed = {} if restore_removed else _by_key(earlier.removed)
    if by_showtell and not restore_removed:
        removed |= _by_key(word for word in earlier.words if word not in in_file)
    added = {
        key: by_showtell.get(key, word)
        for key, word in _by_key(given).items()
        if key not in by_person and key not in removed
    }
    changed = {}
    for field, words in lists.items():
        kept = [w for w in words if w not in by_showtell.values() or word_key(w) in added]
        if added and all(word in by_showtell.values() for word in words):
            kept += _missing(field, by_person, kept)
        kept += _missing(field, added, kept)
        if tuple(kept) != words:
            changed[field] = tuple(kept)
    return KeywordPlan(changed, WrittenKeywords(tuple(added.values()), tuple(removed.values())))


def _by_key(words: Iterable[str]) -> dict[str, str]:
    """Return words by what their spellings have in common; the first spelling counts."""
    by_key: dict[str, str] = {}
    for word in words:
        by_key.setdefault(word_key(word), word)
    return by_key


def _missing(field: str, words: dict[str, str], present: list[str]) -> list[str]:
    """Return the words that a list lacks and can hold."""
    keys = {word_key(word) for word in present}
    return [
        word
        for key, word in words.items()
        if key not in keys and (field != IPTC_KEYWORDS or len(word.encode()) <= MAX_KEYWORD_BYTES)
    ]
