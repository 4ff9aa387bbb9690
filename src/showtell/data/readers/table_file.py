"""Reader of one CSV or JSONL file with image, caption and, optionally, split and language.

Image paths are absolute, or relative to the file's folder or to the folder `images` in it. The
columns may also be called `file_name` and `text`, as in Hugging Face's datasets.
"""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from showtell.data.readers.caption_files import (
    BrokenLineError,
    check_text,
    files_with_suffix,
    first_folder,
    read_lines,
    read_text_file,
)
from showtell.data.readers.listing import DatasetLayout, DatasetListing
from showtell.data.readers.splits import parse_split
from showtell.errors import DatasetError
from showtell.files.csv_text import csv_fields, detect_delimiter

_SUFFIXES = (".csv", ".jsonl")
_PHOTO_FOLDERS = ("images", "Images")
# The names of the two columns that must be there, the usual one first.
_COLUMNS = {"image": ("image", "file_name", "filename"), "caption": ("caption", "text")}
_JSON_FORM = 'not of the form {"image": "a.jpg", "caption": "…"}'


@dataclass(frozen=True, slots=True)
class TableRow:
    """One row of the table; `split` and `language` are "" if the row has none."""

    location: str  # "FILE:LINE"
    image: str
    captions: list[str]
    split: str
    language: str = ""


def _recognise(path: Path) -> bool:
    """Return whether this is a caption file, or a folder that contains one."""
    if path.is_file():
        return path.suffix.lower() in _SUFFIXES
    return bool(files_with_suffix(path, _SUFFIXES))


def _read(path: Path) -> DatasetListing:
    """Read the file, or the only caption file of a folder.

    Raises DatasetError if there are several, or if the header has other columns.
    """
    source = path if path.is_file() else _only_caption_file(path)
    listing = DatasetListing(source.parent, TABLE_LAYOUT.name, source)
    photo_folder = first_folder(listing.root, _PHOTO_FOLDERS)
    any_split = False
    for row in table_rows(source, listing):
        any_split |= bool(row.split.strip())
        try:
            name = _normalise_image_path(row.image, listing, row.location)
            if photo_folder is not None:
                name = _inside(photo_folder, name, listing)
            add_row(row, name, listing)
        except BrokenLineError as error:
            listing.note_broken(error)
    if not any_split:
        listing.assign_splits_by_hash()
    return listing


def add_row(row: TableRow, name: str, listing: DatasetListing) -> None:
    """Add a row to the photo of a name, which is its path from the listing's root.

    Raises BrokenLineError if its split or language is unknown or another one than before.
    """
    if row.language.strip():
        listing.set_language(row.language.strip(), row.location)
    split = parse_split(row.split, row.location) if row.split.strip() else None
    path = os.path.join(listing.root, name)  # noqa: PTH118 (Path is slow for thousands of rows)
    photo = listing.get_or_add_photo(name, path, row.location)
    if split is not None and photo.split not in (None, split):
        raise BrokenLineError(
            row.location, f"{row.image} is in {split} here and in {photo.split} before"
        )
    photo.split = split or photo.split
    for caption in row.captions:
        listing.add_caption(name, photo.path, caption, row.location)


def _inside(folder: Path, name: str, listing: DatasetListing) -> str:
    """Return the name of a photo that is in a folder beside the table, if it is only there."""
    if listing.folders.has(os.path.join(listing.root, name)):  # noqa: PTH118
        return name
    inner = f"{folder.name}/{name}"
    return inner if listing.folders.has(os.path.join(listing.root, inner)) else name  # noqa: PTH118


def table_rows(source: Path, listing: DatasetListing) -> Iterator[TableRow]:
    """Yield the valid rows; broken ones are recorded in the listing."""
    if source.suffix.lower() == ".jsonl":
        return _jsonl_rows(source, listing)
    return _csv_rows(source, listing)


def _only_caption_file(directory: Path) -> Path:
    """Return the folder's caption file; files with other columns, such as scores, do not count."""
    files = files_with_suffix(directory, _SUFFIXES)
    if len(files) == 1:
        return files[0]
    with_captions = [path for path in files if has_captions(path)]
    usual = [path for path in with_captions if _has_usual_columns(path)]
    if len(usual or with_captions) == 1:
        return (usual or with_captions)[0]
    names = ", ".join(path.name for path in with_captions or files)
    raise DatasetError(
        f"{directory}: which file is the caption file: {names}? Give its path,"
        " or put all captions into one file with a column 'split'"
    )


def has_captions(path: Path) -> bool:
    """Return whether a table can be read and has a row with an image and a caption."""
    listing = DatasetListing(path.parent, TABLE_LAYOUT.name, path)
    try:
        return next(table_rows(path, listing), None) is not None
    except DatasetError:
        return False


def _has_usual_columns(path: Path) -> bool:
    """Return whether a table calls its columns image and caption."""
    first_lines = read_text_file(path).lower().split("\n", 2)[:2]
    return any("image" in line and "caption" in line for line in first_lines)


def _csv_rows(source: Path, listing: DatasetListing) -> Iterator[TableRow]:
    text, delimiter, lines_before = detect_delimiter(read_text_file(source), _COLUMNS.values())
    reader = csv_fields(text, delimiter)
    columns: list[str] = []
    while True:
        # A quoted caption may contain line breaks: name the line at which its row begins.
        location = f"{source}:{lines_before + reader.line_num + 1}"
        try:
            fields = next(reader)
            if not any(field.strip() for field in fields):
                continue
            if not columns:
                columns = _parse_header(fields, location)
                continue
            row = _parse_csv_row(fields, columns, location)
        except StopIteration:
            return
        except csv.Error as error:
            if not columns:
                raise DatasetError(f"{location}: broken CSV ({error})") from None
            listing.note_broken(BrokenLineError(location, f"broken CSV ({error})"))
        except BrokenLineError as error:
            listing.note_broken(error)
        else:
            yield row


def _parse_csv_row(fields: list[str], columns: list[str], location: str) -> TableRow:
    if len(fields) > len(columns) and any(fields[len(columns) :]):
        raise BrokenLineError(
            location,
            f"{len(fields)} fields under {len(columns)} columns:"
            " put a caption that contains commas in quotes",
        )
    values = dict(zip(columns, fields, strict=False))
    if "caption" not in values or not values.get("image", "").strip():
        raise BrokenLineError(location, f"image or caption is missing: {str(fields)[:60]}")
    return TableRow(
        location,
        values["image"],
        [values["caption"]],
        values.get("split", ""),
        values.get("language", ""),
    )


def _parse_header(fields: list[str], location: str) -> list[str]:
    """Return the names of the columns; those of photo and caption are `image` and `caption`."""
    columns = [field.strip().lower() for field in fields]
    for wanted, names in _COLUMNS.items():
        name = next((name for name in names if name in columns), wanted)
        if columns.count(name) != 1:
            raise DatasetError(
                f"{location}: the header must name one column {wanted!r}: image,caption or"
                f" image,caption,split; here it is {','.join(fields)[:80]}"
            )
        columns[columns.index(name)] = wanted
    return columns


def _jsonl_rows(source: Path, listing: DatasetListing) -> Iterator[TableRow]:
    for location, line in read_lines(source):
        try:
            row = _parse_json_row(line, location)
        except BrokenLineError as error:
            listing.note_broken(error)
        else:
            yield row


def _parse_json_row(line: str, location: str) -> TableRow:
    try:
        values = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise BrokenLineError(location, f"not JSON ({error})") from None
    if not isinstance(values, dict):
        raise BrokenLineError(location, _JSON_FORM)
    image = next((values[name] for name in _COLUMNS["image"] if name in values), None)
    if not isinstance(image, str):
        raise BrokenLineError(location, _JSON_FORM)
    captions = _parse_json_captions(values, location)
    return TableRow(
        location,
        image,
        captions,
        _optional_text(values, "split", location),
        _optional_text(values, "language", location),
    )


def _optional_text(values: dict[str, Any], key: str, location: str) -> str:
    text = values.get(key)
    if not isinstance(text, str | None):
        raise BrokenLineError(location, f"{key} must be text, not {text!r}")
    return text or ""


def _parse_json_captions(values: dict[str, Any], location: str) -> list[str]:
    if "text" in values and "caption" not in values and "captions" not in values:
        values = {"caption": values["text"]}
    captions = values.get("captions", [])
    if "caption" in values:
        captions = [values["caption"], *captions] if isinstance(captions, list) else None
    if not isinstance(captions, list):
        raise BrokenLineError(location, "caption must be text, captions a list of texts")
    if not captions:
        raise BrokenLineError(location, "neither caption nor captions")
    return [check_text(caption, "a caption", location) for caption in captions]


def _normalise_image_path(image: str, listing: DatasetListing, location: str) -> str:
    """Return an image's path in one form, so that `./a.jpg` and `a.jpg` are one photo.

    Backslashes separate folders, as on Windows, unless a file has exactly that name.
    """
    image = image.strip()
    try:
        os.fsencode(image)
    except UnicodeEncodeError:
        raise BrokenLineError(location, f"{image!r} cannot be the name of a file") from None
    if not image or "\0" in image:
        raise BrokenLineError(location, f"{image!r} cannot be the name of a file")
    if "\\" in image and not listing.folders.has(os.path.join(listing.root, image)):  # noqa: PTH118
        image = image.replace("\\", "/")
    return os.path.normpath(image).replace(os.sep, "/")


TABLE_LAYOUT = DatasetLayout(
    "your own",
    "one .csv or .jsonl file of image,caption[,split][,language], image paths relative to it",
    _recognise,
    _read,
)
