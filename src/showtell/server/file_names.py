"""File names of uploaded photos, from the Content-Disposition header of a form's part.

Browsers send UTF-8 with `"` as `%22` (HTML, form-data encoding). Other clients send `filename*`
(RFC 8187), its continuations (RFC 2231), encoded words (RFC 2047), or Latin-1.
"""

from __future__ import annotations

import email.errors
import email.header
import re
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

_MAX_NAME_LENGTH = 255
_PARAMETER = re.compile(r';\s*([^\s=;"]+)\s*=\s*("(?:[^"\\]|\\.)*"|[^;]*)', re.DOTALL)
_EXTENDED = re.compile(r"([\w.-]+)'[^']*'(.*)", re.DOTALL)  # charset'language'percent-encoded
_ENCODED_WORD = re.compile(r"=\?[\w.-]+\?[bq]\?[^?\s]*\?=", re.IGNORECASE)
# Other encodings of Python are not for file names, and some are slow or raise odd errors.
_CHARSETS = {"utf-8", "utf8", "us-ascii", "iso-8859-1", "latin-1", "windows-1252"}


@dataclass(frozen=True)
class Disposition:
    """What a Content-Disposition header says about a part of a form.

    `file_name` is None if the part is not a file, and empty if the file has no name.
    """

    field: str | None
    file_name: str | None


def parse_disposition(header: bytes) -> Disposition:
    """Read the field and the file name, without folders, from a Content-Disposition header."""
    parameters: dict[str, str] = {}
    for key, value in _PARAMETER.findall(header.decode("latin-1")):
        parameters.setdefault(key.lower(), _unquoted(value.strip()))
    field = parameters.get("name")
    return Disposition(None if field is None else _text(field), _file_name(parameters))


def _file_name(parameters: dict[str, str]) -> str | None:
    name = _extended_name(parameters)
    if name is None:
        plain = parameters.get("filename")
        if plain is None:
            # A name in an unknown encoding: the part is a file nevertheless.
            return "" if any(key.startswith("filename*") for key in parameters) else None
        name = _plain_name(plain)
    return name.replace("\\", "/").rpartition("/")[2][:_MAX_NAME_LENGTH]


def _extended_name(parameters: dict[str, str]) -> str | None:
    """Return the name of `filename*`, whole or in numbered pieces; None if there is none."""
    pieces = [parameters["filename*"]] if "filename*" in parameters else []
    encoded = [True] * len(pieces)
    while not pieces or "filename*" not in parameters:
        key = f"filename*{len(pieces)}"
        if f"{key}*" not in parameters and key not in parameters:
            break
        encoded.append(f"{key}*" in parameters)
        pieces.append(parameters.get(f"{key}*", parameters.get(key, "")))
    if not pieces:
        return None
    charset = "utf-8"
    if encoded[0]:
        match = _EXTENDED.fullmatch(pieces[0])
        if match is None:
            return None
        charset, pieces[0] = match[1], match[2]
    data = b"".join(
        unquote_to_bytes(raw) if is_encoded else raw
        for piece, is_encoded in zip(pieces, encoded, strict=True)
        for raw in [piece.encode("latin-1")]
    )
    return _decoded(data, charset)


def _plain_name(value: str) -> str:
    if _ENCODED_WORD.search(value):
        words = [
            _decoded(data, charset or "latin-1") if isinstance(data, bytes) else data
            for data, charset in _decoded_words(value)
        ]
        if words and None not in words:
            return "".join(word for word in words if word is not None)
    for escape, character in (("%22", '"'), ("%0D", "\r"), ("%0A", "\n")):
        value = value.replace(escape, character)
    return _text(value)


def _decoded_words(value: str) -> list[tuple[bytes | str, str | None]]:
    try:
        return list(email.header.decode_header(value))
    except (ValueError, email.errors.HeaderParseError):
        return []


def _decoded(data: bytes, charset: str) -> str | None:
    if charset.lower() not in _CHARSETS:
        return None
    try:
        return data.decode(charset)
    except UnicodeDecodeError:
        return None


def _text(value: str) -> str:
    """Return text whose bytes were read as Latin-1: UTF-8 if it is valid."""
    try:
        return value.encode("latin-1").decode("utf-8")
    except UnicodeDecodeError:
        return value


def _unquoted(value: str) -> str:
    if len(value) >= 2 and value[0] == value[-1] == '"':
        value = value[1:-1]
    return value.replace('\\"', '"')
