from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from showtell import Captioner
from showtell.caption import Keyword
from showtell.photos.catalogue.database import Catalogue
from showtell.photos.catalogue.filters import PhotoFilter
from showtell.photos.catalogue.keywords import store_keyword_edit
from showtell.photos.catalogue.search import search_photos
from showtell.photos.corrections import edit_caption
from support.photo_library import give_keywords, library, scan_fully

CAPTIONS = [
    "a dog runs on a sandy beach",
    "two dogs are running through snow",
    "a girl in a red jacket stands in the snow",
    "a boy jumps into a swimming pool",
    "Zwei Otter grüßen vom Eis",
    "東京タワーの夜景",
    "a man with a dog on a red sofa",
]


@pytest.fixture
def seven_photos(tmp_path: Path, catalogue: Catalogue, captioner: Captioner) -> Catalogue:
    """A catalogue of seven photos, 0 to 6, with captions by the user."""
    photos = library(tmp_path / "lib", 7)
    scan_fully(catalogue, tmp_path / "lib", captioner)
    for path, text in zip(photos, CAPTIONS, strict=True):
        edit_caption(catalogue, path, text)
    return catalogue


def search_names(catalogue: Catalogue, query: str, **options: object) -> set[int]:
    return {int(item.path.stem) for item in search_photos(catalogue, query, **options)}  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("dog", {0, 1, 6}),
        ("DOGS running", {0, 1}),
        ("dog on the beach", {0}),
        ("swim*", {3}),
        ("jump pool", {3}),
        ("dog -snow", {0, 6}),
        ("-dog -girl", {3, 4, 5}),
        ('"red jacket"', {2}),
        ('"jacket red"', set()),
        ('red -"red jacket"', {6}),
        ("gruszen", set()),
        ("grüßen", {4}),
        ("otter EIS", {4}),
        ("東京", {5}),
        ("タワー", {5}),
        ("京東", set()),
        ("the", {2}),
        ("unicorn", set()),
        ("!!!", set()),
        ("", {0, 1, 2, 3, 4, 5, 6}),
        ("dog AND snow", {1}),
        ("dog*", {0, 1, 6}),
        ("puppy", {0, 1, 6}),
        ("Puppies couches", {6}),
        ('"puppy"', set()),
        ("pupp*", set()),
        ("dog -puppy", {0, 1, 6}),
        ("kid", {2, 3}),
        ("boys", {3}),
        ("doggy -dog", set()),
    ],
)
def test_query_finds(seven_photos: Catalogue, query: str, expected: set[int]) -> None:
    assert search_names(seven_photos, query) == expected


def test_any_word_matches_one_of_several(seven_photos: Catalogue) -> None:
    assert search_names(seven_photos, "beach sofa", any_word=True) == {0, 6}
    assert search_names(seven_photos, "dog unicorn", any_word=True) == {0, 1, 6}


QUERY_FRAGMENTS = [
    '"',
    "-",
    "*",
    "(",
    ")",
    "AND",
    "NOT",
    "NEAR(",
    ":",
    "^",
    "'",
    "caption:",
    "dog",
    "\0",
    " ",
    "+",
    "{",
    "\ud800",
    ";--",
]


@settings(suppress_health_check=list(HealthCheck))
@given(st.text(), st.lists(st.sampled_from(QUERY_FRAGMENTS)))
@example(text="", fragments=['"'])
def test_every_text_is_a_valid_query(
    seven_photos: Catalogue, text: str, fragments: list[str]
) -> None:
    for query in (text, "".join(fragments), " ".join(fragments)):
        for any_word in (False, True):
            list(search_photos(seven_photos, query, any_word=any_word))


def test_sure_captions_come_first_and_survive_a_limit(
    seven_photos: Catalogue, tmp_path: Path
) -> None:
    names = [path.path.stem for path in search_photos(seven_photos, "dog")]
    assert len(names) > 2
    for confidence, name in enumerate(names, 1):  # the other way round
        seven_photos.execute(
            "UPDATE pictures SET confidence = ?, source = 'model' WHERE id ="
            " (SELECT picture_id FROM files WHERE name = ?)",
            (confidence / 10, f"{name}.jpg".encode()),
        )
    assert [path.path.stem for path in search_photos(seven_photos, "dog")] == names[::-1]
    edit_caption(seven_photos, tmp_path / "lib" / "000" / "00005.jpg", "a photo of a dog")
    ranked = list(search_photos(seven_photos, "dog"))
    assert int(ranked[0].path.stem) == 5
    assert list(search_photos(seven_photos, "dog", limit=2)) == ranked[:2]


@pytest.fixture
def five_photos(tmp_path: Path, catalogue: Catalogue, captioner: Captioner) -> Catalogue:
    """A catalogue of five photos with keywords by the model; captions of 0 and 4 say them."""
    photos = library(tmp_path / "lib", 5)
    scan_fully(catalogue, tmp_path / "lib", captioner)
    for path, text in zip(photos, ("a bear", "a dog", "a cat", "a man", "two bears"), strict=True):
        edit_caption(catalogue, path, text)
    give_keywords(catalogue, photos[1], dog=0.4, bear=0.9, snow=0.6)
    give_keywords(catalogue, photos[2], bear=0.2, snow=0.3)
    give_keywords(catalogue, photos[3], bears=0.6)
    catalogue.execute(
        "UPDATE pictures SET source = 'model', confidence = 0.7 WHERE caption = 'two bears'"
    )
    return catalogue


def ranked(catalogue: Catalogue, query: str, **options: object) -> list[int]:
    return [int(item.path.stem) for item in search_photos(catalogue, query, **options)]  # type: ignore[arg-type]


def test_a_keyword_finds_a_photo_and_the_surest_match_comes_first(five_photos: Catalogue) -> None:
    assert ranked(five_photos, "bear") == [0, 1, 4, 3, 2]
    assert ranked(five_photos, "bear", limit=2) == [0, 1]
    assert ranked(five_photos, "bear dog") == [1]
    assert ranked(five_photos, "dog* snow") == [1]
    assert ranked(five_photos, "snow") == [1, 2]
    assert ranked(five_photos, "snow bear") == [1, 2]
    assert ranked(five_photos, "snow man", any_word=True) == [3, 1, 2]


def test_results_name_the_keywords_that_matched_rather_than_the_caption(
    five_photos: Catalogue,
) -> None:
    results = {int(item.path.stem): item for item in search_photos(five_photos, "dog bear")}
    assert [item.word for item in results[1].keywords] == ["dog", "bear", "snow"]
    assert results[1].matches == (Keyword("bear", 0.9),)
    assert [item.matches for item in search_photos(five_photos, "bear")] == [
        (),
        (Keyword("bear", 0.9),),
        (),
        (Keyword("bears", 0.6),),
        (Keyword("bear", 0.2),),
    ]


def test_min_confidence_is_that_of_the_match(five_photos: Catalogue) -> None:
    filters = PhotoFilter(min_confidence=0.65)
    assert ranked(five_photos, "bear", filters=filters) == [0, 1, 4]
    filters = PhotoFilter(min_confidence=0.8)
    assert ranked(five_photos, "bear", filters=filters) == [0, 1]


def test_a_keyword_excludes_a_photo_only_if_it_is_more_likely_than_not(
    five_photos: Catalogue,
) -> None:
    assert ranked(five_photos, "bear -snow") == [0, 4, 3, 2]
    assert ranked(five_photos, "-snow -bear") == [2]


def test_a_keyword_by_a_person_is_certain_and_replaces_the_models(five_photos: Catalogue) -> None:
    picture_id = next(search_photos(five_photos, "cat")).picture_id
    with five_photos.transaction():
        store_keyword_edit(five_photos, picture_id, [Keyword("Café au lait", 1.0)])
    assert ranked(five_photos, "bear") == [0, 1, 4, 3]
    assert ranked(five_photos, "cafe") == [2]
    assert ranked(five_photos, '"cafe au"') == [2]
    with five_photos.transaction():
        store_keyword_edit(five_photos, picture_id, [])
    assert ranked(five_photos, "cafe") == []
    with five_photos.transaction():
        store_keyword_edit(five_photos, picture_id, None)
    assert ranked(five_photos, "bear") == [0, 1, 4, 3, 2]
