"""Uploads that are damaged photos, any number of them, each made anew from its number alone."""

from __future__ import annotations

import functools
import io
import random
from collections.abc import Callable

from PIL import Image
from pillow_heif import register_heif_opener

from support.paths import EXAMPLES

KINDS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "HEIF")
LONGEST_SIDE = 240  # damage is in the bytes, not in the pixels, and small photos are more of it
# what a decoder reads as a length, a count or a size, at its most tempting
NUMBERS = (
    b"\xff\xff\xff\xff",
    b"\x00\x00\x00\x00",
    b"\x7f\xff\xff\xff",
    b"\x80\x00\x00\x00",
    b"\xff\xff\xff\x7f",
    b"\x00\x00\x00\x80",
    b"\xff\xff",
    b"\x00\x00",
    b"\x00\x01\x00\x00",
)


@functools.cache
def _photos() -> tuple[bytes, ...]:
    """The example photos, small, in each format, some with metadata and more than one frame."""
    register_heif_opener()
    photos = []
    for place, path in enumerate(sorted(EXAMPLES.glob("*.jpg"))):
        with Image.open(path) as image:
            image.thumbnail((LONGEST_SIDE, LONGEST_SIDE))
            kind = KINDS[place % len(KINDS)]
            for wanted in dict.fromkeys((kind, "JPEG")):
                buffer = io.BytesIO()
                image.save(buffer, wanted, **_options(wanted, image))
                photos.append(buffer.getvalue())
    return tuple(photos)


def _options(kind: str, image: Image.Image) -> dict[str, object]:
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "a photo"
    if kind == "GIF":
        return {"save_all": True, "append_images": [image.rotate(180)]}
    if kind == "JPEG":
        return {"exif": exif, "progressive": image.width > image.height}
    return {"exif": exif} if kind in ("PNG", "WEBP") else {}


def _flip_bits(data: bytearray, draw: random.Random) -> bytearray:
    for _ in range(draw.randint(1, 40)):
        data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
    return data


def _damage_the_head(data: bytearray, draw: random.Random) -> bytearray:
    """Sizes, tables and offsets stand in the first bytes."""
    for _ in range(draw.randint(1, 6)):
        data[draw.randrange(8, min(len(data), 400))] = draw.randrange(256)
    return data


def _plant_a_number(data: bytearray, draw: random.Random) -> bytearray:
    for _ in range(draw.randint(1, 3)):
        number = draw.choice(NUMBERS)
        near = min(len(data), draw.choice((64, 600, len(data))))
        start = draw.randrange(near)
        data[start : start + len(number)] = number
    return data


def _cut_off(data: bytearray, draw: random.Random) -> bytearray:
    return data[: draw.randrange(len(data))]


def _cut_out(data: bytearray, draw: random.Random) -> bytearray:
    start = draw.randrange(len(data))
    del data[start : start + draw.randint(1, max(1, len(data) // 4))]
    return data


def _repeat_a_piece(data: bytearray, draw: random.Random) -> bytearray:
    start, length = draw.randrange(len(data)), draw.randint(1, 2000)
    where = draw.randrange(len(data))
    data[where:where] = data[start : start + length] * draw.randint(1, 8)
    return data


def _blank_a_piece(data: bytearray, draw: random.Random) -> bytearray:
    start = draw.randrange(len(data))
    length = min(len(data) - start, draw.randint(1, 3000))
    data[start : start + length] = bytes([draw.choice((0, 0xFF))]) * length
    return data


def _join_with_another(data: bytearray, draw: random.Random) -> bytearray:
    other = draw.choice(_photos())
    return data[: draw.randrange(len(data))] + other[draw.randrange(len(other)) :]


def _keep_the_magic_only(data: bytearray, draw: random.Random) -> bytearray:
    return data[: draw.randint(2, 40)] + draw.randbytes(draw.randint(0, 4000))


DAMAGES: tuple[Callable[[bytearray, random.Random], bytearray], ...] = (
    _flip_bits,
    _damage_the_head,
    _plant_a_number,
    _cut_off,
    _cut_out,
    _repeat_a_piece,
    _blank_a_piece,
    _join_with_another,
    _keep_the_magic_only,
)


def damaged_photo(number: int) -> bytes:
    """Return the damaged photo of this number: one to three damages to a real one."""
    draw = random.Random(number)
    data = bytearray(draw.choice(_photos()))
    for damage in draw.choices(DAMAGES, k=draw.randint(1, 3)):
        if len(data) > 20:
            data = damage(data, draw)
    return bytes(data)
