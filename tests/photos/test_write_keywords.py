"""Keywords that `write_captions` puts into photos and sidecars, read back by exiftool."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from showtell import Captioner
from showtell.errors import PhotoError
from showtell.photos.catalogue.database import Catalogue
from showtell.photos.metadata.sidecar import sidecar_path
from showtell.photos.metadata.xmp import read_keywords, set_fields
from showtell.photos.undo import undo_last_run
from showtell.photos.write_plan import WriteOptions
from support.photo_library import (
    contents,
    exiftool,
    give_keywords,
    library,
    photo,
    pixels,
    record_of,
    scan_fully,
    undo_fully,
    write_fully,
)

EMBED = WriteOptions(to="embed")
KEYWORDS_ONLY = WriteOptions(fields=("keywords",))


def keywords(path: Path) -> dict[str, list[str]]:
    """Return the keywords that exiftool reads in a file, by group."""
    options = ("-j", "-G", "-struct", "-charset", "iptc=UTF8")
    [values] = json.loads(exiftool(*options, "-XMP-dc:Subject", "-IPTC:Keywords", path))
    del values["SourceFile"]
    return {
        name.split(":")[0]: [str(word) for word in (value if isinstance(value, list) else [value])]
        for name, value in values.items()
    }


@pytest.fixture
def photos(tmp_path: Path, catalogue: Catalogue, captioner: Captioner) -> list[Path]:
    """Scanned photos: a JPEG, a PNG and a WebP, a TIFF and a raw photo, with keywords."""
    paths = library(tmp_path / "lib", 5, (".jpg", ".png", ".webp", ".tif", ".cr2"))
    scan_fully(catalogue, tmp_path / "lib", captioner)
    for path in paths:
        give_keywords(catalogue, path, dog=0.93, beach=0.5, ball=0.49)
    return paths


def test_sidecars_get_keywords_from_the_threshold_on_and_undo_removes_them(
    tmp_path: Path, catalogue: Catalogue, photos: list[Path]
) -> None:
    before = contents(tmp_path / "lib")
    counts = write_fully(catalogue)
    assert (counts.sidecars, counts.keywords) == (5, 5)
    for path in photos:
        assert keywords(sidecar_path(path)) == {"XMP": ["dog", "beach"]}
    assert write_fully(catalogue).up_to_date == 5
    assert undo_fully(catalogue).restored == 5
    assert contents(tmp_path / "lib") == before
    write_fully(catalogue, WriteOptions(min_probability=0.4))
    assert keywords(sidecar_path(photos[0])) == {"XMP": ["dog", "beach", "ball"]}
    write_fully(catalogue, WriteOptions(min_probability=0.9))
    assert keywords(sidecar_path(photos[0])) == {"XMP": ["dog"]}


def test_embedded_keywords_keep_pixels_and_undo_is_exact(
    tmp_path: Path, catalogue: Catalogue, captioner: Captioner, photos: list[Path]
) -> None:
    before, decoded = contents(tmp_path / "lib"), [pixels(path) for path in photos[:3]]
    counts = write_fully(catalogue, EMBED)
    assert (counts.embedded, counts.sidecars, counts.keywords) == (3, 2, 5)
    both = ["dog", "beach"]
    assert [keywords(path) for path in photos[:3]] == [
        {"XMP": both, "IPTC": both},
        {"XMP": both},
        {"XMP": both},
    ]
    assert [keywords(sidecar_path(path)) for path in photos[3:]] == [{"XMP": both}] * 2
    assert [pixels(path) for path in photos[:3]] == decoded
    assert scan_fully(catalogue, tmp_path / "lib", captioner).unchanged == 5
    written = contents(tmp_path / "lib")
    assert write_fully(catalogue, EMBED).up_to_date == 5
    assert contents(tmp_path / "lib") == written
    give_keywords(catalogue, photos[0], cat=0.9)
    assert write_fully(catalogue, EMBED).keywords == 1
    assert keywords(photos[0]) == {"XMP": ["cat"], "IPTC": ["cat"]}
    undo_fully(catalogue)
    assert contents(tmp_path / "lib") == written
    undo_fully(catalogue)
    assert contents(tmp_path / "lib") == before


def test_a_persons_keywords_stay_first_and_unchanged_when_showtells_come_and_go(
    catalogue: Catalogue, photos: list[Path]
) -> None:
    for path in photos[:3]:
        exiftool("-overwrite_original", "-XMP-dc:Subject=Zoé", "-XMP-dc:Subject=Dog", path)
    exiftool("-overwrite_original", "-IPTC:Keywords=Zo", "-IPTC:Keywords=Dog", photos[0])
    write_fully(catalogue, EMBED)
    joined = ["Zoé", "Dog", "beach"]
    assert keywords(photos[0]) == {"XMP": joined, "IPTC": ["Zo", "Dog", "beach"]}
    assert [keywords(path) for path in photos[1:3]] == [{"XMP": joined}] * 2
    for path in photos[:3]:
        exiftool("-overwrite_original", "-XMP-dc:Subject+=beach party", path)
        give_keywords(catalogue, path, cat=0.9)
    write_fully(catalogue, EMBED)
    by_person = ["Zoé", "Dog", "beach party"]
    assert keywords(photos[0]) == {"XMP": [*by_person, "cat"], "IPTC": ["Zo", "Dog", "cat"]}
    assert [keywords(path) for path in photos[1:3]] == [{"XMP": [*by_person, "cat"]}] * 2
    for path in photos[:3]:
        give_keywords(catalogue, path)
    write_fully(catalogue, EMBED)
    assert keywords(photos[0]) == {"XMP": by_person, "IPTC": ["Zo", "Dog"]}
    assert [keywords(path) for path in photos[1:3]] == [{"XMP": by_person}] * 2


def test_latin_1_keywords_of_a_person_keep_their_meaning(
    catalogue: Catalogue, photos: list[Path]
) -> None:
    latin_1 = ("-charset", "iptc=Latin", "-codedcharacterset=")
    exiftool("-overwrite_original", *latin_1, "-IPTC:Keywords=Zürich", photos[0])
    assert b"Z\xfcrich" in photos[0].read_bytes()
    write_fully(catalogue, EMBED)
    assert b"Z\xfcrich" in photos[0].read_bytes()
    with catalogue.transaction():
        catalogue.execute("DELETE FROM writes")  # showtell's own keywords are now a person's
    give_keywords(catalogue, photos[0], naß=0.9)
    write_fully(catalogue, EMBED)
    assert keywords(photos[0])["IPTC"] == ["Zürich", "dog", "beach", "naß"]


def test_a_new_sidecar_repeats_the_keywords_in_the_photo_which_it_hides_from_programs(
    catalogue: Catalogue, photos: list[Path]
) -> None:
    exiftool("-overwrite_original", "-IPTC:Keywords=Anna", "-IPTC:Keywords=Rom", photos[0])
    exiftool("-overwrite_original", "-XMP-dc:Subject=Anna", photos[3])
    sidecar_path(photos[1]).write_bytes(set_fields(None, {"keywords": ("Rom",)}))
    write_fully(catalogue)
    assert keywords(sidecar_path(photos[0])) == {"XMP": ["Anna", "Rom", "dog", "beach"]}
    assert keywords(sidecar_path(photos[1])) == {"XMP": ["Rom", "dog", "beach"]}
    assert keywords(sidecar_path(photos[3])) == {"XMP": ["Anna", "dog", "beach"]}
    give_keywords(catalogue, photos[0])
    write_fully(catalogue)
    assert keywords(sidecar_path(photos[0])) == {"XMP": ["Anna", "Rom"]}


def test_keywords_embedded_earlier_are_not_taken_for_a_persons_by_a_sidecar(
    catalogue: Catalogue, photos: list[Path]
) -> None:
    write_fully(catalogue, EMBED)
    write_fully(catalogue)
    assert keywords(sidecar_path(photos[0])) == {"XMP": ["dog", "beach"]}
    give_keywords(catalogue, photos[0], cat=0.8)
    write_fully(catalogue)
    assert keywords(sidecar_path(photos[0])) == {"XMP": ["cat"]}


def test_undone_keywords_count_no_longer_but_those_that_undo_leaves_do(
    catalogue: Catalogue, photos: list[Path]
) -> None:
    path = photos[0]
    write_fully(catalogue, EMBED)
    undo_fully(catalogue)
    exiftool("-overwrite_original", "-XMP-dc:Subject=dog", path)
    give_keywords(catalogue, path)
    write_fully(catalogue, EMBED)
    assert keywords(path) == {"XMP": ["dog"]}  # it is a person's now
    write_fully(catalogue, EMBED)
    give_keywords(catalogue, path, cat=0.9)
    write_fully(catalogue, EMBED)
    exiftool("-overwrite_original", "-Artist=Ansel", path)
    errors: list[PhotoError] = []
    *_, counts = undo_last_run(catalogue, report=errors.append)
    assert (counts.restored, counts.skipped) == (0, 1)
    give_keywords(catalogue, path)
    write_fully(catalogue, EMBED)
    assert keywords(path) == {"XMP": ["dog"], "IPTC": ["dog"]}


def test_a_moved_photo_still_loses_keywords_that_are_no_longer_given(
    tmp_path: Path, catalogue: Catalogue, captioner: Captioner, photos: list[Path]
) -> None:
    write_fully(catalogue, EMBED)
    moved = photos[0].rename(tmp_path / "lib" / "moved.jpg")
    assert scan_fully(catalogue, tmp_path / "lib", captioner).moved == 1
    give_keywords(catalogue, moved, cat=0.9)
    write_fully(catalogue, EMBED)
    assert keywords(moved) == {"XMP": ["cat"], "IPTC": ["cat"]}


def test_keywords_are_written_without_a_caption_that_is_unsure_or_a_persons(
    catalogue: Catalogue, photos: list[Path]
) -> None:
    catalogue.execute(
        "UPDATE pictures SET confidence = 0.1 WHERE id = ?",
        (record_of(catalogue, photos[0]).picture_id,),
    )
    exiftool("-overwrite_original", "-XMP-dc:Description=by hand", photos[1])
    give_keywords(catalogue, photos[2])
    catalogue.execute(
        "UPDATE pictures SET confidence = 0.1 WHERE id = ?",
        (record_of(catalogue, photos[2]).picture_id,),
    )
    counts = write_fully(catalogue, WriteOptions(to="embed", fields=("description", "keywords")))
    assert (counts.unsure, counts.keywords) == (1, 4)
    tags = ("-s3", "-XMP-dc:Description", "-XMP-dc:Subject")
    assert exiftool(*tags, photos[0]).splitlines() == ["dog, beach"]
    assert exiftool(*tags, photos[1]).splitlines() == ["by hand", "dog, beach"]
    assert exiftool(*tags, photos[2]) == ""


def test_fields_choose_whether_and_where_keywords_are_written(
    catalogue: Catalogue, photos: list[Path]
) -> None:
    write_fully(catalogue, WriteOptions(to="embed", fields=("description", "alt", "iptc")))
    assert keywords(photos[0]) == {}
    write_fully(catalogue, WriteOptions(to="embed", fields=("keywords",)))
    assert keywords(photos[0]) == {"XMP": ["dog", "beach"]}
    write_fully(catalogue, WriteOptions(to="embed", fields=("keywords", "iptc")))
    assert keywords(photos[0]) == {"XMP": ["dog", "beach"], "IPTC": ["dog", "beach"]}


def test_overwrite_writes_a_removed_keyword_again_and_keeps_a_persons(
    catalogue: Catalogue, photos: list[Path]
) -> None:
    exiftool("-overwrite_original", "-XMP-dc:Subject=Anna", photos[1])
    write_fully(catalogue, EMBED)
    exiftool("-overwrite_original", "-XMP-dc:Subject-=dog", photos[1])
    write_fully(catalogue, EMBED)
    assert keywords(photos[1]) == {"XMP": ["Anna", "beach"]}
    write_fully(catalogue, WriteOptions(to="embed", overwrite=True))
    assert keywords(photos[1]) == {"XMP": ["Anna", "beach", "dog"]}


def test_keywords_of_a_sidecar_whose_other_bytes_stay(
    catalogue: Catalogue, captioner: Captioner, tmp_path: Path
) -> None:
    path = photo(tmp_path / "lib" / "a.cr2", 3)
    scan_fully(catalogue, tmp_path / "lib", captioner)
    give_keywords(catalogue, path, dog=0.9)
    exiftool("-o", path.with_suffix(".xmp"), "-XMP-xmp:Rating=4", "-XMP-dc:Subject=Anna", path)
    old = path.with_suffix(".xmp").read_bytes()
    write_fully(catalogue, KEYWORDS_ONLY)
    new = path.with_suffix(".xmp").read_bytes()
    assert read_keywords(new) == ("Anna", "dog")
    assert re.sub(rb"\s*<rdf:li>dog</rdf:li>", b"", new) == old
    undo_fully(catalogue)
    assert path.with_suffix(".xmp").read_bytes() == old
