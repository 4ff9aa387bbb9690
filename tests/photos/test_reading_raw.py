from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from showtell.image import Preprocessing
from showtell.photos.reading import open_raw, read_photo
from support.odd_photos import BLUE, GREEN, RED, WHITE, corners, encoded, with_orientation

# a raw photo's first bytes -> the byte order of its directory
RAW_KINDS = {b"II*\0": "<", b"MM\0*": ">", b"IIRO": "<", b"MMOR": ">", b"IIU\0": "<"}
TURNED_BACK = {6: Image.Transpose.ROTATE_90, 8: Image.Transpose.ROTATE_270}


def directory(orientation: int, byte_order: str = "<") -> bytes:
    """Return a TIFF's directory with one tag, after 8 bytes of header."""
    entry = struct.pack(f"{byte_order}HHIHH", 0x0112, 3, 1, orientation, 0)
    return struct.pack(f"{byte_order}H", 1) + entry + bytes(4)


def raw_photo(preview: bytes, orientation: int, signature: bytes = b"II*\0") -> bytes:
    """Return a raw photo as cameras write it: a header, tags and a preview."""
    byte_order = RAW_KINDS[signature]
    offset = struct.pack(f"{byte_order}I", 8)
    return signature + offset + directory(orientation, byte_order) + preview + bytes(999)


def cr3_photo(preview: bytes, orientation: int) -> bytes:
    tags = b"II*\0\x08\0\0\0" + directory(orientation)
    box = struct.pack(">I", len(tags) + 8) + b"CMT1" + tags
    return struct.pack(">I", 16) + b"ftypcrx " + bytes(4) + box + preview


def raf_photo(preview: bytes) -> bytes:
    return b"FUJIFILMCCD-RAW 0201FF".ljust(148, b"\0") + preview + bytes(999)


def assert_upright(raw: bytes, size: tuple[int, int]) -> None:
    image = open_raw(raw)
    assert image.size == size
    places = [(0.25, 0.25, RED), (0.75, 0.25, GREEN), (0.25, 0.75, BLUE), (0.75, 0.75, WHITE)]
    for across, down, colour in places:
        pixel = image.getpixel((int(size[0] * across), int(size[1] * down)))
        assert np.abs(np.subtract(pixel, colour)).max() < 12, (across, down, pixel)


UPRIGHT = corners(200, 320)  # a photo by a camera held upright


@pytest.mark.parametrize("signature", RAW_KINDS)
@pytest.mark.parametrize("orientation", [6, 8])
def test_preview_that_lies_on_its_side_is_turned(signature: bytes, orientation: int) -> None:
    preview = encoded(UPRIGHT.transpose(TURNED_BACK[orientation]), "JPEG", quality=95)
    assert_upright(raw_photo(preview, orientation, signature), (200, 320))


@pytest.mark.parametrize("signature", RAW_KINDS)
def test_preview_that_the_camera_has_turned_is_not_turned_again(signature: bytes) -> None:
    preview = encoded(UPRIGHT, "JPEG", quality=95)
    assert_upright(raw_photo(preview, 6, signature), (200, 320))


def test_preview_with_an_orientation_of_its_own_is_turned_once() -> None:
    assert_upright(raw_photo(with_orientation(UPRIGHT, 6), 6), (200, 320))
    assert_upright(raw_photo(with_orientation(UPRIGHT, 8), 1), (200, 320))
    # its own says that it is upright already
    assert_upright(raw_photo(with_orientation(corners(320, 200), 1), 6), (320, 200))


def test_photo_upside_down_is_turned_whatever_its_shape() -> None:
    preview = encoded(corners(320, 200).rotate(180), "JPEG", quality=95)
    assert_upright(raw_photo(preview, 3), (320, 200))


def test_orientation_of_cr3_and_raf_is_read() -> None:
    on_its_side = encoded(UPRIGHT.transpose(TURNED_BACK[6]), "JPEG", quality=95)
    assert_upright(cr3_photo(on_its_side, 6), (200, 320))
    assert_upright(cr3_photo(encoded(UPRIGHT, "JPEG"), 6), (200, 320))
    assert_upright(raf_photo(with_orientation(UPRIGHT, 6)), (200, 320))


def test_scan_reads_a_raw_photo_upright(tmp_path: Path) -> None:
    path = tmp_path / "photo.orf"
    path.write_bytes(
        raw_photo(encoded(UPRIGHT.transpose(TURNED_BACK[6]), "JPEG", quality=95), 6, b"IIRO")
    )
    content = read_photo(path, Preprocessing(height=32, width=32), lambda _: True)
    assert content.exif.orientation == 6
    assert content.pixels is not None
    top_right = (content.pixels[:, 4, 28] + 1) * 127.5
    assert np.abs(top_right - GREEN).max() < 12


@pytest.mark.shared
@pytest.mark.parametrize("name", ["preview_with_own_exif6.arw", "orf_header.orf"])
def test_raw_photos_of_other_programs_are_upright(shared_dir: Path, name: str) -> None:
    path = shared_dir / "cases" / "raw" / name
    if not path.exists():
        pytest.skip(f"{path} is missing")
    image = open_raw(path.read_bytes())
    assert image.size == (480, 640)
    red = np.array(image.getpixel((120, 160)))  # stored at the lower left
    assert np.abs(red - (220, 40, 41)).max() < 12
