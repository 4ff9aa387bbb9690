"""A file of captions that a later run of `showtell caption` continues."""

from __future__ import annotations

import contextlib
import csv
import functools
import io
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from showtell.cli.caption_output import STDIN, Format, columns, header
from showtell.errors import ShowtellError
from showtell.files.atomic_write import (
    atomic_write_text,
    move_into_place,
    output_errors,
    sync_file,
)
from showtell.files.csv_text import (
    BYTE_ORDER_MARK,
    csv_row,
    escape_stray_bytes,
    unescape_csv_formula,
)
from showtell.files.printable_names import printable

_NO_CAPTIONS = "not captions in this format: choose another file, or --recaption to replace it"


@dataclass(frozen=True)
class CaptionSettings:
    """What the captions of a file have in common: format, number, model, confidence, keywords."""

    form: Format
    nbest: int
    model: str
    min_confidence: float | None = None
    keywords: bool = False

    @property
    def columns(self) -> list[str]:
        """The columns of CSV."""
        return columns(nbest=self.nbest, keywords=self.keywords, with_model=True)

    @property
    def header(self) -> str:
        """The first line of the captions."""
        return header(self.form, nbest=self.nbest, keywords=self.keywords, with_model=True)

    def is_below(self, confidence: float | None) -> bool:
        """Return whether a caption is left out; without a confidence it is not."""
        if self.min_confidence is None or confidence is None:
            return False
        return confidence < self.min_confidence


@dataclass(frozen=True)
class CaptionFile:
    """An open file of captions; `folder` is that of the file, or None for standard output.

    `earlier` has the photos with a caption from an earlier run; those in `below` have one under
    the least confidence, which the file no longer holds.
    """

    stream: IO[str]
    settings: CaptionSettings
    folder: Path | None = None
    earlier: frozenset[str] = frozenset()
    below: frozenset[str] = frozenset()

    def key(self, path: Path) -> str:
        """Return a name of a photo that is the same from every current folder."""
        absolute = path if path.is_absolute() else Path.cwd() / path
        return _key(os.fspath(absolute), self.settings.form)

    def written_path(self, path: Path) -> Path:
        """Return the path to write for a photo: a relative one is relative to the file's folder."""
        if self.folder is None or path.is_absolute():
            return path
        absolute = os.path.join(os.path.realpath(path.parent), path.name)  # noqa: PTH118
        inside = Path.cwd() == self.folder and ".." not in path.parts
        return path if inside else Path(os.path.relpath(absolute, self.folder))


@dataclass(frozen=True)
class _Written:
    """A caption in a file: the text, the names that its photo may have, and its confidence."""

    names: tuple[str, ...]
    text: str
    confidence: float | None = None


@contextlib.contextmanager
def open_caption_file(
    path: Path, settings: CaptionSettings, *, recaption: bool
) -> Iterator[CaptionFile]:
    """Open a file for captions, and keep the captions that it has from earlier runs.

    Captions go to a hidden file beside it, which replaces `path` when the block ends without an
    error; otherwise it stays, and the next run continues it. Photos that failed are left out, so
    that they are tried again, and so are captions under the least confidence. With `recaption`,
    and for a device or a pipe, nothing is kept. A CSV file begins with a byte order mark.

    Raises ShowtellError, naming the file, if it cannot be written, does not hold captions, or
    holds those of another model or number, or JSONL or CSV with keywords where `settings` has none
    or the reverse.
    """
    start = BYTE_ORDER_MARK + settings.header if settings.form == "csv" else settings.header
    with output_errors(path):
        path = Path(os.path.realpath(path))  # Path.resolve() raises RuntimeError for a loop
        if path.exists() and not path.is_file():
            with path.open("w", encoding="utf-8", newline="\n") as stream:
                stream.write(start)
                yield CaptionFile(stream, settings)
            return
        partial = path.with_name(f".{path.name}.partial")
        earlier = [] if recaption else _earlier_captions(path, partial, settings)
        below = [caption for caption in earlier if settings.is_below(caption.confidence)]
        kept = [caption for caption in earlier if not settings.is_below(caption.confidence)]
        text = start + "".join(caption.text for caption in kept)
        atomic_write_text(partial, text, permissions_of=path)
        keys = [_keys(captions, path.parent, settings.form) for captions in (kept, below)]
        with partial.open("a", encoding="utf-8", newline="\n") as stream:
            yield CaptionFile(stream, settings, path.parent, *keys)
            sync_file(stream)
        move_into_place(partial, path)


def _earlier_captions(path: Path, partial: Path, settings: CaptionSettings) -> list[_Written]:
    """Return the captions of the complete file and of the run that was stopped."""
    display_path = printable(os.fspath(path))
    complete: list[_Written] = []
    read = _READERS[settings.form]
    try:
        if path.is_file():
            complete = read(path.read_text("utf-8-sig"), settings)
        stopped: list[_Written] = []
        if partial.is_file():
            text = partial.read_text("utf-8-sig", errors="replace")
            text = text[: text.rfind("\n") + 1]  # a killed run may leave half a line
            with contextlib.suppress(ValueError, KeyError, TypeError, csv.Error):
                stopped = read(text, settings)
    except ShowtellError as error:
        raise ShowtellError(f"{display_path}: {error}") from None
    except (ValueError, KeyError, TypeError, csv.Error):
        raise ShowtellError(f"{display_path}: {_NO_CAPTIONS}") from None
    known = _keys(complete, path.parent, settings.form)
    for caption in stopped:
        if known.isdisjoint(_keys([caption], path.parent, settings.form)):
            complete.append(caption)
    return [caption for caption in complete if STDIN not in caption.names]


def _keys(captions: list[_Written], folder: Path, form: Format) -> frozenset[str]:
    """Return the keys of photos by their names in a file of `folder`, as `CaptionFile.key` does."""
    return frozenset(
        _key(os.path.join(folder, name), form)  # noqa: PTH118
        for caption in captions
        for name in caption.names
    )


def _key(path: str, form: Format) -> str:
    """Return a path in a real folder, with the escapes of the format."""
    folder, name = os.path.split(path)
    path = os.path.join(_real_folder(folder), name)  # noqa: PTH118
    return {"text": printable, "csv": escape_stray_bytes}.get(form, str)(path)


@functools.lru_cache(1024)
def _real_folder(folder: str) -> str:
    return os.path.realpath(folder)


def _check_model(model: str | None, settings: CaptionSettings) -> None:
    """Raise ShowtellError if a caption is by another model, or does not name its model."""
    if model is None:
        raise ShowtellError(
            "does not say which model wrote its captions: choose another file, or --recaption to"
            " replace it"
        )
    if model != settings.model:
        raise ShowtellError(
            f"has captions by the model {printable(model)}, not by {settings.model}: give its"
            " --model, another file, or --recaption to replace it"
        )


def _jsonl_captions(text: str, settings: CaptionSettings) -> list[_Written]:
    captions, alternatives = [], 0
    for line in text.splitlines():
        record = json.loads(line)
        if record["text"] is not None:
            confidence = record["confidence"]
            captions.append(_Written((record["path"],), line + "\n", confidence))
            _check_model(record.get("model"), settings)
            if ("keywords" in record) != settings.keywords:
                raise _other_keywords(settings)
            alternatives = max(alternatives, len(record["alternatives"]))
        elif not record["error"]:
            raise ValueError("neither a caption nor an error")
    # a photo may have fewer alternatives than asked for
    if captions and (alternatives >= settings.nbest or (settings.nbest > 1 and not alternatives)):
        raise _other_nbest(alternatives + 1, settings)
    return captions


def _csv_captions(text: str, settings: CaptionSettings) -> list[_Written]:
    if text and not text.startswith(settings.header):
        _check_columns(next(csv.reader([text.partition("\n")[0]])), settings)
        raise ValueError("other columns")
    count = len(settings.columns)
    rows = list(csv.reader(io.StringIO(text.removeprefix(settings.header), newline="")))
    if rows and len(rows[-1]) != count:
        rows.pop()  # cut off inside a cell of several lines
    if any(len(row) != count for row in rows):
        raise ValueError("other columns")
    captions = []
    for row in rows:
        if not row[-1]:
            _check_model(unescape_csv_formula(row[4]), settings)
            confidence = float(row[3]) if row[3] else None
            captions.append(_Written((unescape_csv_formula(row[0]),), csv_row(row), confidence))
    return captions


def _check_columns(names: list[str], settings: CaptionSettings) -> None:
    """Raise ShowtellError if columns are those of captions with other settings."""
    nbest = 1 + sum(name.startswith("alternative_") for name in names)
    if names == columns(nbest=nbest, keywords=not settings.keywords, with_model=True):
        raise _other_keywords(settings)
    if names == columns(nbest=nbest, keywords=settings.keywords, with_model=True):
        raise _other_nbest(nbest, settings)
    if names == columns(nbest=nbest):
        _check_model(None, settings)


def _other_keywords(settings: CaptionSettings) -> ShowtellError:
    return ShowtellError(
        f"has captions {'without' if settings.keywords else 'with'} --keywords: give the same"
        " option, another file, or --recaption to replace it"
    )


def _other_nbest(nbest: int, settings: CaptionSettings) -> ShowtellError:
    return ShowtellError(
        f"has captions of --nbest {nbest}, not {settings.nbest}: give --nbest {nbest},"
        " another file, or --recaption to replace it"
    )


def _text_captions(text: str, settings: CaptionSettings) -> list[_Written]:
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
