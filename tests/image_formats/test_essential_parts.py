from __future__ import annotations

import struct
import zlib
from pathlib import Path

import pytest

from showtell.errors import PhotoError
from showtell.image import open_photo
from showtell.image_formats.essential_parts import MAX_PROFILE_BYTES, essential_parts
from support.odd_photos import BLUE, corners, encoded, with_orientation

PNG = encoded(corners(), "PNG")
JPEG = encoded(corners(), "JPEG", quality=95)
EXIF = b"Exif\0\0MM\0*\0\0\0\x08\0\0\0\0\0\0"
LARGE = zlib.compress(bytes(3_000_000))


def png_chunk(name: bytes, content: bytes, checksum: int | None = None) -> bytes:
    if checksum is None:
        checksum = zlib.crc32(name + content)
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", checksum)


def png_with(*chunks: bytes, after_pixels: bool = False) -> bytes:
    """Add chunks before or after the pixels."""
    position = PNG.rfind(b"IEND") - 4 if after_pixels else PNG.find(b"IDAT") - 4
    return PNG[:position] + b"".join(chunks) + PNG[position:]


def jpeg_with(marker: int, content: bytes) -> bytes:
    segment = b"\xff" + bytes([marker]) + struct.pack(">H", len(content) + 2) + content
    return JPEG[:2] + segment + JPEG[2:]


def assert_whole(photo: bytes | Path) -> None:
    image = open_photo(photo)
    assert image.size == (60, 40)
    assert all(abs(a - b) < 12 for a, b in zip(image.getpixel((15, 30)), BLUE, strict=True))


@pytest.mark.parametrize(
    "chunk",
    [
        png_chunk(b"tEXt", b"Comment\0hello", checksum=0),
        png_chunk(b"prVt", b"private", checksum=0),
        png_chunk(b"\xff\xfe12", b"no name"),
        png_chunk(b"zTXt", b"Comment\0\0" + LARGE),
        png_chunk(b"zTXt", b"Comment\0\5unknown method"),
        png_chunk(b"iTXt", b"Comment\0\1\0\0\0" + LARGE),
        png_chunk(b"iCCP", b"name\0\0" + LARGE),
        png_chunk(b"iCCP", b"name\0\7unknown method"),
        png_chunk(b"iCCP", b""),
        png_chunk(b"iCCP", b"name\0\0" + zlib.compress(b"profile"), checksum=0),
        png_chunk(b"eXIf", b"MM\0*", checksum=0),
        png_chunk(b"pHYs", b"\0"),
        png_chunk(b"gAMA", b""),
        png_chunk(b"cHRM", b"\0"),
        png_chunk(b"sRGB", b""),
        png_chunk(b"tRNS", b"\0"),
        png_chunk(b"tRNS", b"\0\1\0\2\0\3", checksum=0),
        png_chunk(b"acTL", b"\0"),
        png_chunk(b"acTL", struct.pack(">II", 2, 0)) + png_chunk(b"fcTL", bytes(26)),
    ],
)
def test_png_with_a_damaged_ancillary_chunk_is_whole(chunk: bytes) -> None:
    assert_whole(png_with(chunk))
    assert_whole(png_with(chunk, after_pixels=True))


def test_png_with_more_text_than_pillow_reads_is_whole() -> None:
    text = png_chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(1_000_000)))
    assert_whole(png_with(text * 80))


def test_png_cut_off_in_the_text_after_the_pixels_is_whole() -> None:
    whole = png_with(png_chunk(b"tEXt", b"Comment\0hello"), after_pixels=True)
    assert_whole(whole[: whole.rfind(b"IEND") - 8])


def test_png_with_damaged_pixels_is_damaged() -> None:
    pixels = PNG.find(b"IDAT") + 4
    end = PNG.rfind(b"IEND") - 8
    broken_sum = PNG[: end - 4] + bytes(4) + PNG[end:]
    for data in (broken_sum, PNG[: pixels + 10], PNG.replace(b"\0\0\0\x3c", b"\0\0\0\x3d")):
        with pytest.raises(PhotoError, match=r"damaged|truncated"):
            open_photo(data)


def test_png_keeps_what_matters_beside_a_damaged_chunk() -> None:
    damaged = png_chunk(b"tEXt", b"Comment\0hello", checksum=0)
    turned = with_orientation(corners(), 6, "PNG")
    position = turned.find(b"IDAT") - 4
    assert_whole(turned[:position] + damaged + turned[position:])
    profile = b"a profile" * 200_000  # larger than Pillow reads
    deflated = zlib.compress(profile)
    parts = essential_parts("PNG", png_with(damaged, png_chunk(b"iCCP", b"name\0\0" + deflated)))
    assert parts.icc_profile == profile
    assert parts.data == PNG


def test_inflated_profile_is_bounded() -> None:
    bomb = zlib.compress(bytes(MAX_PROFILE_BYTES + 1))
    assert essential_parts("PNG", png_with(png_chunk(b"iCCP", b"n\0\0" + bomb))).icc_profile is None


@pytest.mark.parametrize(
    ("marker", "content"),
    [
        (0xE0, b"JFIF\0"),
        (0xE1, b"Exif\0\0MM\0*\xff\xff\xff\xff"),
        (0xE1, b"http://ns.adobe.com/xap/1.0/\0<x"),
        (0xE2, b"ICC_PROFILE\0\1"),
        (0xE2, b"MPF\0garbage"),
        (0xED, b"Photoshop 3.0\0008BIM\x03\xed"),
        (0xEE, b"Adobe"),
        (0xFE, b"\xff\xfe"),
    ],
)
def test_jpeg_with_a_damaged_application_segment_is_whole(marker: int, content: bytes) -> None:
    assert_whole(jpeg_with(marker, content))


def test_jpeg_keeps_its_orientation_beside_a_damaged_segment() -> None:
    turned = with_orientation(corners(), 6)
    assert_whole(turned[:2] + b"\xff\xee\x00\x07Adobe" + turned[2:])


def test_webp_cut_off_in_its_metadata_is_whole() -> None:
    webp = encoded(corners(), "WEBP", lossless=True, exif=EXIF, xmp=b"<x" * 50, icc_profile=b"abc")
    exif = webp.find(b"EXIF")
    assert_whole(webp[:-30])  # in the XMP
    assert_whole(webp[: exif + 10])
    assert_whole(webp[: exif + 4] + b"\xff\xff\xff\0" + webp[exif + 8 :])
    assert_whole(webp[:4] + struct.pack("<I", len(webp) + 1000) + webp[8:])
    with pytest.raises(PhotoError, match=r"damaged|truncated"):
        open_photo(webp[: webp.find(b"VP8L") + 40])


def test_avif_with_damaged_exif_is_whole() -> None:
    avif = bytearray(encoded(corners(), "AVIF", exif=EXIF))
    content = avif.find(b"MM\0*")
    avif[content - 6 : content + 12] = b"\xff" * 18
    assert_whole(bytes(avif))


def test_gif_and_bmp_that_lack_only_their_last_byte_are_whole() -> None:
    assert_whole(encoded(corners().quantize(8), "GIF")[:-1])
    assert open_photo(encoded(corners(61, 40), "BMP")[:-1]).size == (61, 40)


@pytest.mark.shared
@pytest.mark.parametrize("name", ["big_iccp.png", "badcrc_ancillary.png"])
def test_whole_pictures_of_other_programs_are_read(name: str, shared_dir: Path) -> None:
    path = shared_dir / "cases" / "png" / name
    if not path.exists():
        pytest.skip(f"{path} is missing")
    assert open_photo(path).mode == "RGB"
