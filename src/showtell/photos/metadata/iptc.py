"""Read the caption in a JPEG's IPTC block (IIM version 4.2, in Photoshop's image resources)."""

from __future__ import annotations

import struct
from dataclasses import dataclass

MAX_CAPTION_BYTES = 2000  # the longest Caption-Abstract (2:120) that IIM allows
_UTF8 = b"\x1b%G"
_IPTC_RESOURCE = 0x0404
_CODED_CHARACTER_SET, _CAPTION_ABSTRACT = (1, 90), (2, 120)


@dataclass(frozen=True, slots=True)
class Iptc:
    """A JPEG's caption in IPTC (may be empty), whether IPTC is present, and if it is UTF-8."""

    caption: str = ""
    present: bool = False
    utf8: bool = False


def read_iptc(resources: bytes) -> Iptc:
    """Read Photoshop's image resources, up to the first one that is damaged."""
    position = 0
    while resources.startswith(b"8BIM", position) and position + 8 <= len(resources):
        resource, name_length = struct.unpack_from(">HB", resources, position + 4)
        position += 6 + 1 + name_length + (name_length + 1) % 2
        if position + 4 > len(resources):
            break
        size = struct.unpack_from(">I", resources, position)[0]
        position += 4
        if resource == _IPTC_RESOURCE:
            return _read_datasets(resources[position : position + size])
        position += size + size % 2
    return Iptc()


def truncate_caption(text: str) -> str:
    """Shorten a text to what Caption-Abstract can hold, at a word boundary, ending in `…`."""
    data = text.encode()
    if len(data) <= MAX_CAPTION_BYTES:
        return text
    cut = data[: MAX_CAPTION_BYTES - 3].decode("utf-8", "ignore")
    return cut[: cut.rfind(" ") if " " in cut else len(cut)].rstrip() + "…"


def _read_datasets(data: bytes) -> Iptc:
    position, utf8, caption = 0, False, None
    while position + 5 <= len(data) and data[position] == 0x1C:
        record, dataset, size = struct.unpack_from(">BBH", data, position + 1)
        position += 5
        if size & 0x8000:  # an extended size: used for embedded pictures, never for text
            break
        value = data[position : position + size]
        position += size
        if (record, dataset) == _CODED_CHARACTER_SET:
            utf8 = value == _UTF8
        elif (record, dataset) == _CAPTION_ABSTRACT:
            caption = value
    text = "" if caption is None else caption.decode("utf-8" if utf8 else "cp1252", "replace")
    return Iptc(text, True, utf8)
