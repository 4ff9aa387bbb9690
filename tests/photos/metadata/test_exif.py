from __future__ import annotations

from pathlib import Path

import pytest

from showtell.photos.metadata.container import parse_container
from showtell.photos.metadata.exif import read_exif
from support.photo_library import dated_photo


def test_exif_is_read_and_invalid_values_are_ignored(tmp_path: Path) -> None:
    data = dated_photo(tmp_path / "a.jpg", 1, "2024:05:31 18:30:00", position=True).read_bytes()
    container = parse_container(data)
    assert container is not None
    info = read_exif(next(container.payloads("exif", data)))
    assert info.taken == "2024-05-31T18:30:00"
    assert info.latitude == pytest.approx(-33.858333)
    assert info.longitude == pytest.approx(151.21)
    never_set = dated_photo(tmp_path / "b.jpg", 1, "0000:00:00 00:00:00").read_bytes()
    container = parse_container(never_set)
    assert container is not None
    assert read_exif(next(container.payloads("exif", never_set))).taken is None
    assert read_exif(b"Exif\0\0MM\0*\xff\xff\xff\xff") == read_exif(None)
