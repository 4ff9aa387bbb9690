"""Split a JPEG, PNG or WebP file into segments of image data and metadata, without decoding it.

The formats are described in ITU-T T.81, Annex B (JPEG), W3C PNG, third edition, and RFC 9649
(WebP). Each byte of a file is in exactly one segment.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from showtell.errors import PhotoError
from showtell.image_formats.jpeg_markers import COMMENT, END, FRAMES, START_OF_SCAN

SegmentKind = Literal["image", "exif", "icc", "xmp", "iptc", "other"]

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PNG_IMAGE_CHUNKS = {b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"acTL", b"fcTL", b"fdAT", b"IEND"}
_PNG_METADATA_CHUNKS: dict[bytes, SegmentKind] = {b"eXIf": "exif", b"iCCP": "icc"}
_PNG_XMP_KEYWORD = b"XML:com.adobe.xmp\0"
_WEBP_IMAGE_CHUNKS = {b"VP8 ", b"VP8L", b"ALPH", b"ANIM", b"ANMF"}
_WEBP_METADATA_CHUNKS: dict[bytes, SegmentKind] = {b"EXIF": "exif", b"XMP ": "xmp", b"ICCP": "icc"}
# marker of an application segment, first bytes of its content, kind
_JPEG_APPLICATION_SEGMENTS: tuple[tuple[int, bytes, SegmentKind], ...] = (
    (0xE1, b"Exif\0\0", "exif"),
    (0xE1, b"http://ns.adobe.com/xap/1.0/\0", "xmp"),
    (0xE1, b"http://ns.adobe.com/xap/1.0/", "xmp"),  # some programs forget the end of the name
    (0xE2, b"ICC_PROFILE\0", "icc"),
    (0xED, b"Photoshop 3.0\0", "iptc"),
    (0xEE, b"Adobe", "image"),  # defines the colour transform
)
_TEM, _RST0, _RST7 = 0x01, 0xD0, 0xD7
_MARKERS_WITHOUT_CONTENT = {_TEM, *range(_RST0, _RST7 + 1)}
_MARKER_AFTER_SCAN = re.compile(rb"\xff+[^\x00\xd0-\xd7\xff]", re.DOTALL)
_MAX_TEXT_BYTES = 64 << 20  # of a compressed text, inflated
_TRUNCATED_MESSAGE = "truncated: image data is missing at the end"


@dataclass(frozen=True, slots=True)
class Segment:
    """The bytes `start` to `end` of a file; the content begins at `payload`, after any header."""

    kind: SegmentKind
    start: int
    end: int
    payload: int


@dataclass(frozen=True, slots=True)
class Container:
    """A file's format and its segments in order.

    `size` is the width and height in pixels before any rotation. It is None for WebP, and for a
    JPEG without a frame header.
    """

    format: Literal["JPEG", "PNG", "WEBP"]
    segments: tuple[Segment, ...]
    size: tuple[int, int] | None = None

    def payloads(self, kind: SegmentKind, data: bytes) -> Iterator[bytes]:
        """Yield the content of each segment of one kind."""
        for segment in self.segments:
            if segment.kind == kind:
                end = segment.end
                if self.format == "PNG":
                    end -= 4  # without the checksum
                elif self.format == "WEBP":  # without the padding
                    end = segment.payload + struct.unpack_from("<I", data, segment.payload - 4)[0]
                yield data[segment.payload : end]

    def xmp(self, data: bytes) -> bytes | None:
        """Return the file's main XMP packet, or None."""
        return next(self.xmp_packets(data), None)

    def xmp_packets(self, data: bytes) -> Iterator[bytes | None]:
        """Yield the file's XMP packets, the main one first; one that is damaged is None."""
        for payload in self.payloads("xmp", data):
            yield payload if self.format != "PNG" else _png_text(payload)


def parse_container(data: bytes) -> Container | None:
    """Split a photo into segments; return None if it is not a JPEG, PNG or WebP file.

    Raises PhotoError if the file's structure is damaged.
    """
    try:
        if data.startswith(b"\xff\xd8\xff"):
            return parse_jpeg(data)
        if data.startswith(_PNG_SIGNATURE):
            return _parse_png(data)
        if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
            return _parse_webp(data)
    except (struct.error, IndexError):
        raise PhotoError(_TRUNCATED_MESSAGE) from None
    return None


def parse_jpeg(data: bytes, start: int = 0) -> Container:
    """Split the JPEG that begins at byte `start`; data after its end is one segment.

    Raises PhotoError if its structure is damaged.
    """
    try:
        return _parse_jpeg(data, start)
    except (struct.error, IndexError):
        raise PhotoError(_TRUNCATED_MESSAGE) from None


def _parse_jpeg(data: bytes, start: int) -> Container:
    position = start + 2
    segments = [Segment("image", start, position, position)]
    size = None
    while position < len(data):
        segment_start = position
        if data[position] != 0xFF:
            raise PhotoError(f"damaged: no JPEG marker at byte {position}")
        while data[position] == 0xFF:
            position += 1
        marker = data[position]
        position += 1
        if marker in _MARKERS_WITHOUT_CONTENT or marker == END:
            segments.append(Segment("image", segment_start, position, position))
            if marker == END:
                break
            continue
        length = struct.unpack_from(">H", data, position)[0]
        payload, position = position + 2, position + length
        if length < 2 or position > len(data):
            raise PhotoError(_TRUNCATED_MESSAGE)
        if marker in FRAMES:
            height, width = struct.unpack_from(">HH", data, payload + 1)
            size = (width, height)
        elif marker == START_OF_SCAN:
            following = _MARKER_AFTER_SCAN.search(data, position)
            position = following.start() if following else len(data)
        kind, payload = _jpeg_kind(data, marker, payload)
        segments.append(Segment(kind, segment_start, position, payload))
    if position < len(data):  # phones append a second picture or a video
        segments.append(Segment("other", position, len(data), position))
    return Container("JPEG", tuple(segments), size)


def _jpeg_kind(data: bytes, marker: int, payload: int) -> tuple[SegmentKind, int]:
    """Return a JPEG segment's kind and the position of its content."""
    if not (0xE0 <= marker <= 0xEF or marker == COMMENT):
        return "image", payload
    for application, signature, kind in _JPEG_APPLICATION_SEGMENTS:
        if marker == application and data.startswith(signature, payload):
            return kind, payload + (len(signature) if kind != "image" else 0)
    return "other", payload


def _parse_png(data: bytes) -> Container:
    segments = [Segment("image", 0, 8, 8)]
    position = 8
    while position < len(data):
        length, name = struct.unpack_from(">I4s", data, position)
        end = position + 12 + length
        if end > len(data):
            raise PhotoError(_TRUNCATED_MESSAGE)
        payload = position + 8
        kind: SegmentKind = (
            "image" if name in _PNG_IMAGE_CHUNKS else _PNG_METADATA_CHUNKS.get(name, "other")
        )
        if name == b"iTXt" and data.startswith(_PNG_XMP_KEYWORD, payload):
            kind = "xmp"
        segments.append(Segment(kind, position, end, payload))
        position = end
        if name == b"IEND":
            break
    if position < len(data):
        segments.append(Segment("other", position, len(data), position))
    return Container("PNG", tuple(segments), struct.unpack_from(">II", data, 16))


def _parse_webp(data: bytes) -> Container:
    segments = [Segment("other", 0, 12, 12)]
    position = 12
    riff_end = min(len(data), 8 + struct.unpack_from("<I", data, 4)[0])
    while position + 8 <= riff_end:
        name, length = struct.unpack_from("<4sI", data, position)
        end = position + 8 + length + length % 2
        if end > len(data):
            raise PhotoError(_TRUNCATED_MESSAGE)
        kind: SegmentKind = (
            "image" if name in _WEBP_IMAGE_CHUNKS else _WEBP_METADATA_CHUNKS.get(name, "other")
        )
        segments.append(Segment(kind, position, end, position + 8))
        position = end
    if position < len(data):
        segments.append(Segment("other", position, len(data), position))
    return Container("WEBP", tuple(segments))


def _png_text(payload: bytes) -> bytes | None:
    """Return the text of an iTXt chunk, inflated if it is compressed."""
    flags = len(_PNG_XMP_KEYWORD)
    try:
        _, _, text = payload[flags + 2 :].split(b"\0", 2)  # language, translated keyword
        if not payload[flags]:
            return text
        return zlib.decompressobj().decompress(text, _MAX_TEXT_BYTES)
    except (ValueError, zlib.error):
        return None
