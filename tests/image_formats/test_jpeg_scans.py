from __future__ import annotations

import io
from collections.abc import Callable

import pytest
from PIL import Image

from showtell.errors import PhotoError
from showtell.image import Preprocessing, open_photo
from showtell.image_formats.jpeg_scans import MAX_SCANS, has_more_scans, read_jpeg_header
from showtell.image_formats.photo_header import picture_size
from support.odd_photos import corners, encoded

BASELINE = encoded(corners(), "JPEG")
PROGRESSIVE = encoded(corners(), "JPEG", progressive=True)
SCANS = PROGRESSIVE.count(b"\xff\xda")


def with_scans(count: int, jpeg: bytes = PROGRESSIVE) -> bytes:
    """Repeat the last scan of a JPEG until it has `count`."""
    last = jpeg[jpeg.rfind(b"\xff\xda") : -2]
    return jpeg[:-2] + last * (count - jpeg.count(b"\xff\xda")) + b"\xff\xd9"


def baseline_in_three_scans() -> bytes:
    """Return a JPEG that is not progressive and has each colour in a scan of its own."""
    grey = encoded(Image.new("L", (64, 64), 90), "JPEG")
    frame = grey.find(b"\xff\xc0")
    start = grey.find(b"\xff\xda")
    entropy = grey[start + 10 : -2]
    head = b"\xff\xc0\x00\x11\x08\x00\x40\x00\x40\x03\x01\x11\x00\x02\x11\x00\x03\x11\x00"
    scans = b"".join(
        b"\xff\xda\x00\x08\x01" + bytes([component, 0, 0, 63, 0]) + entropy
        for component in (1, 2, 3)
    )
    return grey[:frame] + head + grey[frame + 13 : start] + scans + b"\xff\xd9"


def test_header_says_whether_more_scans_follow() -> None:
    assert not read_jpeg_header(io.BytesIO(BASELINE)).multi_scan
    assert read_jpeg_header(io.BytesIO(PROGRESSIVE)).multi_scan
    assert read_jpeg_header(io.BytesIO(baseline_in_three_scans())).multi_scan
    assert read_jpeg_header(io.BytesIO(BASELINE[:2] + b"\xff\xff\xff" + BASELINE[3:])).bits == 8
    assert read_jpeg_header(io.BytesIO(b"\xff\xd8\xff")).multi_scan  # unknown: all are counted


def test_scans_of_the_picture_are_counted_and_no_others() -> None:
    assert has_more_scans(io.BytesIO(PROGRESSIVE), SCANS - 1)
    assert not has_more_scans(io.BytesIO(PROGRESSIVE), SCANS)
    comment = b"\xff\xfe\x01\x92" + b"\xff\xda" * 200
    thumbnail = PROGRESSIVE[:2] + comment + PROGRESSIVE[2:]
    assert not has_more_scans(io.BytesIO(thumbnail), SCANS)
    assert not has_more_scans(io.BytesIO(PROGRESSIVE + with_scans(200)), SCANS)


def test_jpeg_of_hundreds_of_scans_is_refused() -> None:
    assert open_photo(with_scans(MAX_SCANS)).size == (60, 40)
    with pytest.raises(PhotoError, match=r"in more than 100 scans.*save it again"):
        open_photo(with_scans(MAX_SCANS + 1))
    many = with_scans(MAX_SCANS + 1, baseline_in_three_scans())
    with pytest.raises(PhotoError, match="in more than 100 scans"):
        open_photo(many)
    assert open_photo(baseline_in_three_scans()).size == (64, 64)


def test_large_progressive_jpeg_has_fewer_scans() -> None:
    large = with_scans(60, encoded(corners(600, 400), "JPEG", progressive=True))
    small_model = Preprocessing(height=32, width=32)
    assert open_photo(large, preprocessing=small_model, max_pixels=500_000).width == 150
    with pytest.raises(PhotoError, match="in more than 31 scans"):
        open_photo(large, preprocessing=small_model, max_pixels=250_000)


def test_scans_are_counted_once_through_long_fillings() -> None:
    """A search that starts again at each byte of the filling would not end."""
    comment = b"\xff\xfe\x01\x92" + b"\xff\xda" * 200
    filled = PROGRESSIVE[:2] + comment + PROGRESSIVE[2:-2] + b"\xff" * 2_000_000 + b"\0\xff\xd9"
    assert not has_more_scans(io.BytesIO(filled), SCANS)


@pytest.mark.parametrize("part", [b"\xff", b"\xff\xfe\0\2"])  # fill bytes, empty comments
@pytest.mark.parametrize("read", [open_photo, picture_size])
def test_jpeg_of_very_many_segments_is_refused(
    read: Callable[[bytes], object], part: bytes
) -> None:
    read(BASELINE[:2] + part * 500 + BASELINE[2:])
    with pytest.raises(PhotoError, match="a JPEG of more than 10,000 segments"):
        read(BASELINE[:2] + part * 10_000 + BASELINE[2:])


def test_jpeg_of_twelve_bits_is_named() -> None:
    frame = BASELINE.find(b"\xff\xc0")
    deep = BASELINE[: frame + 1] + b"\xc1" + BASELINE[frame + 2 : frame + 4] + b"\x0c"
    deep += BASELINE[frame + 5 :]
    with pytest.raises(PhotoError, match="a 12-bit JPEG, which is not read: convert it to 8 bits"):
        open_photo(deep)
