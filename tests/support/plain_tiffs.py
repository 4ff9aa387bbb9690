"""TIFFs of one strip, written tag by tag."""

from __future__ import annotations

import struct
from collections.abc import Callable

import numpy as np


def plain_tiff(
    tags: dict[int, int | tuple[int, ...]], strip: bytes, byte_order: str = "<"
) -> bytes:
    """Return a TIFF with the given tags, whose numbers have four bytes each, and one strip."""
    tags = {**tags, 273: 0, 279: len(strip)}
    after = 8 + 2 + 12 * len(tags) + 4
    lists = b""
    directory = struct.pack(f"{byte_order}H", len(tags))
    lengths = [len(value) for value in tags.values() if isinstance(value, tuple)]
    arrays = sum(4 * length for length in lengths if length > 1)
    for tag, value in sorted(tags.items()):
        numbers = value if isinstance(value, tuple) else (value,)
        directory += struct.pack(f"{byte_order}HHL", tag, 4, len(numbers))
        if tag == 273:
            numbers = (after + arrays,)
        packed = struct.pack(f"{byte_order}{len(numbers)}L", *numbers)
        if len(numbers) == 1:
            directory += packed
        else:
            directory += struct.pack(f"{byte_order}L", after + len(lists))
            lists += packed
    magic = b"II*\0" if byte_order == "<" else b"MM\0*"
    return magic + struct.pack(f"{byte_order}L", 8) + directory + bytes(4) + lists + strip


def wide_tile_tiff(colour: int = 1, bits: int = 8) -> bytes:
    """Return a grey TIFF of 1 x 4096 pixels, whose 256 tiles are 500,000 pixels wide.

    Its tiles are missing, which only shows when they are decoded.
    """
    tiles = (1,) * 256
    tags: dict[int, int | tuple[int, ...]] = {256: 1, 257: 4096, 258: bits, 259: 8, 262: colour}
    tiled = plain_tiff({**tags, 277: 1, 322: 500_000, 323: 16, 324: tiles, 325: tiles}, b"")
    strips = [struct.pack("<H", tag) for tag in (273, 279)]  # which would count before the tiles
    for strip in strips:
        tiled = tiled.replace(strip + b"\4\0\1", b"\0\xff\4\0\1", 1)
    return tiled


def packed_tiff(
    array: np.ndarray,
    bits: int,
    colour: int,
    byte_order: str = "<",
    *,
    extra_tags: dict[int, int | tuple[int, ...]] | None = None,
    encode: Callable[[bytes], bytes] = bytes,
) -> bytes:
    """Return a TIFF of [height, width, samples] with so many bits a sample, highest bit first.

    `encode` is what the compression in `extra_tags` does to the strip.
    """
    height, width, samples = array.shape
    if bits in (8, 16):
        strip = array.astype(f"{byte_order}u{bits // 8}").tobytes()
    else:
        shifts = np.arange(bits - 1, -1, -1)
        planes = (array[..., None].astype(np.int64) >> shifts & 1).astype(np.uint8)
        strip = np.packbits(planes.reshape(height, -1), axis=1).tobytes()
    tags = {256: width, 257: height, 258: (bits,) * samples, 259: 1, 262: colour, 277: samples}
    return plain_tiff({**tags, 278: height, **(extra_tags or {})}, encode(strip), byte_order)
