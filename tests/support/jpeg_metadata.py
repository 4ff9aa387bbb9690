"""Build JPEG segments, IPTC and lists of further pictures byte by byte for tests."""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from pathlib import Path

from support.photo_library import exiftool

UTF8_MARKER = ((1, 90), b"\x1b%G")
# what embedding writes, and what exiftool computes from the file
_OURS = {
    "SourceFile",
    "XMP-dc:Description",
    "XMP-iptcCore:AltTextAccessibility",
    "XMP-x:XMPToolkit",
    "IPTC:Caption-Abstract",
    "IPTC:CodedCharacterSet",
    "IPTC:EnvelopeRecordVersion",
    "IPTC:ApplicationRecordVersion",
    "Photoshop:IPTCDigest",
    "File:CurrentIPTCDigest",
}
_COMPUTED_GROUPS = ("ExifTool:", "System:")
_COMPUTED_NAMES = ("MPImageStart", "MPImageLength", "PreviewImageStart")

Dataset = tuple[tuple[int, int], bytes]


def segment(marker: int, content: bytes) -> bytes:
    """Return a JPEG segment."""
    return struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content


def iptc_block(*datasets: Dataset) -> bytes:
    """Return datasets of IIM; long values get an extended size."""
    block = b""
    for (record, number), value in datasets:
        size = struct.pack(">H", len(value))
        if len(value) > 0x7FFF:
            size = struct.pack(">HI", 0x8004, len(value))
        block += bytes([0x1C, record, number]) + size + value
    return block


def resource(
    number: int, content: bytes, name: bytes = b"", signature: bytes = b"8BIM", padded: bool = True
) -> bytes:
    """Return one of Photoshop's image resources."""
    header = signature + struct.pack(">HB", number, len(name)) + name
    header += bytes((len(name) + 1) % 2)
    padding = bytes(len(content) % 2) if padded else b""
    return header + struct.pack(">I", len(content)) + content + padding


def photoshop(*contents: bytes) -> bytes:
    """Return a Photoshop segment for each content."""
    return b"".join(segment(0xED, b"Photoshop 3.0\0" + content) for content in contents)


def with_segments(jpeg: bytes, segments: bytes) -> bytes:
    """Insert segments before the first quantisation table of a JPEG."""
    position = jpeg.index(b"\xff\xdb")
    return jpeg[:position] + segments + jpeg[position:]


def with_further_pictures(
    jpeg: bytes,
    pictures: Sequence[bytes],
    byte_order: str = ">",
    *,
    following: bytes = b"",
    gap: bytes = b"",
) -> bytes:
    """Append pictures to a JPEG after a gap, with a list of them (MPF) before other segments."""
    count = len(pictures) + 1
    length = 8 + 2 + 3 * 12 + 4 + 16 * count
    empty = segment(0xE2, b"MPF\0" + bytes(length))
    primary_size = len(with_segments(jpeg, empty + following))
    base = with_segments(jpeg, empty).index(empty) + 8
    entries = struct.pack(f"{byte_order}IIIHH", 0x20030000, primary_size, 0, 0, 0)
    position = primary_size + len(gap)
    for picture in pictures:
        entries += struct.pack(f"{byte_order}IIIHH", 2, len(picture), position - base, 0, 0)
        position += len(picture)
    directory = struct.pack(f"{byte_order}H", 3)
    for tag, kind, number, value in (
        (0xB000, 7, 4, struct.unpack(f"{byte_order}I", b"0100")[0]),
        (0xB001, 4, 1, count),
        (0xB002, 7, 16 * count, 8 + 2 + 3 * 12 + 4),
    ):
        directory += struct.pack(f"{byte_order}HHII", tag, kind, number, value)
    header = (b"MM\0*" if byte_order == ">" else b"II*\0") + struct.pack(f"{byte_order}I", 8)
    content = b"MPF\0" + header + directory + bytes(4) + entries
    return with_segments(jpeg, segment(0xE2, content) + following) + gap + b"".join(pictures)


def other_values(path: Path, data: bytes) -> dict[str, object]:
    """Return all that exiftool finds in a photo apart from the captions that showtell writes."""
    path.write_bytes(data)
    output = exiftool(
        "-j", "-a", "-u", "-G1", "-struct", "-b", "-charset", "iptc=UTF8", "-api",
        "RequestAll=2", path,
    )  # fmt: skip
    [values] = json.loads(output)
    return {
        name: value
        for name, value in values.items()
        if name not in _OURS
        and not name.startswith(_COMPUTED_GROUPS)
        and name.split(":")[-1] not in _COMPUTED_NAMES
    }


MAKER_NOTES_WITH_PREVIEW = ("sony", "minolta", "pentax", "olympus")


def trailing_preview(jpeg: bytes, camera: str) -> bytes:
    """Return a preview as a camera stores it after a picture."""
    if camera != "sony":
        return jpeg
    # a header of its own, another first byte, no JFIF
    return bytes(32) + b"\0\xd8" + jpeg[jpeg.index(b"\xff\xdb") :]


def with_preview_in_maker_note(jpeg: bytes, preview: bytes, camera: str) -> bytes:
    """Append a preview to a JPEG, with EXIF whose maker note points to it as a camera's does."""
    gap = bytes(5)
    exif_start = jpeg.index(b"\xff\xdb") + 10
    empty = with_segments(jpeg, exif_with_maker_note(camera, 0, len(preview)))
    offset = len(empty) + len(gap) - exif_start
    segments = exif_with_maker_note(camera, offset, len(preview))
    return with_segments(jpeg, segments) + gap + preview


def exif_with_maker_note(camera: str, offset: int, size: int) -> bytes:
    """Return an EXIF segment; `offset` counts from its TIFF header."""
    order = "<" if camera in ("sony", "olympus") else ">"
    make = {"minolta": b"Minolta", "olympus": b"OLYMPUS CORP."}.get(camera, camera.upper().encode())
    start = 8 + 2 + 2 * 12 + 4 + 2 + 12 + 4 + 16  # of the maker note: after two directories
    header, entries, values = b"", [(0x88, 4, 1, offset), (0x89, 4, 1, size)], b""
    if camera == "sony":
        header, values = b"SONY DSC \0\0\0", b"Standard".ljust(16, b"\0")
        end = start + len(header) + 2 + 2 * 12 + 4
        entries = [(0x2001, 7, size, offset), (0xB020, 2, 16, end)]
    elif camera == "pentax":
        header, entries = b"AOC\0MM", [(3, 4, 1, size), (4, 4, 1, offset)]
    elif camera == "olympus":  # counts from the maker note
        header = b"OLYMPUS\0II\3\0"
        entries[0] = (0x88, 4, 1, max(offset - start, 0))
    note = header + _directory(order, entries) + values
    block = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}I", 8)
    block += _directory(order, [(0x010F, 2, len(make) + 1, start - 16), (0x8769, 4, 1, 38)])
    block += _directory(order, [(0x927C, 7, len(note), start)]) + make.ljust(16, b"\0") + note
    return segment(0xE1, b"Exif\0\0" + block)


def _directory(order: str, entries: Sequence[tuple[int, int, int, int]]) -> bytes:
    content = b"".join(struct.pack(f"{order}HHII", *entry) for entry in entries)
    return struct.pack(f"{order}H", len(entries)) + content + bytes(4)
