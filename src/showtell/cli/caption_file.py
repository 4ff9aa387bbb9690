"""A file of captions that a later run of `showtell caption` continues."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from showtell.cli.caption_output import STDIN, Format
from showtell.errors import ShowtellError
from showtell.files.atomic_write import (
    atomic_write_text,
    move_into_place,
    output_errors,
    sync_file,
)
from showtell.files.csv_text import csv_row, escape_csv_formula
from showtell.files.printable_names import printable

_NO_CAPTIONS = "not captions in this format: choose another file, or --recaption to replace it"


@dataclass(frozen=True)
class CaptionFile:
    """An open file of captions.

    `done` has the names of the photos that it holds, as the file writes them. `kept` is the number
    of captions from earlier runs.
    """

    stream: IO[str]
    form: Format
    done: frozenset[str] = frozenset()
    kept: int = 0

    def holds(self, path: Path) -> bool:
        """Return whether the file has the caption of a photo."""
        return _name(os.fspath(path), self.form) in self.done


@dataclass(frozen=True)
class _Written:
    """A caption in a file: the text, and the names that its photo may have."""

    names: tuple[str, ...]
    text: str


@contextlib.contextmanager
def open_caption_file(
    path: Path, form: Format, *, header: str, recaption: bool
) -> Iterator[CaptionFile]:
    """Open a file for captions, and keep the captions that it has from earlier runs.

    Captions go to a hidden file beside it, which replaces `path` when the block ends without an
    error; otherwise it stays, and the next run continues it. Photos that failed are left out, so
    that they are tried again. With `recaption`, and for a device or a pipe, nothing is kept.

    Raises ShowtellError, naming the file, if it cannot be written or does not hold captions.
    """
    with output_errors(path):
        path = Path(os.path.realpath(path))  # Path.resolve() raises RuntimeError for a loop
        if path.exists() and not path.is_file():
            with path.open("w", encoding="utf-8", newline="\n") as stream:
                stream.write(header)
                yield CaptionFile(stream, form)
            return
        partial = path.with_name(f".{path.name}.partial")
        kept = [] if recaption else _earlier_captions(path, partial, form, header)
        text = header + "".join(caption.text for caption in kept)
        atomic_write_text(partial, text, permissions_of=path)
        done = frozenset(name for caption in kept for name in caption.names)
        with partial.open("a", encoding="utf-8", newline="\n") as stream:
            yield CaptionFile(stream, form, done, kept=len(kept))
            sync_file(stream)
        move_into_place(partial, path)


def _earlier_captions(path: Path, partial: Path, form: Format, header: str) -> list[_Written]:
    """Return the captions of the complete file and of the run that was stopped."""
    complete: list[_Written] = []
    if path.is_file():
        try:
            complete = _READERS[form](path.read_text("utf-8"), header)
        except (ValueError, KeyError, TypeError, csv.Error):
            raise ShowtellError(f"{printable(os.fspath(path))}: {_NO_CAPTIONS}") from None
    stopped: list[_Written] = []
    if partial.is_file():
        text = partial.read_text("utf-8", errors="replace")
        text = text[: text.rfind("\n") + 1]  # a killed run may leave half a line
        with contextlib.suppress(ValueError, KeyError, TypeError, csv.Error):
            stopped = _READERS[form](text, header)
    known = {name for caption in complete for name in caption.names}
    new = [caption for caption in stopped if known.isdisjoint(caption.names)]
    return [caption for caption in [*complete, *new] if STDIN not in caption.names]


def _jsonl_captions(text: str, header: str) -> list[_Written]:
    captions = []
    for line in text.splitlines():
        record = json.loads(line)
        if record["text"] is not None:
            captions.append(_Written((record["path"],), line + "\n"))
        elif not record["error"]:
            raise ValueError("neither a caption nor an error")
    return captions


def _csv_captions(text: str, header: str) -> list[_Written]:
    if text and not text.startswith(header):
        raise ValueError("other columns")
    columns = len(next(csv.reader([header])))
    rows = list(csv.reader(io.StringIO(text.removeprefix(header), newline="")))
    if rows and len(rows[-1]) != columns:
        rows.pop()  # cut off inside a cell of several lines
    if any(len(row) != columns for row in rows):
        raise ValueError("other columns")
    return [_Written((row[0],), csv_row(row)) for row in rows if not row[-1]]


def _text_captions(text: str, header: str) -> list[_Written]:
    captions: list[_Written] = []
    for line in text.splitlines(keepends=True):
        if line.startswith("    ") and captions:  # an alternative, or the words
            last = captions.pop()
            captions.append(_Written(last.names, last.text + line))
            continue
        parts = line.split(": ")
        if len(parts) == 1 or not line.endswith("\n"):
            raise ValueError("no caption")
        names = tuple(": ".join(parts[:end]) for end in range(1, len(parts)))
        captions.append(_Written(names, line))
    return captions


_READERS = {"jsonl": _jsonl_captions, "csv": _csv_captions, "text": _text_captions}


def _name(path: str, form: Format) -> str:
    """Return the name of a photo as a line in the format has it."""
    if form == "csv":
        return escape_csv_formula(path)
    return printable(path) if form == "text" else path
