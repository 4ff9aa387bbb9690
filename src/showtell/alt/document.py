"""A document's text, from which its bytes can be restored."""

from __future__ import annotations

import codecs
import os
import re
from bisect import bisect_right
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from showtell.errors import DocumentError
from showtell.files.os_errors import error_reason
from showtell.files.printable_names import printable
from showtell.files.regular_files import read_regular

MAX_BYTES = 64 << 20  # of a document
_BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
# The standard has user agents look for it in the first 1,024 bytes.
_DECLARED_ENCODING = re.compile(
    rb"""<(?:meta[^>]{0,200}?charset|\?xml[^>]{0,200}?encoding)\s*=\s*["']?([\w.:-]{2,40})""", re.I
)
_DECLARATION_BYTES = 1024
_LINE_END = re.compile(r"\r\n|\n|\r")


@dataclass(frozen=True)
class Document:
    """A text file: its bytes are `mark` and `text` in `encoding`, without any other loss.

    Positions in a document are indices into `text`, which keeps the line ends of the file.
    """

    path: Path
    text: str
    encoding: str = "utf-8"
    mark: bytes = field(default=b"", repr=False)

    @cached_property
    def _line_starts(self) -> list[int]:
        return [0, *(match.end() for match in _LINE_END.finditer(self.text))]

    def line_and_column(self, position: int) -> tuple[int, int]:
        """Return line and column of a position; both count from 1, the column in characters."""
        line = bisect_right(self._line_starts, position)
        return line, position - self._line_starts[line - 1] + 1

    def encoded(self, text: str) -> bytes:
        """Return a text as bytes of this document's encoding.

        Raises DocumentError where the encoding lacks a character.
        """
        try:
            return text.encode(self.encoding, _error_handler(self.encoding))
        except UnicodeEncodeError as error:
            character = printable(text[error.start])
            raise DocumentError(
                f"{printable(os.fspath(self.path))}: {self.encoding} has no {character!r}"
            ) from None

    @property
    def data(self) -> bytes:
        """The bytes of the file."""
        return self.mark + self.encoded(self.text)


def read_document(path: Path) -> Document:
    """Read a text file in the encoding that its byte order mark or its markup declares, or UTF-8.

    Bytes that are invalid in UTF-8 become lone surrogates, and a file that declares an encoding
    that would lose bytes is read as UTF-8 too.

    Raises DocumentError where it cannot be read or is a binary file.
    """
    try:
        data = read_regular(path, MAX_BYTES, or_pipe=True)
    except OSError as error:
        raise DocumentError(
            f"{printable(os.fspath(path))}: cannot be read ({error_reason(error)})"
        ) from None
    return decode_document(path, data)


def decode_document(path: Path, data: bytes) -> Document:
    """Return the document with these bytes; see `read_document`."""
    mark, encoding = next(
        ((mark, name) for mark, name in _BYTE_ORDER_MARKS if data.startswith(mark)), (b"", "")
    )
    if not mark and b"\0" in data[:_DECLARATION_BYTES]:
        raise DocumentError(f"{printable(os.fspath(path))}: a binary file, not a text")
    for candidate in (encoding, "utf-8", _declared_encoding(data)):
        if candidate and (document := _decoded(path, data, candidate, mark)) is not None:
            return document
    text = data[len(mark) :].decode("utf-8", "surrogateescape")
    return Document(path, text, "utf-8", mark)


def _declared_encoding(data: bytes) -> str:
    match = _DECLARED_ENCODING.search(data[:_DECLARATION_BYTES])
    if match is None:
        return ""
    try:
        codec = codecs.lookup(match[1].decode("ascii"))
    except LookupError:
        return ""
    return codec.name if getattr(codec, "_is_text_encoding", True) else ""


def _decoded(path: Path, data: bytes, encoding: str, mark: bytes) -> Document | None:
    """Return the document in an encoding, or None if that loses bytes."""
    try:
        text = data[len(mark) :].decode(encoding)
        document = Document(path, text, encoding, mark)
        is_lossless = encoding == "utf-8" or document.data == data
    except (UnicodeError, DocumentError):
        return None
    return document if is_lossless else None


def _error_handler(encoding: str) -> str:
    return "surrogateescape" if encoding == "utf-8" else "strict"
