"""Captions as text, JSON lines or CSV."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, TypeVar

import click

from showtell.caption import Caption
from showtell.decoding.confidence import doubt_about
from showtell.errors import ShowtellError
from showtell.files.csv_text import csv_number, csv_row, escape_csv_formula
from showtell.files.printable_names import printable

Format = Literal["text", "jsonl", "csv"]
FORMATS: tuple[Format, ...] = ("text", "jsonl", "csv")
_FORMAT_OF_SUFFIX = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".csv": "csv",
    ".txt": "text",
    ".html": "html",
    ".htm": "html",
}
_SPREADSHEET = "name it .csv, which spreadsheets open"
_OTHER_FORMATS = {
    ".json": "name it .jsonl, for one JSON object per line",
    **dict.fromkeys((".xlsx", ".xls", ".ods", ".numbers"), _SPREADSHEET),
}
Chosen = TypeVar("Chosen", bound=str)
STDIN = "-"
_COLOURS = {"unsure": "yellow", "guess": "red"}


def format_of(output: Path | None) -> Format:
    """Return the format that the suffix of a file names, and text otherwise.

    Raises ShowtellError for a suffix of another format, such as `.json` or `.xlsx`.
    """
    return suffix_format(output, FORMATS) or "text"


def suffix_format(output: Path | None, formats: Sequence[Chosen]) -> Chosen | None:
    """Return which of `formats` the suffix of a file names, or None if it names none.

    Raises ShowtellError for a suffix of another format, such as `.json` or `.xlsx`.
    """
    suffix = "" if output is None else output.suffix.lower()
    if suffix in _OTHER_FORMATS:
        raise ShowtellError(
            f"{printable(os.fspath(str(output)))}: {_OTHER_FORMATS[suffix]},"
            " or choose with --format"
        )
    named = _FORMAT_OF_SUFFIX.get(suffix)
    return next((item for item in formats if item == named), None)


def columns(*, nbest: int = 1, keywords: bool = False, with_model: bool = False) -> list[str]:
    """Return the columns of CSV."""
    names = ["path", "text", "log_probability", "confidence"]
    names += ["model"] if with_model else []
    names += [f"alternative_{number}" for number in range(1, nbest)]
    names += ["keywords"] if keywords else []
    return [*names, "error"]


def header(
    form: Format, *, nbest: int = 1, keywords: bool = False, with_model: bool = False
) -> str:
    """Return the column names for CSV, and nothing for the other formats."""
    if form != "csv":
        return ""
    return csv_row(columns(nbest=nbest, keywords=keywords, with_model=with_model))


def line(
    caption: Caption,
    form: Format,
    *,
    nbest: int = 1,
    words: bool = False,
    keywords: bool = False,
    colour: bool = False,
    model: str | None = None,
) -> str:
    r"""Return a caption in one of the formats, with a newline; an error gives no text.

    JSONL and CSV say which `model` wrote the caption, if one is given.

    Text is `path: caption` on one line. Below it, indented, are the caption and its alternatives
    with their log-probabilities, if there are any, the keywords and the words. A caption that is
    not sure is marked, with `colour` in colour. The CSV column of keywords reads `dog 0.93;
    beach 0.61`, as `showtell photos import` takes it. JSONL is ASCII: a path that is not UTF-8 has
    surrogate escapes (\udcff). A CSV cell that a spreadsheet would run as a formula starts with an
    apostrophe. A photo without a path (standard input) is called `-`.
    """
    path = STDIN if caption.path is None else os.fspath(caption.path)
    if form == "jsonl":
        record = caption.to_dict(words=words, keywords=keywords)
        record["path"] = path
        if model is not None:
            record["model"] = model
        return json.dumps(record) + "\n"
    if form == "csv":
        others = [item.text for item in caption.alternatives]
        others += [""] * (nbest - 1 - len(others))
        return csv_row(
            [
                escape_csv_formula(path),
                escape_csv_formula(caption.text or ""),
                csv_number(caption.log_probability),
                csv_number(caption.confidence),
                *([] if model is None else [escape_csv_formula(model)]),
                *map(escape_csv_formula, others),
                *([escape_csv_formula("; ".join(map(str, caption.keywords)))] if keywords else []),
                escape_csv_formula(caption.error or ""),
            ]
        )
    if caption.error is not None:
        return ""
    lines = [f"{printable(path)}: {caption.text}{doubt_mark(caption.confidence, colour=colour)}"]
    if caption.alternatives:
        lines.append(f"    {caption.log_probability:8.3f}  {caption.text}")
        lines += [f"    {item.log_probability:8.3f}  {item.text}" for item in caption.alternatives]
    if keywords and caption.keywords:
        lines.append(f"    keywords: {', '.join(map(str, caption.keywords))}")
    if words:
        lines.append(
            "    " + "  ".join(f"{word.word} {word.log_probability:.2f}" for word in caption.words)
        )
    return "\n".join(lines) + "\n"


def doubt_mark(confidence: float | None, *, colour: bool = False) -> str:
    """Return a mark to follow a caption that is not sure, and nothing for the others."""
    level = doubt_about(confidence)
    if level is None:
        return ""
    mark = f"  {level.mark}"
    return click.style(mark, fg=_COLOURS[level.name]) if colour else mark
