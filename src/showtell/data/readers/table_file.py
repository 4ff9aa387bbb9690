"""Reader of anybody's own photos: one CSV or JSONL file of image, caption and, if wished, split.

Image paths are relative to the file's folder, or absolute.
"""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from showtell.data.readers.listing import (
    BrokenLineError,
    Layout,
    Listing,
    checked_text,
    files_in,
    read_lines,
    read_text,
    split_named,
)
from showtell.errors import DatasetError

SUFFIXES = (".csv", ".jsonl")
Row = tuple[str, str, list[str], str]  # "FILE:LINE", image, captions, split or ""


def recognise(path: Path) -> bool:
    """Say whether this is a caption file, or a folder with at least one."""
    return path.suffix.lower() in SUFFIXES if path.is_file() else bool(files_in(path, SUFFIXES))


def read(path: Path) -> Listing:
    """Read the one caption file of a folder, or the file itself.

    Raises DatasetError where there are several, or the header names other columns.
    """
    source = path if path.is_file() else _only(files_in(path, SUFFIXES), path)
    listing = Listing(source.parent, LAYOUT.name, source)
    any_split = False
    for row in _rows(source, listing):
        any_split |= bool(row[3].strip())
        try:
            _add(row, listing)
        except BrokenLineError as error:
            listing.note_broken(error)
    if not any_split:
        listing.draw_splits()
    return listing


def _add(row: Row, listing: Listing) -> None:
    where, image, captions, split_text = row
    name = _image_name(image, listing, where)
    split = split_named(split_text, where) if split_text.strip() else None
    photo = listing.name_photo(name, os.path.join(listing.root, name), where)  # noqa: PTH118
    if split is not None and photo.split not in (None, split):
        raise BrokenLineError(where, f"{image} is in {split} here and in {photo.split} before")
    photo.split = split or photo.split
    for caption in captions:
        listing.add(name, photo.path, caption, where)


def _rows(source: Path, listing: Listing) -> Iterator[Row]:
    """Yield the rows that are whole; what is broken is noted in the listing."""
    if source.suffix.lower() == ".csv":
        return _csv_rows(source, listing)
    return _jsonl_rows(source, listing)


def _only(candidates: list[Path], directory: Path) -> Path:
    """Pick the caption file; files of other columns beside it (scores, say) do not count."""
    if len(candidates) == 1:
        return candidates[0]
    fitting = [path for path in candidates if _has_captions(path)]
    if len(fitting) == 1:
        return fitting[0]
    names = ", ".join(path.name for path in fitting or candidates)
    raise DatasetError(
        f"{directory}: which one is the caption file: {names}? Give its path,"
        " or put all captions into one file with a column 'split'"
    )


def _has_captions(path: Path) -> bool:
    try:
        return next(_rows(path, Listing(path.parent, LAYOUT.name, path)), None) is not None
    except DatasetError:
        return False


def _csv_rows(source: Path, listing: Listing) -> Iterator[Row]:
    text = read_text(source)
    first = text.partition("\n")[0]
    # Spreadsheets of half of Europe write semicolons into a .csv.
    delimiter = next((mark for mark in ",;\t" if mark in first), ",")
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    columns: list[str] = []
    while True:
        # A quoted caption may hold line breaks: name the line where its row begins.
        where = f"{source}:{reader.line_num + 1}"
        try:
            fields = next(reader)
            if not any(field.strip() for field in fields):
                continue
            if not columns:
                columns = _header(fields, where)
                continue
            row = _csv_row(fields, columns, where)
        except StopIteration:
            return
        except csv.Error as error:
            if not columns:
                raise DatasetError(f"{where}: broken CSV ({error})") from None
            listing.note_broken(BrokenLineError(where, f"broken CSV ({error})"))
        except BrokenLineError as error:
            listing.note_broken(error)
        else:
            yield row


def _csv_row(fields: list[str], columns: list[str], where: str) -> Row:
    if len(fields) > len(columns) and any(fields[len(columns) :]):
        raise BrokenLineError(
            where,
            f"{len(fields)} fields under {len(columns)} columns:"
            " put a caption that holds commas in quotes",
        )
    row = dict(zip(columns, fields, strict=False))
    if "caption" not in row or not row.get("image", "").strip():
        raise BrokenLineError(where, f"image or caption is missing: {str(fields)[:60]}")
    return where, row["image"], [row["caption"]], row.get("split", "")


def _header(fields: list[str], where: str) -> list[str]:
    columns = [field.strip().lower() for field in fields]
    for needed in ("image", "caption"):
        if columns.count(needed) != 1:
            raise DatasetError(
                f"{where}: the header must name one column {needed!r}: image,caption or"
                f" image,caption,split; here it is {','.join(fields)[:80]}"
            )
    return columns


def _jsonl_rows(source: Path, listing: Listing) -> Iterator[Row]:
    for where, line in read_lines(source):
        try:
            row = _jsonl_row(line, where)
        except BrokenLineError as error:
            listing.note_broken(error)
        else:
            yield row


def _jsonl_row(line: str, where: str) -> Row:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise BrokenLineError(where, f"not JSON ({error})") from None
    if not isinstance(row, dict) or not isinstance(row.get("image"), str):
        raise BrokenLineError(where, 'not of the form {"image": "a.jpg", "caption": "…"}')
    captions = _json_captions(row, where)
    split = row.get("split")
    if not isinstance(split, str | None):
        raise BrokenLineError(where, f"split must be text, not {split!r}")
    return where, row["image"], captions, split or ""


def _json_captions(row: dict[str, Any], where: str) -> list[str]:
    captions = row.get("captions", [])
    if "caption" in row:
        captions = [row["caption"], *captions] if isinstance(captions, list) else None
    if not isinstance(captions, list):
        raise BrokenLineError(where, "caption must be text, captions a list of texts")
    if not captions:
        raise BrokenLineError(where, "neither caption nor captions")
    return [checked_text(caption, "a caption", where) for caption in captions]


def _image_name(image: str, listing: Listing, where: str) -> str:
    """Normalise an image's path, so that `./a.jpg` and `a.jpg` are one photo.

    Backslashes are a Windows user's folders unless a file is really called that.
    """
    image = image.strip()
    try:
        os.fsencode(image)
    except UnicodeEncodeError:
        raise BrokenLineError(where, f"{image!r} cannot be the name of a file") from None
    if not image or "\0" in image:
        raise BrokenLineError(where, f"{image!r} cannot be the name of a file")
    if "\\" in image and not listing.folders.has(os.path.join(listing.root, image)):  # noqa: PTH118
        image = image.replace("\\", "/")
    return os.path.normpath(image).replace(os.sep, "/")


LAYOUT = Layout(
    "your own",
    "one .csv or .jsonl file of image,caption[,split], image paths relative to it",
    recognise,
    read,
)
