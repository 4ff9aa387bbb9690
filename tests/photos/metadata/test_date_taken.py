from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from PIL.PngImagePlugin import PngInfo

from showtell.image import Preprocessing
from showtell.photos.reading import read_photo
from support.paths import ROOT
from support.photo_library import exiftool, photo

# tags in the order of precedence, each with its date
TAGS = (
    ("EXIF:DateTimeOriginal", "2001:05:31 18:30:00", "2001-05-31T18:30:00"),
    ("XMP-exif:DateTimeOriginal", "2002:05:31 18:30:00+02:00", "2002-05-31T18:30:00"),
    ("XMP-photoshop:DateCreated", "2003:05", "2003-05"),
    ("IPTC:DateCreated", "2004:05:31", "2004-05-31"),
    ("EXIF:CreateDate", "2005:05:31 18:30:00", "2005-05-31T18:30:00"),
    ("XMP-exif:DateTimeDigitized", "2006:05:31 18:30:00", "2006-05-31T18:30:00"),
    ("XMP-xmp:CreateDate", "2007", "2007"),
    ("EXIF:ModifyDate", "2009:05:31 18:30:00", "2009-05-31T18:30:00"),
)


def taken(path: Path) -> str | None:
    return read_photo(path, Preprocessing(), lambda _: False).exif.taken


@pytest.mark.skipif(shutil.which("exiftool") is None, reason="exiftool is not installed")
@pytest.mark.parametrize("suffix", [".jpg", ".tif"])
def test_date_is_found_in_every_place_in_the_order_of_precedence(
    tmp_path: Path, suffix: str
) -> None:
    path = photo(tmp_path / f"a{suffix}", 1)
    for tag, value, expected in reversed(TAGS):
        exiftool(f"-{tag}={value}", "-overwrite_original", path)
        assert taken(path) == expected


@pytest.mark.skipif(shutil.which("exiftool") is None, reason="exiftool is not installed")
def test_date_of_a_sidecar_counts_if_the_photo_has_none(tmp_path: Path) -> None:
    path = photo(tmp_path / "a.jpg", 1)
    exiftool("-XMP-exif:DateTimeOriginal=2008:05:31 18:30:00", "-o", tmp_path / "a.XMP", path)
    assert taken(path) == "2008-05-31T18:30:00"
    exiftool("-XMP-xmp:CreateDate=2007", "-overwrite_original", path)
    assert taken(path) == "2007"


@pytest.mark.skipif(shutil.which("exiftool") is None, reason="exiftool is not installed")
def test_time_of_iptc_is_read(tmp_path: Path) -> None:
    path = photo(tmp_path / "a.jpg", 1)
    tags = ("-IPTC:DateCreated=2004:05:31", "-IPTC:TimeCreated=18:30:00+02:00")
    exiftool(*tags, "-overwrite_original", path)
    assert taken(path) == "2004-05-31T18:30:00"


def test_creation_time_of_a_png_counts_and_its_last_change_does_not(tmp_path: Path) -> None:
    info = PngInfo()
    info.add(b"tIME", bytes((7, 231, 5, 31, 18, 30, 0)))
    path = photo(tmp_path / "a.png", 1, pnginfo=info)
    assert taken(path) is None
    info.add_text("Creation Time", "Wed, 31 May 2023 18:30:00 +0200")
    photo(path, 1, pnginfo=info)
    assert taken(path) == "2023-05-31T18:30:00"


def test_shared_case_has_a_date() -> None:
    path = ROOT.parent / "shared" / "cases" / "jpeg" / "date_only_in_xmp.jpg"
    if not path.exists():
        pytest.skip("shared cases are missing")
    assert taken(path) == "2023-05-31T18:30:00"
