"""Copies of photos without the metadata, for files whose metadata keeps the decoder from them.

The formats are described in W3C PNG, third edition, ITU-T T.81, Annex B (JPEG), RFC 9649 (WebP)
and ISO/IEC 23008-12 (AVIF).
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from showtell.image_formats.jpeg_markers import START_OF_SCAN

FORMATS_WITH_PARTS = ("PNG", "JPEG", "WEBP", "AVIF")  # of which copies are made
MAX_PROFILE_BYTES = 16 << 20  # of a colour profile, inflated

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_ANCILLARY = 0x20  # bit of the first letter of a PNG chunk's name
_PNG_KEPT = (b"tRNS", b"eXIf")  # ancillary chunks that matter, if they are whole
_WEBP_KEPT = (b"VP8X", b"ICCP", b"ANIM", b"ANMF", b"ALPH", b"VP8 ", b"VP8L")
_WEBP_METADATA_FLAGS = 0x2C  # in VP8X: ICC, EXIF, XMP
_WEBP_ICC_FLAG = 0x20
# first bytes of the application segments of a JPEG that matter -> their least length
_JPEG_KEPT = {b"Adobe": 12, b"JFIF\0": 14, b"ICC_PROFILE\0": 15, b"Exif\0\0": 14}


@dataclass(frozen=True, slots=True)
class EssentialParts:
    """A photo without its metadata, and a colour profile that the copy does not contain."""

    data: bytes
    icc_profile: bytes | None = None


def essential_parts(kind: str, data: bytes) -> EssentialParts:
    """Return a photo without metadata, other than its orientation and colour profile if whole.

    `kind` is Pillow's name of the format. A photo of another format is returned as it is, and
    so is the rest of a photo from where its structure is too damaged to follow.
    """
    if kind == "PNG":
        return _essential_png(data)
    if kind == "JPEG":
        return EssentialParts(_essential_jpeg(data))
    if kind == "WEBP":
        return EssentialParts(_essential_webp(data))
    if kind == "AVIF":
        return EssentialParts(_essential_avif(data))
    return EssentialParts(data)


def _essential_png(data: bytes) -> EssentialParts:
    parts, profile, position = [_PNG_SIGNATURE], None, len(_PNG_SIGNATURE)
    while position + 8 <= len(data):
        length, name = struct.unpack_from(">I4s", data, position)
        chunk = data[position : position + 12 + length]
        position += len(chunk)
        content = chunk[8:-4]
        is_whole = zlib.crc32(chunk[4:-4]).to_bytes(4, "big") == chunk[-4:]
        is_needed = not name[0] & _ANCILLARY
        if is_needed or (name in _PNG_KEPT and is_whole and _fits(name, content, data)):
            parts.append(chunk)
        elif name == b"iCCP" and is_whole:
            profile = _png_profile(content)
        if name == b"IEND":
            break
    return EssentialParts(b"".join(parts), profile)


def _fits(name: bytes, content: bytes, png: bytes) -> bool:
    """Return whether a chunk has the length that Pillow expects of it."""
    lengths = {b"\0": 2, b"\2": 6}  # by the kind of colour, byte 25 of the file: grey, RGB
    return len(content) >= (lengths.get(png[25:26], 1) if name == b"tRNS" else 1)


def _png_profile(content: bytes) -> bytes | None:
    """Return the profile of an iCCP chunk: a name, a zero, the method (0) and deflated bytes."""
    _, _, rest = content.partition(b"\0")
    inflate = zlib.decompressobj()
    try:
        profile = inflate.decompress(rest[1:], MAX_PROFILE_BYTES) if rest[:1] == b"\0" else b""
    except zlib.error:
        return None
    return profile if profile and not inflate.unconsumed_tail else None


def _essential_jpeg(data: bytes) -> bytes:
    kept = [data[:2]]
    position = 2
    while position + 4 <= len(data) and data[position] == 0xFF:
        marker = data[position + 1]
        length = 2 + int.from_bytes(data[position + 2 : position + 4], "big")
        if marker == 0xFF:  # a fill byte
            length = 1
        segment = data[position : position + length]
        if marker == START_OF_SCAN:
            break
        is_metadata = 0xE0 <= marker <= 0xEF or marker == 0xFE
        if not is_metadata or _is_kept_segment(segment[4:]):
            kept.append(segment)
        position += length
    return b"".join([*kept, data[position:]])


def _is_kept_segment(content: bytes) -> bool:
    return any(
        content.startswith(name) and len(content) >= least for name, least in _JPEG_KEPT.items()
    )


def _essential_webp(data: bytes) -> bytes:
    chunks = list(_webp_chunks(data))
    has_profile = any(chunk[:4] == b"ICCP" for chunk in chunks)
    kept = []
    for chunk in chunks:
        if chunk[:4] == b"VP8X" and len(chunk) > 8:
            flags = chunk[8] & ~_WEBP_METADATA_FLAGS | (_WEBP_ICC_FLAG if has_profile else 0)
            chunk = chunk[:8] + bytes([flags]) + chunk[9:]
        kept.append(chunk)
    body = b"WEBP" + b"".join(kept)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def _webp_chunks(data: bytes) -> Iterator[bytes]:
    """Yield the chunks of a WebP file that are needed, each with its header and padding."""
    position = 12
    while position + 8 <= len(data):
        name, length = struct.unpack_from("<4sI", data, position)
        end = position + 8 + length + length % 2
        if name in _WEBP_KEPT:
            yield data[position:end]
        position = end


def _essential_avif(data: bytes) -> bytes:
    """Rename the EXIF and XMP items, so that the decoder ignores them."""
    start = data.find(b"meta")
    end = start - 4 + int.from_bytes(data[start - 4 : start], "big")
    if start < 4 or end > len(data):
        return data
    table = data[start:end].replace(b"Exif", b"none").replace(b"mime", b"none")
    return data[:start] + table + data[end:]
