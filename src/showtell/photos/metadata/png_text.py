"""Read the text chunks of a PNG file, and the metadata that ImageMagick stores in them.

The chunks are described in W3C PNG, third edition, section 11.3.3. ImageMagick and other programs
store EXIF, IPTC and XMP as hexadecimal text with the keyword `Raw profile type ...`.
"""

from __future__ import annotations

import contextlib
import zlib
from collections.abc import Iterable, Iterator

from showtell.photos.metadata.container import Container

_MAX_TEXT_BYTES = 16 << 20  # of a compressed text, inflated
_RAW_PROFILE = "raw profile type "
_CHECKSUM_SIZE = 4


def png_texts(data: bytes, container: Container) -> Iterator[tuple[str, str]]:
    """Yield the keyword, in lower case, and the text of each text chunk that is not XMP.

    Damaged chunks are left out.
    """
    if container.format != "PNG":
        return
    for segment in container.segments:
        if segment.kind == "other":
            name = data[segment.start + 4 : segment.start + 8]
            payload = data[segment.payload : segment.end - _CHECKSUM_SIZE]
            with contextlib.suppress(ValueError, IndexError, zlib.error):
                if name in (b"tEXt", b"zTXt", b"iTXt"):
                    yield _keyword_and_text(name, payload)


def raw_profiles(texts: Iterable[tuple[str, str]]) -> Iterator[tuple[str, bytes]]:
    """Yield the type (`exif`, `iptc`, `xmp`, `app1`) and the bytes of each raw profile in texts."""
    for keyword, text in texts:
        if keyword.startswith(_RAW_PROFILE):
            with contextlib.suppress(ValueError):
                _, _, content = text.lstrip("\n").split("\n", 2)  # after the type and the size
                # lines may end within a byte
                yield keyword.removeprefix(_RAW_PROFILE), bytes.fromhex("".join(content.split()))


def _keyword_and_text(name: bytes, payload: bytes) -> tuple[str, str]:
    """Split a chunk; raises ValueError, IndexError or zlib.error if it is damaged."""
    keyword, content = payload.split(b"\0", 1)
    if name == b"tEXt":
        text = decode_text(content)
    elif name == b"zTXt":
        text = decode_text(_inflate(content[1:]))  # after the compression method
    else:
        compressed = content[0] != 0
        _, _, content = content[2:].split(b"\0", 2)  # language, translated keyword
        text = decode_text(_inflate(content) if compressed else content)
    return keyword.decode("latin-1").strip().lower(), text


def decode_text(content: bytes) -> str:
    """Decode a text as UTF-8, as most programs write it, or else as Latin-1."""
    try:
        return content.decode()
    except UnicodeDecodeError:
        return content.decode("latin-1")


def _inflate(content: bytes) -> bytes:
    return zlib.decompressobj().decompress(content, _MAX_TEXT_BYTES)
