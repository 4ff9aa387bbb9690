"""Find the pointers in EXIF to previews after the picture, and keep them right in a changed JPEG.

Cameras of Sony, Minolta, Pentax and others store a preview after the end of a JPEG. An entry of
their maker note says where, counted from the start of the EXIF block or of the maker note. Maker
notes are not documented. So an entry counts as a pointer, in whatever directory it is, if a JPEG
begins where it points.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from showtell.errors import MetadataError
from showtell.photos.metadata.container import Container, Segment
from showtell.photos.metadata.file_edits import FileEdits

# a directory entry: tag, type and count (one LONG; or BYTE or UNDEFINED), value
_ENTRIES = {
    "<": re.compile(rb"(?=..(?:\x04\0\x01\0\0\0|[\x01\x07]\0....)(....))", re.DOTALL),
    ">": re.compile(rb"(?=..(?:\0\x04\0\0\0\x01|\0[\x01\x07]....)(....))", re.DOTALL),
}
_MAKER_NOTES = {
    "<": re.compile(rb"\x7c\x92\x07\0....(....)", re.DOTALL),
    ">": re.compile(rb"\x92\x7c\0\x07....(....)", re.DOTALL),
}
_NIKON_HEADER = 10  # bytes before the TIFF header in Nikon's maker note
_SONY_HEADER = 32  # bytes before the JPEG in Sony's previews
# the start of a JPEG with a table, an application segment or a comment: Sony and Minolta change
# the first byte
_JPEG_START = re.compile(rb".\xd8\xff[\xc4\xdb\xdd-\xef\xfe]", re.DOTALL)


@dataclass(frozen=True, slots=True)
class PreviewPointer:
    """A value of four bytes at `position` in the EXIF block `exif`, and the byte it points to."""

    exif: Segment
    position: int
    byte_order: str
    value: int
    target: int


def preview_pointers(container: Container, data: bytes) -> list[PreviewPointer]:
    """Return the pointers of a JPEG's EXIF to previews after the picture, by position."""
    trailer = container.segments[-1]
    if container.format != "JPEG" or trailer.kind != "other" or trailer.payload != trailer.start:
        return []
    pointers = {
        pointer.position: pointer
        for exif in container.segments
        if exif.kind == "exif"
        for pointer in _segment_pointers(exif, data, trailer)
    }
    return [pointers[position] for position in sorted(pointers)]


def keep_previews(container: Container, edits: FileEdits) -> None:
    """Add the edits that make the pointers to previews fit the other edits.

    Raises MetadataError if a pointer cannot be kept right.
    """
    for pointer in preview_pointers(container, edits.data):
        base = pointer.exif.payload
        moved = edits.new_position(pointer.target) - pointer.target
        value = pointer.value + moved - (edits.new_position(base) - base)
        if not 0 <= value < 1 << 32:
            raise MetadataError("its EXIF points to a preview after the picture: write a sidecar")
        new = struct.pack(f"{pointer.byte_order}I", value)
        edits.replace(pointer.position, pointer.position + len(new), new)


def without_pointers(exif: Segment, pointers: list[PreviewPointer], data: bytes) -> bytes:
    """Return the bytes of an EXIF segment with zeros for the pointers to previews."""
    content = bytearray(data[exif.start : exif.end])
    for pointer in pointers:
        if pointer.exif == exif:
            position = pointer.position - exif.start
            content[position : position + 4] = bytes(4)
    return bytes(content)


def _segment_pointers(exif: Segment, data: bytes, trailer: Segment) -> Iterator[PreviewPointer]:
    block = data[exif.payload : exif.end]
    bases = {0}
    for byte_order, pattern in _MAKER_NOTES.items():
        for match in pattern.finditer(block):
            start = struct.unpack(f"{byte_order}I", match[1])[0]
            bases |= {start, start + _NIKON_HEADER} if start < len(block) else set()
    for byte_order, pattern in _ENTRIES.items():
        for match in pattern.finditer(block):
            value = struct.unpack(f"{byte_order}I", match[1])[0]
            for base in sorted(bases):
                target = exif.payload + base + value
                if trailer.start <= target < trailer.end and _is_preview(data, target):
                    position = exif.payload + match.start(1)
                    yield PreviewPointer(exif, position, byte_order, value, target)


def _is_preview(data: bytes, position: int) -> bool:
    return any(_JPEG_START.match(data, position + header) for header in (0, _SONY_HEADER))
