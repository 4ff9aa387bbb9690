"""Write lines of CSV that spreadsheets can open safely."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable

_FORMULA = re.compile("'*[=+\\-@\t\r\n]")  # after apostrophes: escaped, or by a person


def csv_row(cells: Iterable[str]) -> str:
    r"""Return a line of CSV that ends in `\n`."""
    buffer = io.StringIO()
    csv.writer(buffer).writerow(cells)  # with its default line end, it also quotes a lone \r
    return buffer.getvalue().removesuffix("\r\n") + "\n"


def escape_csv_formula(cell: str) -> str:
    """Return a cell that no spreadsheet runs as a formula: an apostrophe precedes `=`, `-`, ...

    So that `unescape_csv_formula` restores every text, one more precedes `'=` too. Bytes of a path
    that are not UTF-8 become backslash escapes.
    """
    cell = cell.encode("utf-8", "backslashreplace").decode("utf-8")
    return f"'{cell}" if _FORMULA.match(cell) else cell


def unescape_csv_formula(cell: str) -> str:
    """Return the text that `escape_csv_formula` made a cell of."""
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell) else cell
