"""Reads the directories (IFDs) of a TIFF or BigTIFF: the tags of each page."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

# type of a tag's values -> struct's letter; other types are not needed here
_WHOLE_NUMBERS = {1: "B", 3: "H", 4: "L", 13: "L", 16: "Q", 18: "Q"}
_SIZES = {"B": 1, "H": 2, "L": 4, "Q": 8}
_BYTES = (1, 7)
_MOST_TAGS = 4096


@dataclass(frozen=True)
class TiffDirectory:
    """The tags of a page; `values` maps a tag to the type and the bytes of its values."""

    byte_order: str  # "<" or ">"
    is_big_tiff: bool
    values: dict[int, tuple[int, bytes]]

    def numbers(self, tag: int, default: tuple[int, ...]) -> tuple[int, ...]:
        """Return a tag's whole numbers, or `default` if the page lacks it."""
        if tag not in self.values:
            return default
        kind, data = self.values[tag]
        if kind not in _WHOLE_NUMBERS:
            raise ValueError(f"tag {tag} does not hold whole numbers")
        letter = _WHOLE_NUMBERS[kind]
        return struct.unpack(f"{self.byte_order}{len(data) // _SIZES[letter]}{letter}", data)

    def number(self, tag: int, default: int | None = None) -> int:
        """Return a tag's first number; raises ValueError if it is missing without a default."""
        values = self.numbers(tag, () if default is None else (default,))
        if not values:
            raise ValueError(f"tag {tag} is missing")
        return values[0]

    def raw(self, tag: int) -> bytes | None:
        """Return a tag's bytes, or None if the page lacks it."""
        kind, data = self.values.get(tag, (0, b""))
        return data if kind in _BYTES else None


def read_directories(file: BinaryIO) -> Iterator[TiffDirectory]:
    """Yield a TIFF's directories; a caller bounds their number, as they may form a circle.

    Tags whose values lie outside of the file are left out. Raises OSError if a directory does, and
    ValueError if one is damaged.
    """
    size = file.seek(0, io.SEEK_END)
    file.seek(0)
    head = file.read(16)
    byte_order = "<" if head[:2] == b"II" else ">"
    is_big = 43 in head[2:4]
    pointer = f"{byte_order}{'Q' if is_big else 'L'}"
    (offset,) = _unpack(pointer, head[8:16] if is_big else head[4:8])
    while offset:
        if offset >= size:
            raise OSError("truncated: a directory lies outside of the file")
        file.seek(offset)
        (count,) = _unpack(f"{byte_order}{'Q' if is_big else 'H'}", file.read(8 if is_big else 2))
        if not 0 < count <= _MOST_TAGS:
            raise ValueError(f"a directory of {count} tags")
        length = 20 if is_big else 12
        entries = file.read(count * length)
        following = file.read(8 if is_big else 4)
        values: dict[int, tuple[int, bytes]] = {}
        left = size  # bytes: more than the file has are the same ones again and again
        for start in range(0, len(entries) - length + 1, length):
            tag, kind, data = _entry(file, size, entries[start : start + length], byte_order)
            left -= len(data or b"")
            if left < 0:
                raise ValueError("a directory of more bytes than the file has")
            if data is not None:
                values.setdefault(tag, (kind, data))
        yield TiffDirectory(byte_order, is_big, values)
        (offset,) = _unpack(pointer, following) if len(following) == length // 2 - 2 else (0,)


def _entry(
    file: BinaryIO, file_size: int, entry: bytes, byte_order: str
) -> tuple[int, int, bytes | None]:
    """Return a tag, its type and its bytes: None if they are outside of the file or not needed."""
    is_big = len(entry) == 20
    tag, kind, count = _unpack(
        f"{byte_order}HH{'Q' if is_big else 'L'}", entry[: -8 if is_big else -4]
    )
    inline = entry[-8:] if is_big else entry[-4:]
    size = count * _SIZES[_WHOLE_NUMBERS.get(kind, "B")]
    if (kind not in _WHOLE_NUMBERS and kind not in _BYTES) or not count:
        return tag, kind, None
    if size <= len(inline):
        return tag, kind, inline[:size]
    (offset,) = _unpack(f"{byte_order}{'Q' if is_big else 'L'}", inline)
    if offset + size > file_size:
        return tag, kind, None
    file.seek(offset)
    return tag, kind, file.read(size)


def _unpack(form: str, data: bytes) -> tuple[int, ...]:
    try:
        return struct.unpack(form, data)
    except struct.error:
        raise ValueError("its header is cut off") from None
