"""What a photo's file is made of: image data and metadata, part by part.

JPEG (ITU-T T.81, Annex B), PNG (W3C, third edition) and WebP (RFC 9649) are taken apart without
decoding. The parts of a layout tile the file: no byte is left out and none counted twice.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from showtell.errors import PhotoError

Kind = Literal["image", "exif", "icc", "xmp", "iptc", "other"]

_PNG_START = b"\x89PNG\r\n\x1a\n"
_PNG_IMAGE = {b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"acTL", b"fcTL", b"fdAT", b"IEND"}
_PNG_KINDS: dict[bytes, Kind] = {b"eXIf": "exif", b"iCCP": "icc"}
_PNG_XMP = b"XML:com.adobe.xmp\0"
_WEBP_IMAGE = {b"VP8 ", b"VP8L", b"ALPH", b"ANIM", b"ANMF"}
_WEBP_KINDS: dict[bytes, Kind] = {b"EXIF": "exif", b"XMP ": "xmp", b"ICCP": "icc"}
# what an application segment begins with -> its kind
_JPEG_STARTS: tuple[tuple[int, bytes, Kind], ...] = (
    (0xE1, b"Exif\0\0", "exif"),
    (0xE1, b"http://ns.adobe.com/xap/1.0/\0", "xmp"),
    (0xE2, b"ICC_PROFILE\0", "icc"),
    (0xED, b"Photoshop 3.0\0", "iptc"),
    (0xEE, b"Adobe", "image"),  # says how colours are coded
)
_COMMENT = 0xFE
_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
_MARKER = re.compile(rb"\xff+[^\x00\xd0-\xd7\xff]", re.DOTALL)  # in entropy-coded data
_LARGEST_TEXT = 64 << 20


@dataclass(frozen=True, slots=True)
class Part:
    """Bytes `start` to `end` of a file; what they carry begins at `payload`."""

    kind: Kind
    start: int
    end: int
    payload: int


@dataclass(frozen=True, slots=True)
class Layout:
    """A file's parts in order, its format, and its width and height as they are stored."""

    format: Literal["JPEG", "PNG", "WEBP"]
    parts: tuple[Part, ...]
    size: tuple[int, int] | None = None

    def payloads(self, kind: Kind, data: bytes) -> Iterator[bytes]:
        """Yield what the parts of one kind carry."""
        for part in self.parts:
            if part.kind == kind:
                end = part.end
                if self.format == "PNG":
                    end -= 4  # the checksum
                elif self.format == "WEBP":  # without the padding
                    end = part.payload + struct.unpack_from("<I", data, part.payload - 4)[0]
                yield data[part.payload : end]

    def xmp(self, data: bytes) -> bytes | None:
        """Return the file's main XMP packet, or None."""
        for payload in self.payloads("xmp", data):
            return payload if self.format != "PNG" else _png_text(payload)
        return None


def read_layout(data: bytes) -> Layout | None:
    """Take a photo apart; None where it is neither JPEG, PNG nor WebP.

    Raises PhotoError where its structure is damaged.
    """
    try:
        if data.startswith(b"\xff\xd8\xff"):
            return jpeg_layout(data)
        if data.startswith(_PNG_START):
            return _png(data)
        if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
            return _webp(data)
    except (struct.error, IndexError):
        raise PhotoError("truncated: the file ends before the picture does") from None
    return None


def jpeg_layout(data: bytes, start: int = 0) -> Layout:
    """Take the JPEG apart that begins at `start`; what follows its end is one part.

    Raises PhotoError or struct.error where its structure is damaged.
    """
    position = start + 2
    parts = [Part("image", start, position, position)]
    size = None
    while position < len(data):
        begin = position
        if data[position] != 0xFF:
            raise PhotoError(f"damaged: no JPEG marker at byte {position}")
        while data[position] == 0xFF:
            position += 1
        marker = data[position]
        position += 1
        if marker == 0xD9:
            parts.append(Part("image", begin, position, position))
            break
        if marker == 0x01 or 0xD0 <= marker <= 0xD7:
            parts.append(Part("image", begin, position, position))
            continue
        length = struct.unpack_from(">H", data, position)[0]
        payload, position = position + 2, position + length
        if length < 2 or position > len(data):
            raise PhotoError("truncated: the file ends before the picture does")
        kind: Kind = "image"
        if 0xE0 <= marker <= 0xEF or marker == _COMMENT:
            kind = "other"
            for known, magic, found in _JPEG_STARTS:
                if marker == known and data.startswith(magic, payload):
                    kind = found
                    payload += len(magic) if found != "image" else 0
        elif marker in _FRAMES:
            height, width = struct.unpack_from(">HH", data, payload + 1)
            size = (width, height)
        elif marker == 0xDA:
            following = _MARKER.search(data, position)
            position = following.start() if following else len(data)
        parts.append(Part(kind, begin, position, payload))
    if position < len(data):  # a second picture, a film: what phones put behind the end
        parts.append(Part("other", position, len(data), position))
    return Layout("JPEG", tuple(parts), size)


def _png(data: bytes) -> Layout:
    parts = [Part("image", 0, 8, 8)]
    position = 8
    while position < len(data):
        length, name = struct.unpack_from(">I4s", data, position)
        end = position + 12 + length
        if end > len(data):
            raise PhotoError("truncated: the file ends before the picture does")
        payload = position + 8
        kind: Kind = "image" if name in _PNG_IMAGE else _PNG_KINDS.get(name, "other")
        if name == b"iTXt" and data.startswith(_PNG_XMP, payload):
            kind = "xmp"
        parts.append(Part(kind, position, end, payload))
        position = end
        if name == b"IEND":
            break
    if position < len(data):
        parts.append(Part("other", position, len(data), position))
    return Layout("PNG", tuple(parts), struct.unpack_from(">II", data, 16))


def _webp(data: bytes) -> Layout:
    parts = [Part("other", 0, 12, 12)]
    position = 12
    riff_end = min(len(data), 8 + struct.unpack_from("<I", data, 4)[0])
    while position + 8 <= riff_end:
        name, length = struct.unpack_from("<4sI", data, position)
        end = position + 8 + length + length % 2
        if end > len(data):
            raise PhotoError("truncated: the file ends before the picture does")
        kind: Kind = "image" if name in _WEBP_IMAGE else _WEBP_KINDS.get(name, "other")
        parts.append(Part(kind, position, end, position + 8))
        position = end
    if position < len(data):
        parts.append(Part("other", position, len(data), position))
    return Layout("WEBP", tuple(parts))


def _png_text(payload: bytes) -> bytes | None:
    """Return the text of an iTXt chunk, inflated where need be."""
    flags = len(_PNG_XMP)
    compressed = payload[flags] != 0
    rest = payload[flags + 2 :]
    try:
        _, _, text = rest.split(b"\0", 2)  # language, translated keyword
        if not compressed:
            return text
        return zlib.decompressobj().decompress(text, _LARGEST_TEXT)
    except (ValueError, zlib.error):
        return None
