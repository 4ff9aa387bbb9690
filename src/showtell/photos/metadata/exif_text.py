"""Read the texts that describe a photo from its EXIF block."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from PIL import Image

from showtell.photos.metadata.png_text import decode_text

_EXIF_IFD, _USER_COMMENT = 0x8769, 0x9286
_IMAGE_DESCRIPTION, _MAKE, _MODEL, _SOFTWARE = 0x010E, 0x010F, 0x0110, 0x0131
_XP_COMMENT, _XP_SUBJECT = 0x9C9C, 0x9C9F  # by Windows; XPTitle is a title
_CODE_SIZE = 8  # bytes: the character code at the start of a UserComment


def exif_texts(exif: Image.Exif) -> Iterator[str]:
    """Yield the descriptions and comments in an EXIF block; damaged ones are left out.

    A description that repeats the camera's or the program's name is not one.
    """
    names = {_text(exif, tag).lower() for tag in (_MAKE, _MODEL, _SOFTWARE)}
    description = _text(exif, _IMAGE_DESCRIPTION)
    if description.lower() not in names:
        yield description
    for tag in (_XP_COMMENT, _XP_SUBJECT):
        with contextlib.suppress(Exception):
            yield _as_bytes(exif.get(tag)).decode("utf-16-le", "replace")
    for tags in (lambda: exif, lambda: exif.get_ifd(_EXIF_IFD)):
        with contextlib.suppress(Exception):
            yield decode_user_comment(_as_bytes(tags().get(_USER_COMMENT)), exif.endian or "<")


def decode_user_comment(comment: bytes, endian: str = "<") -> str:
    """Decode a UserComment (EXIF 2.32, 4.6.5) by the character code at its start.

    UNICODE is UTF-16 in either byte order: `endian`, that of the EXIF block, decides only if the
    text does not show it. A comment without a code, which EXIF does not allow, is decoded too.
    """
    code, content = comment[:_CODE_SIZE].rstrip(b"\0 ").upper(), comment[_CODE_SIZE:]
    if code == b"UNICODE":
        return content.decode(_utf_16_order(content, endian), "replace").lstrip("\ufeff")
    if code == b"JIS":
        for encoding in ("iso2022_jp", "euc_jp", "shift_jis"):
            with contextlib.suppress(UnicodeDecodeError):
                return content.decode(encoding)
    if code in (b"ASCII", b"JIS", b""):
        return decode_text(content.strip(b"\0"))
    return decode_text(comment.strip(b"\0"))


def _utf_16_order(content: bytes, endian: str) -> str:
    """Return the encoding whose high bytes are the zeros, if the text has Latin letters."""
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "utf-16-le" if content[0] == 0xFF else "utf-16-be"
    text = content[: len(content.rstrip(b"\0")) + 1]
    zeros_first, zeros_second = text[::2].count(0), text[1::2].count(0)
    if zeros_first == zeros_second:
        return "utf-16-be" if endian == ">" else "utf-16-le"
    return "utf-16-be" if zeros_first > zeros_second else "utf-16-le"


def _text(exif: Image.Exif, tag: int) -> str:
    """Return an ASCII tag's text, or an empty string; Pillow decodes it as Latin-1."""
    with contextlib.suppress(Exception):
        value = exif.get(tag)
        content = value.encode("latin-1") if isinstance(value, str) else _as_bytes(value)
        return decode_text(content).strip("\0 ")
    return ""


def _as_bytes(value: Any) -> bytes:
    return value.encode("latin-1") if isinstance(value, str) else bytes(value or b"")
