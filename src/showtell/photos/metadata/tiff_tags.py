"""Read the bytes of tags in the first directory of a TIFF (TIFF 6.0, section 2, and BigTIFF)."""

from __future__ import annotations

import contextlib
import struct

_BYTES_PER_VALUE = {1: 1, 2: 1, 3: 2, 4: 4, 6: 1, 7: 1, 8: 2, 9: 4, 13: 4}  # by type
_MAX_ENTRIES = 4096


def read_tag(data: bytes, tag: int) -> bytes:
    """Return a tag's value as it is stored; empty if it is missing or damaged.

    Pillow decodes values by the type that a file declares, and programs declare IPTC wrongly.
    """
    endian = {b"II": "<", b"MM": ">"}.get(data[:2])
    with contextlib.suppress(struct.error):
        if endian is not None:
            return _find_tag(data, tag, endian)
    return b""


def _find_tag(data: bytes, tag: int, endian: str) -> bytes:
    is_big = struct.unpack_from(endian + "H", data, 2)[0] == 43
    offset_code, count_code, header = ("Q", "Q", 8) if is_big else ("I", "H", 4)
    position = struct.unpack_from(endian + offset_code, data, header)[0]
    entries = struct.unpack_from(endian + count_code, data, position)[0]
    position += struct.calcsize(count_code)
    entry = struct.Struct(f"{endian}HH{offset_code}")
    width = struct.calcsize(offset_code)  # of a value that is stored in the entry itself
    for _ in range(min(entries, _MAX_ENTRIES)):
        number, kind, count = entry.unpack_from(data, position)
        start = position + entry.size
        if number == tag:
            size = count * _BYTES_PER_VALUE.get(kind, 0)
            if size > width:
                start = struct.unpack_from(endian + offset_code, data, start)[0]
            return data[start : start + size]
        position = start + width
    return b""
