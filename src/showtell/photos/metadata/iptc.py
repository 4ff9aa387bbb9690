"""The caption in a JPEG's IPTC block (IIM version 4.2, inside Photoshop's image resources)."""

from __future__ import annotations

import struct
from dataclasses import dataclass

CAPTION_BYTES = 2000  # what IIM allows in Caption-Abstract (2:120)
_UTF8 = b"\x1b%G"
_IIM = 0x0404  # the image resource that holds IPTC


@dataclass(frozen=True, slots=True)
class Iptc:
    """What a JPEG's IPTC says: `caption` (empty where there is none), and whether it is UTF-8."""

    caption: str = ""
    present: bool = False
    utf8: bool = False


def read_iptc(resources: bytes) -> Iptc:
    """Read Photoshop's image resources; what is damaged in them ends the reading."""
    position = 0
    while resources.startswith(b"8BIM", position) and position + 8 <= len(resources):
        number, name = struct.unpack_from(">HB", resources, position + 4)
        position += 6 + 1 + name + (name + 1) % 2
        if position + 4 > len(resources):
            break
        size = struct.unpack_from(">I", resources, position)[0]
        position += 4
        if number == _IIM:
            return _datasets(resources[position : position + size])
        position += size + size % 2
    return Iptc()


def fitting(text: str) -> str:
    """Return as much of a text, in whole words, as Caption-Abstract holds."""
    data = text.encode()
    if len(data) <= CAPTION_BYTES:
        return text
    cut = data[: CAPTION_BYTES - 3].decode("utf-8", "ignore")
    return cut[: cut.rfind(" ") if " " in cut else len(cut)].rstrip() + "…"


def _datasets(data: bytes) -> Iptc:
    position, utf8, caption = 0, False, None
    while position + 5 <= len(data) and data[position] == 0x1C:
        record, dataset, size = struct.unpack_from(">BBH", data, position + 1)
        position += 5
        if size & 0x8000:  # the size of the size: for pictures inside, never for words
            break
        value = data[position : position + size]
        position += size
        if (record, dataset) == (1, 90):
            utf8 = value == _UTF8
        elif (record, dataset) == (2, 120):
            caption = value
    text = "" if caption is None else caption.decode("utf-8" if utf8 else "cp1252", "replace")
    return Iptc(text, True, utf8)
