"""Embed captions and keywords in a JPEG, PNG or WebP file: in its XMP, and in a JPEG's IPTC.

Only the segments of XMP and IPTC change, and what depends on their size. All other bytes stay and
keep their order.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterable

from showtell.errors import MetadataError
from showtell.photos.metadata.container import Container, Segment, parse_container
from showtell.photos.metadata.field_values import IPTC_FIELDS, FieldValues, xmp_values
from showtell.photos.metadata.file_edits import FileEdits
from showtell.photos.metadata.further_pictures import keep_further_pictures
from showtell.photos.metadata.iptc import set_iptc
from showtell.photos.metadata.trailing_previews import keep_previews
from showtell.photos.metadata.xmp import field_names, set_fields

_XMP_HEADER = b"http://ns.adobe.com/xap/1.0/\0"
_EXTENDED_XMP_HEADER = b"http://ns.adobe.com/xmp/extension/\0"
_GUID_SIZE = 32
_EXTENDED_XMP_FIELDS = _GUID_SIZE + 4 + 4  # GUID, full length, offset
_PROPERTY_NAMES = (b"description", b"AltTextAccessibility", b"subject")
_PHOTOSHOP_HEADER = b"Photoshop 3.0\0"
_APP0, _APP1, _APP13 = 0xE0, 0xE1, 0xED
_MAX_SEGMENT = 0xFFFF - 2  # bytes of content
_PADDING = re.compile(rb"\s+(?=<\?xpacket\s+end)")
_PNG_XMP_PREFIX = b"XML:com.adobe.xmp\0\0\0\0\0"  # keyword; not compressed; no languages
_VP8L_MARK = b"\x2f"
_VP8X_XMP, _VP8X_ALPHA = 0x04, 0x10
_CANVAS_BITS = 14  # of width and height in VP8 and VP8L


def embed_fields(data: bytes, values: FieldValues) -> bytes:
    """Return a photo with values by field: those of XMP, and those of IPTC for a JPEG.

    Raises MetadataError if it has no format to embed in, or cannot be changed safely; PhotoError
    if it is damaged.
    """
    container = parse_container(data)
    if container is None:
        raise MetadataError("not a JPEG, PNG or WebP file")
    edits = FileEdits(data)
    in_xmp = xmp_values(values)
    in_iptc = {field: value for field, value in values.items() if field in IPTC_FIELDS}
    if container.format == "JPEG":
        if in_xmp:
            _embed_jpeg_xmp(container, edits, in_xmp)
        if in_iptc:
            _embed_jpeg_iptc(container, edits, in_iptc)
        keep_further_pictures(container, edits)
        keep_previews(container, edits)
    elif in_xmp and container.format == "PNG":
        _embed_png_xmp(container, edits, in_xmp)
    elif in_xmp:
        _embed_webp_xmp(container, edits, in_xmp)
    return edits.result()


def extended_xmp(container: Container, data: bytes) -> list[bytes]:
    """Return the packets of a JPEG's XMP that are too long for one segment.

    There is one for each GUID: programs leave those of earlier versions in the file.
    """
    parts: dict[bytes, list[tuple[int, bytes]]] = {}
    for payload in container.payloads("other", data):
        if payload.startswith(_EXTENDED_XMP_HEADER):
            fields_start = len(_EXTENDED_XMP_HEADER)
            start = fields_start + _EXTENDED_XMP_FIELDS
            offset = struct.unpack_from(">I", payload.ljust(start, b"\0"), start - 4)[0]
            guid = payload[fields_start : fields_start + _GUID_SIZE]
            parts.setdefault(guid, []).append((offset, payload[start:]))
    return [b"".join(part for _, part in sorted(pieces)) for pieces in parts.values()]


def _embed_jpeg_xmp(container: Container, edits: FileEdits, values: FieldValues) -> None:
    for rest in extended_xmp(container, edits.data):
        # it may hold megabytes of other data, such as a depth map
        if any(name in rest for name in _PROPERTY_NAMES) and set(values) & field_names(rest):
            raise MetadataError("its caption or keywords are in extended XMP, which is not changed")
    packet = set_fields(container.xmp(edits.data), values)
    content = _XMP_HEADER + _fit(packet, _MAX_SEGMENT - len(_XMP_HEADER))
    existing = _segments(container, "xmp")
    _replace_segments(edits, existing[:1], container, [_jpeg_segment(_APP1, content)])


def _fit(packet: bytes, size: int) -> bytes:
    """Remove a packet's padding if it is longer than `size` bytes."""
    if len(packet) > size:
        packet = _PADDING.sub(b"\n", packet)
    if len(packet) > size:
        raise MetadataError("its XMP is too long for a caption: write a sidecar")
    return packet


def _embed_jpeg_iptc(container: Container, edits: FileEdits, values: FieldValues) -> None:
    existing = _segments(container, "iptc")
    old = list(container.payloads("iptc", edits.data))
    contents = set_iptc(old, values)
    encoded = [b"".join(_photoshop_segments(content)) for content in contents]
    if not existing:
        _replace_segments(edits, [], container, encoded)
    for segment, old_content, content, new in zip(existing, old, contents, encoded, strict=False):
        if content != old_content:
            edits.replace(segment.start, segment.end, new)


def _photoshop_segments(content: bytes) -> Iterable[bytes]:
    size = _MAX_SEGMENT - len(_PHOTOSHOP_HEADER)
    for start in range(0, len(content), size):
        yield _jpeg_segment(_APP13, _PHOTOSHOP_HEADER + content[start : start + size])


def _replace_segments(
    edits: FileEdits, old: list[Segment], container: Container, new: list[bytes]
) -> None:
    """Replace a JPEG's segment, or insert a new one after JFIF and EXIF at its beginning."""
    if old:
        edits.replace(old[0].start, old[0].end, b"".join(new))
        return
    position = container.segments[0].end
    for segment in container.segments[1:]:
        is_jfif = edits.data[segment.payload - 3] == _APP0 and segment.kind == "other"
        if not is_jfif and segment.kind != "exif":
            break
        position = segment.end
    edits.replace(position, position, b"".join(new))


def _jpeg_segment(marker: int, content: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content


def _embed_png_xmp(container: Container, edits: FileEdits, values: FieldValues) -> None:
    existing = _segments(container, "xmp")
    packet = container.xmp(edits.data)
    if existing and packet is None:
        raise MetadataError("its XMP is damaged")
    content = b"iTXt" + _PNG_XMP_PREFIX + set_fields(packet, values)
    chunk = struct.pack(">I", len(content) - 4) + content + struct.pack(">I", zlib.crc32(content))
    if existing:
        edits.replace(existing[0].start, existing[0].end, chunk)
        return
    header_end = container.segments[1].end  # after the signature and IHDR
    edits.replace(header_end, header_end, chunk)


def _embed_webp_xmp(container: Container, edits: FileEdits, values: FieldValues) -> None:
    data = edits.data
    packet = set_fields(container.xmp(data), values)
    chunk = b"XMP " + struct.pack("<I", len(packet)) + packet + bytes(len(packet) % 2)
    existing = _segments(container, "xmp")
    if existing:
        edits.replace(existing[0].start, existing[0].end, chunk)
    else:
        chunks_end = max(s.end for s in container.segments if s.payload == s.start + 8)
        edits.replace(chunks_end, chunks_end, chunk)
    first = container.segments[1]
    if data.startswith(b"VP8X", first.start):
        flags = data[first.payload] | _VP8X_XMP
        edits.replace(first.payload, first.payload + 1, bytes([flags]))
    else:
        edits.replace(first.start, first.start, _extended_webp_header(data, first))
    riff_size = struct.unpack_from("<I", data, 4)[0] + len(edits.result()) - len(data)
    edits.replace(4, 8, struct.pack("<I", riff_size))


def _extended_webp_header(data: bytes, image: Segment) -> bytes:
    """Return the VP8X chunk that a simple WebP file needs before it can have metadata."""
    flags = _VP8X_XMP
    mask = (1 << _CANVAS_BITS) - 1
    width = height = -1  # less one, as VP8X and VP8L store them
    if data.startswith(b"VP8L", image.start) and data.startswith(_VP8L_MARK, image.payload):
        bits = int.from_bytes(data[image.payload + 1 : image.payload + 5], "little")
        width, height = bits & mask, bits >> _CANVAS_BITS & mask
        flags |= _VP8X_ALPHA if bits >> 2 * _CANVAS_BITS & 1 else 0
    elif data.startswith(b"VP8 ", image.start) and image.end - image.payload > 10:
        width, height = (
            (size & mask) - 1 for size in struct.unpack_from("<HH", data, image.payload + 6)
        )
    if width < 0 or height < 0:
        raise MetadataError("damaged: no image where a WebP file begins")
    sizes = struct.pack("<Q", width | height << 24)[:6]  # 24 bits each
    return b"VP8X" + struct.pack("<I", 10) + bytes([flags, 0, 0, 0]) + sizes


def _segments(container: Container, kind: str) -> list[Segment]:
    return [segment for segment in container.segments if segment.kind == kind]
