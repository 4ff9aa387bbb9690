from __future__ import annotations

import os

import pytest

from showtell.errors import PhotoError
from showtell.photos.metadata import raw_preview
from showtell.photos.photo_names import is_raw_name
from support.odd_photos import encoded
from support.photo_library import picture


def test_largest_preview_of_a_raw_photo_is_extracted() -> None:
    small, large = (encoded(picture(7, size), "JPEG") for size in ((200, 150), (320, 240)))
    sensor = b"\xff\xd8\xff\xc3" + bytes(range(256)) * 40
    data = b"II*\0" + os.urandom(999) + small + sensor + large + os.urandom(999) + small
    assert raw_preview.extract_preview(data) == large
    assert is_raw_name("IMG_1.CR2")
    assert not is_raw_name("IMG_1.jpg")
    with pytest.raises(PhotoError, match="no readable preview"):
        raw_preview.extract_preview(b"II*\0" + sensor)
