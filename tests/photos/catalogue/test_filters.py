from __future__ import annotations

import os
from pathlib import Path

import pytest

from showtell import Captioner
from showtell.errors import ShowtellError
from showtell.photos.catalogue.database import Catalogue
from showtell.photos.catalogue.filters import PhotoFilter, parse_date
from showtell.photos.catalogue.records import photo_records
from showtell.photos.catalogue.search import search_photos
from showtell.photos.corrections import edit_caption
from support.photo_library import dated_photo, photo, record_of, scan_fully


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
    catalogue.execute("UPDATE pictures SET confidence = NULL WHERE id = ?", (record.picture_id,))
    assert "5" in names(min_confidence=1)  # of a model that gives no confidence
    edit_caption(catalogue, record.path, "sure")
    assert "5" in names(min_confidence=1)


@pytest.mark.parametrize("text", ["yesterday", "2024-13", "2023-02-29", "20240101", "", "99"])
def test_text_that_is_not_a_date_is_rejected(text: str) -> None:
    with pytest.raises(ShowtellError, match="not a date: write 2024"):
        parse_date(text)


def test_paths_with_any_bytes_can_be_filtered(
    tmp_path: Path, catalogue: Catalogue, captioner: Captioner
) -> None:
    odd = Path(os.fsdecode(os.fsencode(tmp_path) + b"/lib/-\n\xff<b>"))
    path = photo(odd / "%_'\".jpg", 1)
    photo(tmp_path / "lib" / "other.jpg", 2)
    scan_fully(catalogue, tmp_path / "lib", captioner)
    assert [item.path for item in search_photos(catalogue, "", PhotoFilter([odd]))] == [path]
    assert [item.path for item in search_photos(catalogue, "", PhotoFilter([path]))] == [path]


def test_photo_with_only_a_year_or_month_counts_as_taken_on_its_first_day(
    tmp_path: Path, catalogue: Catalogue, captioner: Captioner
) -> None:
    dates = {"year.jpg": "2023", "month.jpg": "2023:05", "day.jpg": "2023:05:02"}
    for seed, (name, date) in enumerate(dates.items()):
        dated_photo(tmp_path / "lib" / name, seed, date)
    scan_fully(catalogue, tmp_path / "lib", captioner)
    for after, before, expected in (
        ("2023", "2024", ["day.jpg", "month.jpg", "year.jpg"]),
        ("2023-01-02", None, ["day.jpg", "month.jpg"]),
        (None, "2023-05-02", ["month.jpg", "year.jpg"]),
    ):
        found = photo_records(catalogue, PhotoFilter(after=after, before=before))
        assert [record.path.name for record in found] == expected
