from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from showtell import Captioner
from showtell.errors import CatalogueError, ShowtellError
from showtell.photos.catalogue.database import Catalogue
from showtell.photos.catalogue.records import PhotoFilter, parse_date
from showtell.photos.catalogue.search import search_photos
from showtell.photos.corrections import edit_caption
from showtell.photos.similar import find_similar
from support.photo_library import dated_photo, library, photo, record_of, scan_fully

WORDS = [
    "a dog runs on a sandy beach",
    "two dogs are running through snow",
    "a girl in a red jacket stands in the snow",
    "a boy jumps into a swimming pool",
    "Zwei Otter grüßen vom Eis",
    "東京タワーの夜景",
    "a man with a dog on a red sofa",
]


@pytest.fixture
def words(tmp_path: Path, catalogue: Catalogue, captioner: Captioner) -> Catalogue:
    """A catalogue of seven photos, 0 to 6, with a person's words."""
    photos = library(tmp_path / "lib", 7)
    scan_fully(catalogue, tmp_path / "lib", captioner)
    for path, text in zip(photos, WORDS, strict=True):
        edit_caption(catalogue, path, text)
    return catalogue


def found(catalogue: Catalogue, query: str, **options: object) -> set[int]:
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
    ],
)
def test_query_finds(words: Catalogue, query: str, expected: set[int]) -> None:
    assert found(words, query) == expected


def test_any_word_matches_one_of_several(words: Catalogue) -> None:
    assert found(words, "beach sofa", any_word=True) == {0, 6}
    assert found(words, "dog unicorn", any_word=True) == {0, 1, 6}


PIECES = [
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


@settings(deadline=None, suppress_health_check=list(HealthCheck))
@given(st.text(), st.lists(st.sampled_from(PIECES)))
@example(text="", pieces=['"'])
def test_every_text_is_a_valid_query(words: Catalogue, text: str, pieces: list[str]) -> None:
    for query in (text, "".join(pieces), " ".join(pieces)):
        for any_word in (False, True):
            list(search_photos(words, query, any_word=any_word))


def test_best_matches_come_first_and_survive_a_limit(words: Catalogue, tmp_path: Path) -> None:
    edit_caption(words, tmp_path / "lib" / "000" / "00005.jpg", "dog dog dog")
    ranked = list(search_photos(words, "dog"))
    assert int(ranked[0].path.stem) == 5
    assert list(search_photos(words, "dog", limit=2)) == ranked[:2]


def test_filters_by_folder_file_date_and_confidence(
    tmp_path: Path, catalogue: Catalogue, captioner: Captioner
) -> None:
    lib = tmp_path / "lib"
    dates = {
        "a/1.jpg": "2023:12:31 23:59:59",
        "a/2.jpg": "2024:05:31 10:00:00",
        "ab/3.jpg": "2024:06:01 00:00:00",
        "a/sub/4.jpg": "2025:01:01 00:00:00",
    }
    for seed, (name, date) in enumerate(dates.items()):
        dated_photo(lib / name, seed, date)
    photo(lib / "a" / "5.jpg", 9)
    scan_fully(catalogue, lib, captioner)

    def names(**options: object) -> set[str]:
        return {item.path.stem for item in search_photos(catalogue, "", PhotoFilter(**options))}  # type: ignore[arg-type]

    assert names(folders=[lib / "a"]) == {"1", "2", "4", "5"}
    assert names(folders=[lib / "ab", lib / "a" / "1.jpg"]) == {"1", "3"}
    assert names(after="2024") == {"2", "3", "4"}
    assert names(after="2024", before="2025") == {"2", "3"}
    assert names(after="2024-06", before="2024-06-02") == {"3"}
    assert names(before="2024-06-01") == {"1", "2"}
    record = record_of(catalogue, lib / "a" / "5.jpg")
    assert record.confidence is not None
    assert "5" in names(min_confidence=record.confidence)
    assert "5" not in names(min_confidence=record.confidence + 1e-6)
    edit_caption(catalogue, record.path, "sure")
    assert "5" in names(min_confidence=1)


@pytest.mark.parametrize("text", ["yesterday", "2024-13", "2023-02-29", "20240101", "", "99"])
def test_text_that_is_not_a_date_is_rejected(text: str) -> None:
    with pytest.raises(ShowtellError, match="not a date: write 2024"):
        parse_date(text)


def test_similar_photos_are_ranked_by_their_features(
    tmp_path: Path, catalogue: Catalogue, captioner: Captioner
) -> None:
    photos = library(tmp_path / "lib", 30)
    photo(tmp_path / "lib" / "000" / "z.png", 3)  # the third picture in another format
    scan_fully(catalogue, tmp_path / "lib", captioner)

    def unused() -> Captioner:
        raise AssertionError("the features are in the catalogue")

    ranked = list(find_similar(catalogue, photos[3], captioner=unused))
    assert len(ranked) == 30
    assert ranked[0].path.name == "z.png"
    likenesses = [item.similarity for item in ranked]
    assert likenesses == sorted(likenesses, key=lambda value: -(value or 0))
    pooled = [captioner.features(path).pooled for path in photos]
    for item in ranked[1:5]:
        one, other = pooled[3], pooled[int(item.path.stem)]
        assert one is not None
        assert other is not None
        cosine = float(one @ other / ((one @ one) * (other @ other)) ** 0.5)
        assert item.similarity == pytest.approx(cosine, abs=0.02)
    outside = photo(tmp_path / "elsewhere.png", 3)
    assert next(
        find_similar(catalogue, outside, captioner=lambda: captioner)
    ).similarity == pytest.approx(1, abs=0.001)


def test_search_for_similar_photos_without_features_gives_a_hint(
    tmp_path: Path, catalogue: Catalogue, captioner: Captioner
) -> None:
    with pytest.raises(CatalogueError, match="scan --recaption"):
        list(find_similar(catalogue, photo(tmp_path / "a.jpg", 1), captioner=lambda: captioner))


def test_paths_with_any_bytes_can_be_filtered(
    tmp_path: Path, catalogue: Catalogue, captioner: Captioner
) -> None:
    odd = Path(os.fsdecode(os.fsencode(tmp_path) + b"/lib/-\n\xff<b>"))
    path = photo(odd / "%_'\".jpg", 1)
    photo(tmp_path / "lib" / "other.jpg", 2)
    scan_fully(catalogue, tmp_path / "lib", captioner)
    assert [item.path for item in search_photos(catalogue, "", PhotoFilter([odd]))] == [path]
    assert [item.path for item in search_photos(catalogue, "", PhotoFilter([path]))] == [path]
