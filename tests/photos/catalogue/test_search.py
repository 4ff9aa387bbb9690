from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from showtell import Captioner
from showtell.photos.catalogue.database import Catalogue
from showtell.photos.catalogue.search import search_photos
from showtell.photos.corrections import edit_caption
from support.photo_library import library, scan_fully

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
