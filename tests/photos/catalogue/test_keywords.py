from __future__ import annotations

import numpy as np
import pytest

from showtell.caption import Caption, Keyword
from showtell.photos.catalogue.database import Catalogue
from showtell.photos.catalogue.keywords import (
    current_keywords,
    model_keywords,
    store_keyword_edit,
    unique_keywords,
    word_key,
)
from showtell.photos.catalogue.pictures import (
    ModelIds,
    change_picture,
    copy_edits,
    has_caption,
    store_caption,
    store_picture,
)
from showtell.photos.metadata.exif import ExifInfo

DOG, BEACH = Keyword("dog", 0.912345678), Keyword("beach", 0.4)
IDS = ModelIds("model@1", "model@2")


def store(catalogue: Catalogue, image_hash: bytes, *keywords: Keyword, ids: ModelIds = IDS) -> int:
    """Store a picture and its caption with keywords by a model; return the picture's id."""
    with catalogue.transaction():
        picture_id = store_picture(catalogue, image_hash, ExifInfo(), (4, 3))
        caption = Caption(text="a dog", confidence=0.5, log_probability=-1.0, keywords=keywords)
        store_caption(catalogue, picture_id, caption, np.ones(3, np.float32), ids)
    return picture_id


def test_keywords_are_stored_with_the_models_caption(catalogue: Catalogue) -> None:
    picture_id = store(catalogue, b"1", DOG, BEACH)
    expected = (Keyword("dog", 0.912346), BEACH)
    assert current_keywords(catalogue, picture_id) == expected
    assert model_keywords(catalogue, picture_id, "model@1") == expected
    assert model_keywords(catalogue, picture_id, None) is None
    assert has_caption(catalogue, picture_id, "model@1")
    assert [*catalogue.rows("SELECT word, probability FROM keywords ORDER BY id")] == [
        ("dog", 0.912346),
        ("beach", 0.4),
    ]


def test_the_latest_models_keywords_are_current_until_the_user_has_some(
    catalogue: Catalogue,
) -> None:
    picture_id = store(catalogue, b"1", DOG)
    store(catalogue, b"1", BEACH, ids=ModelIds("other@1", "other@2"))
    assert current_keywords(catalogue, picture_id) == (BEACH,)
    with catalogue.transaction():
        store_keyword_edit(catalogue, picture_id, [Keyword("ice", 1.0)])
    store(catalogue, b"1", DOG, ids=ModelIds("third@1", "third@2"))
    assert current_keywords(catalogue, picture_id) == (Keyword("ice", 1.0),)


def test_a_picture_that_is_shown_in_another_way_keeps_only_the_users_keywords(
    catalogue: Catalogue,
) -> None:
    picture_id = store(catalogue, b"1", DOG)
    with catalogue.transaction():
        change_picture(catalogue, picture_id, b"2")
    assert current_keywords(catalogue, picture_id) == ()
    assert catalogue.row("SELECT * FROM search_keywords") is None
    with catalogue.transaction():
        store_keyword_edit(catalogue, picture_id, [Keyword("ice", 1.0)])
    other_id = store(catalogue, b"3", DOG)
    with catalogue.transaction():
        copy_edits(catalogue, [picture_id], other_id)
    assert current_keywords(catalogue, other_id) == (Keyword("ice", 1.0),)


def test_keywords_that_differ_in_case_or_spaces_are_one() -> None:
    keywords = [Keyword(" my  Dog\n", 0.9), Keyword("MY DOG", 0.8), Keyword("\0", 0.7), DOG]
    assert unique_keywords(keywords) == (Keyword("my Dog", 0.9), DOG)


@pytest.mark.parametrize(("one", "two"), [("Straße", "STRASSE"), ("cafe\u0301", "Café")])
def test_spellings_of_a_keyword_have_one_key(one: str, two: str) -> None:
    assert word_key(one) == word_key(two)
