"""What decoding a photo takes, by its header."""

from __future__ import annotations

import io
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from showtell.server.photo_pixels import BATCH_PIXELS, LIGHT_PIXELS, decoding_pixels, fits_batch
from support.odd_photos import png_of_size
from support.pixel_bombs import pixel_bomb
from support.plain_tiffs import wide_tile_tiff

MAX_PIXELS = 50_000_000


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF"])
def test_photo_takes_its_pixels(kind: str) -> None:
    assert decoding_pixels(pixel_bomb(kind, (300, 200)), MAX_PIXELS) == 60_000


def test_jpeg_takes_a_quarter_and_more_with_many_scans() -> None:
    assert decoding_pixels(pixel_bomb("JPEG", (400, 300)), MAX_PIXELS) == 30_000
    buffer = io.BytesIO()
    Image.new("RGB", (400, 300)).save(buffer, "JPEG", progressive=True)
    progressive = buffer.getvalue()
    scans = progressive.count(b"\xff\xda")
    assert scans > 4
    assert decoding_pixels(progressive, MAX_PIXELS) == 400 * 300 * scans // 16


def test_photo_that_its_header_refuses_takes_nothing() -> None:
    assert decoding_pixels(png_of_size(50_000, 50_000), MAX_PIXELS) == 0
    assert decoding_pixels(pixel_bomb("PNG", (300, 200)), 50_000) == 0
    assert decoding_pixels(b"", MAX_PIXELS) == 0
    assert decoding_pixels(b"no photo", MAX_PIXELS) == 0
    assert decoding_pixels(pixel_bomb("PNG", (300, 200))[:20], MAX_PIXELS) == 0


def test_jpeg_without_its_end_takes_its_full_size() -> None:
    jpeg = pixel_bomb("JPEG", (400, 300))
    assert decoding_pixels(jpeg[:-2], MAX_PIXELS) == 120_000


def test_tiff_takes_the_pixels_of_the_page_that_is_decoded() -> None:
    buffer = io.BytesIO()
    thumbnail, picture = Image.new("RGB", (30, 20)), Image.new("RGB", (300, 200))
    picture.encoderinfo = {"tiffinfo": {254: 0}}
    thumbnail.save(buffer, "TIFF", save_all=True, append_images=[picture], tiffinfo={254: 1})
    assert decoding_pixels(buffer.getvalue(), MAX_PIXELS) == 60_000


def test_tiff_with_tiles_far_wider_than_the_picture_takes_whole_tiles() -> None:
    assert decoding_pixels(wide_tile_tiff(), 3_000_000_000) == 500_000 * 4096
    assert decoding_pixels(wide_tile_tiff(), MAX_PIXELS) == 0


def test_png_with_metadata_that_pillow_refuses_takes_its_pixels() -> None:
    photo = pixel_bomb("PNG", (300, 200))
    text = b"tEXtComment\0broken"
    broken = struct.pack(">I", len(text) - 4) + text + b"\0\0\0\0"
    assert decoding_pixels(photo[:33] + broken + photo[33:], MAX_PIXELS) == 60_000


@given(st.lists(st.integers(0, 2 * LIGHT_PIXELS), min_size=1, max_size=12))
def test_batch_has_the_first_light_photos_that_fit(pixels: list[int]) -> None:
    fits = fits_batch(pixels)
    light = [size for size in pixels if size <= LIGHT_PIXELS]
    chosen = [size for size, fit in zip(pixels, fits, strict=True) if fit]
    assert chosen == light[: len(chosen)]
    assert sum(chosen) <= BATCH_PIXELS
    assert bool(chosen) == bool(light)
