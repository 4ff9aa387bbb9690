"""Any number of damaged photos, each a deterministic function of its number."""

from __future__ import annotations

import functools
import io
import random
from collections.abc import Callable

from PIL import Image
from pillow_heif import register_heif_opener

from support.paths import SAMPLE_PHOTOS

KINDS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "HEIF")
LONGEST_SIDE = 240  # small, so that most bytes are headers and tables
# Extreme values for what a decoder reads as a length, count or size.
EXTREME_NUMBERS = (
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
    """The example photos, small and in all formats, some with metadata or several frames."""
    register_heif_opener()
    photos = []
    for index, path in enumerate(sorted(SAMPLE_PHOTOS.glob("*.jpg"))):
        with Image.open(path) as image:
            image.thumbnail((LONGEST_SIDE, LONGEST_SIDE))
            kind = KINDS[index % len(KINDS)]
            for file_format in dict.fromkeys((kind, "JPEG")):
                buffer = io.BytesIO()
                image.save(buffer, file_format, **_options(file_format, image))
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


def _flip_bits(data: bytearray, rng: random.Random) -> bytearray:
    for _ in range(rng.randint(1, 40)):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return data


def _damage_header(data: bytearray, rng: random.Random) -> bytearray:
    """Change some of the first bytes, which hold sizes, tables and offsets."""
    for _ in range(rng.randint(1, 6)):
        data[rng.randrange(8, min(len(data), 400))] = rng.randrange(256)
    return data


def _insert_extreme_number(data: bytearray, rng: random.Random) -> bytearray:
    for _ in range(rng.randint(1, 3)):
        number = rng.choice(EXTREME_NUMBERS)
        end = min(len(data), rng.choice((64, 600, len(data))))
        start = rng.randrange(end)
        data[start : start + len(number)] = number
    return data


def _truncate(data: bytearray, rng: random.Random) -> bytearray:
    return data[: rng.randrange(len(data))]


def _delete_piece(data: bytearray, rng: random.Random) -> bytearray:
    start = rng.randrange(len(data))
    del data[start : start + rng.randint(1, max(1, len(data) // 4))]
    return data


def _repeat_piece(data: bytearray, rng: random.Random) -> bytearray:
    start, length = rng.randrange(len(data)), rng.randint(1, 2000)
    position = rng.randrange(len(data))
    data[position:position] = data[start : start + length] * rng.randint(1, 8)
    return data


def _blank_piece(data: bytearray, rng: random.Random) -> bytearray:
    start = rng.randrange(len(data))
    length = min(len(data) - start, rng.randint(1, 3000))
    data[start : start + length] = bytes([rng.choice((0, 0xFF))]) * length
    return data


def _join_with_another_photo(data: bytearray, rng: random.Random) -> bytearray:
    other = rng.choice(_photos())
    return data[: rng.randrange(len(data))] + other[rng.randrange(len(other)) :]


def _keep_only_signature(data: bytearray, rng: random.Random) -> bytearray:
    return data[: rng.randint(2, 40)] + rng.randbytes(rng.randint(0, 4000))


DAMAGES: tuple[Callable[[bytearray, random.Random], bytearray], ...] = (
    _flip_bits,
    _damage_header,
    _insert_extreme_number,
    _truncate,
    _delete_piece,
    _repeat_piece,
    _blank_piece,
    _join_with_another_photo,
    _keep_only_signature,
)


def damaged_photo(number: int) -> bytes:
    """Return the damaged photo with this number: a real one with one to three damages."""
    rng = random.Random(number)
    data = bytearray(rng.choice(_photos()))
    for damage in rng.choices(DAMAGES, k=rng.randint(1, 3)):
        if len(data) > 20:
            data = damage(data, rng)
    return bytes(data)
