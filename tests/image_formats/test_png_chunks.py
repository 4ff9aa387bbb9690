from __future__ import annotations

import struct
import zlib
from collections.abc import Callable

import pytest

from showtell.errors import PhotoError
from showtell.image import open_photo
from showtell.image_formats.photo_header import picture_size
from showtell.image_formats.png_chunks import MAX_CHUNKS
from support.odd_photos import corners, encoded

PNG = encoded(corners(), "PNG")
HEADER_END = 33
EMPTY_CHUNK = struct.pack(">I4sI", 0, b"aaAa", zlib.crc32(b"aaAa"))


@pytest.mark.parametrize("read", [open_photo, picture_size])
def test_png_of_very_many_chunks_is_refused(read: Callable[[bytes], object]) -> None:
    read(PNG[:HEADER_END] + EMPTY_CHUNK * 1000 + PNG[HEADER_END:])
    with pytest.raises(PhotoError, match="a PNG of more than 100,000 chunks: save it again"):
        read(PNG[:HEADER_END] + EMPTY_CHUNK * MAX_CHUNKS + PNG[HEADER_END:])
