"""Store a picture's keywords: those of models, the user's, and which of them are current.

The user's list replaces that of the model. A keyword of the user is certain: its probability is 1.
The functions that write must be called inside a transaction.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterable, Sequence

from showtell.caption import Keyword
from showtell.photos.catalogue.caption_text import clean_text, segment_cjk
from showtell.photos.catalogue.database import Catalogue, now

CERTAIN = 1.0  # the probability of a keyword by the user

_CURRENT_KEYWORDS = """
    SELECT coalesce(
        (SELECT keywords FROM keyword_edits WHERE picture_id = :id),
        (SELECT keywords FROM captions WHERE picture_id = :id
         ORDER BY created DESC, rowid DESC LIMIT 1)
    )
"""


def clean_word(word: str) -> str:
    """Return a keyword as the catalogue stores it, on one line."""
    return " ".join(clean_text(word).split())


def word_key(word: str) -> str:
    """Return what two spellings of the same keyword have in common: `Dog` and `dog` are one."""
    return unicodedata.normalize("NFC", clean_word(word)).casefold()


def unique_keywords(keywords: Iterable[Keyword]) -> tuple[Keyword, ...]:
    """Return keywords as the catalogue stores them: without blank ones, each only once."""
    unique: dict[str, Keyword] = {}
    for keyword in keywords:
        if word := clean_word(keyword.word):
            unique.setdefault(word_key(word), Keyword(word, keyword.probability))
    return tuple(unique.values())


def keywords_as_json(keywords: Iterable[Keyword]) -> str:
    """Return keywords as the text that the tables of captions and edits store."""
    return json.dumps(
        [[keyword.word, round(keyword.probability, 6)] for keyword in unique_keywords(keywords)]
    )


def store_keyword_edit(
    catalogue: Catalogue, picture_id: int, keywords: Sequence[Keyword] | None
) -> None:
    """Store the user's keywords of a picture, or remove them (None)."""
    if keywords is None:
        catalogue.execute("DELETE FROM keyword_edits WHERE picture_id = ?", (picture_id,))
    else:
        catalogue.execute(
            "INSERT OR REPLACE INTO keyword_edits VALUES (?, ?, ?)",
            (picture_id, keywords_as_json(keywords), now()),
        )
    update_current_keywords(catalogue, picture_id)


def current_keywords(catalogue: Catalogue, picture_id: int) -> tuple[Keyword, ...]:
    """Return the keywords of a picture: the user's, or else those of the latest caption."""
    return _from_json(catalogue.value(_CURRENT_KEYWORDS, {"id": picture_id}) or "[]")


def model_keywords(
    catalogue: Catalogue, picture_id: int, model_id: str | None
) -> tuple[Keyword, ...] | None:
    """Return the keywords that a model gave a picture, or None."""
    sql = "SELECT keywords FROM captions WHERE picture_id = ? AND model = ?"
    stored = catalogue.value(sql, (picture_id, model_id))
    return None if stored is None else _from_json(stored)


def _from_json(stored: str) -> tuple[Keyword, ...]:
    return tuple(Keyword(word, probability) for word, probability in json.loads(stored))


def update_current_keywords(catalogue: Catalogue, picture_id: int) -> None:
    """Choose a picture's current keywords and put them into the search index."""
    catalogue.execute(
        "DELETE FROM search_keywords WHERE rowid IN (SELECT id FROM keywords WHERE picture_id = ?)",
        (picture_id,),
    )
    catalogue.execute("DELETE FROM keywords WHERE picture_id = ?", (picture_id,))
    for keyword in current_keywords(catalogue, picture_id):
        cursor = catalogue.execute(
            "INSERT INTO keywords (picture_id, word, probability) VALUES (?, ?, ?)",
            (picture_id, keyword.word, keyword.probability),
        )
        catalogue.execute(
            "INSERT INTO search_keywords (rowid, word) VALUES (?, ?)",
            (cursor.lastrowid, segment_cjk(keyword.word)),
        )
