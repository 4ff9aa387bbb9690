"""CSV as spreadsheets write it, and lines of CSV that they can open safely."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _csv import Reader

BYTE_ORDER_MARK = "\ufeff"  # begins a CSV file, so that spreadsheets read it as UTF-8
_FORMULA = re.compile("'*[=+\\-@\t\r\n]")  # after apostrophes: escaped, or by a person

_DELIMITERS = ",;\t|"
_SEPARATOR_LINE = re.compile(r'"?sep=(.)"?', re.IGNORECASE)  # the first line, as Excel reads it


def detect_delimiter(text: str, columns: Collection[Collection[str]]) -> tuple[str, str, int]:
    """Return a CSV's text without the line for Excel, its delimiter, and the lines left out.

    `columns` are the names that each column which must be there may have, in lower case. In many
    European locales, spreadsheets separate the columns of a .csv with semicolons.
    """
    first_line, _, rest = text.partition("\n")
    separator = _SEPARATOR_LINE.fullmatch(first_line.strip("\r ;,"))
    if separator is None:  # a tab would be stripped with the blanks
        separator = _SEPARATOR_LINE.fullmatch(first_line.rstrip("\r"))
    if separator is not None:
        return rest, separator[1], 1
    for mark in _DELIMITERS:
        header = [column.strip(' "\r').lower() for column in first_line.split(mark)]
        if all(any(name in header for name in names) for names in columns):
            return text, mark, 0
    return text, next((mark for mark in _DELIMITERS if mark in first_line), ","), 0


def csv_fields(text: str, delimiter: str) -> Reader:
    """Return a strict reader of the fields of each row; a field has any length."""
    csv.field_size_limit(max(csv.field_size_limit(), len(text)))
    return csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)


def csv_row(cells: Iterable[str]) -> str:
    r"""Return a line of CSV that ends in `\n`."""
    buffer = io.StringIO()
    csv.writer(buffer).writerow(cells)  # with its default line end, it also quotes a lone \r
    return buffer.getvalue().removesuffix("\r\n") + "\n"


def csv_number(value: float | None) -> str:
    """Return a number with six digits as a cell; None is an empty cell."""
    return "" if value is None else f"{value:.6g}"


def escape_csv_formula(cell: str) -> str:
    """Return a cell that no spreadsheet runs as a formula: an apostrophe precedes `=`, `-`, ...

    So that `unescape_csv_formula` restores every text, one more precedes `'=` too. Bytes of a path
    that are not UTF-8 become backslash escapes.
    """
    cell = escape_stray_bytes(cell)
    return f"'{cell}" if _FORMULA.match(cell) else cell


def escape_stray_bytes(text: str) -> str:
    """Return text in which bytes that are not UTF-8, as in paths, are backslash escapes."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def unescape_csv_formula(cell: str) -> str:
    """Return the text that `escape_csv_formula` made a cell of."""
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell) else cell
