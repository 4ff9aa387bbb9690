"""Captions as text, JSON lines or CSV."""

from __future__ import annotations

import json
import os
from typing import Literal

from showtell.caption import Caption
from showtell.files.csv_text import csv_row, escape_csv_formula
from showtell.files.printable_names import printable

Format = Literal["text", "jsonl", "csv"]
FORMATS: tuple[Format, ...] = ("text", "jsonl", "csv")
STDIN = "-"


def header(form: Format, *, nbest: int = 1) -> str:
    """Return the column names for CSV, and nothing for the other formats."""
    if form != "csv":
        return ""
    alternatives = [f"alternative_{number}" for number in range(1, nbest)]
    return csv_row(["path", "text", "log_probability", "confidence", *alternatives, "error"])


def line(caption: Caption, form: Format, *, nbest: int = 1, words: bool = False) -> str:
    r"""Return a caption in one of the formats, with a newline; an error gives no text.

    Text is `path: caption` on one line, with alternatives and words indented below. JSONL is
    ASCII: a path that is not UTF-8 has surrogate escapes (\udcff). A CSV cell that a spreadsheet
    would run as a formula starts with an apostrophe. A photo without a path (standard input) is
    called `-`.
    """
    path = STDIN if caption.path is None else os.fspath(caption.path)
    if form == "jsonl":
        record = caption.to_dict(words=words)
        record["path"] = path
        return json.dumps(record) + "\n"
    if form == "csv":
        others = [item.text for item in caption.alternatives]
        others += [""] * (nbest - 1 - len(others))
        return csv_row(
            [
                escape_csv_formula(path),
                escape_csv_formula(caption.text),
                _number(caption.log_probability),
                _number(caption.confidence),
                *map(escape_csv_formula, others),
                escape_csv_formula(caption.error or ""),
            ]
        )
    if caption.error is not None:
        return ""
    lines = [f"{printable(path)}: {caption.text}"]
    lines += [f"    {item.log_probability:8.3f}  {item.text}" for item in caption.alternatives]
    if words:
        lines.append(
            "    " + "  ".join(f"{word.word} {word.log_probability:.2f}" for word in caption.words)
        )
    return "\n".join(lines) + "\n"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.6g}"
