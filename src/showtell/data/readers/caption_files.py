"""Read and check the text and JSON files in which datasets keep captions."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from showtell.errors import DatasetError
from showtell.files.os_errors import error_reason
from showtell.files.regular_files import open_regular, read_regular

_MAX_BYTES = 2 << 30  # of one caption file


class BrokenLineError(DatasetError):
    """One line or entry of a dataset's file is broken; the lines after it can still be read."""

    def __init__(self, location: str, fault: str) -> None:
        super().__init__(f"{location}: {fault}")
        self.location, self.fault = location, fault


def read_text_file(path: Path) -> str:
    """Return the text of a file: UTF-8, or UTF-16 with a byte order mark as spreadsheets write it.

    Raises BrokenLineError, with the line of the first wrong byte, or DatasetError if the file
    cannot be read.
    """
    try:
        data = read_regular(path, _MAX_BYTES)
    except OSError as error:
        raise DatasetError(f"{path}: cannot be read ({error_reason(error)})") from None
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return _decode_utf16(data, path)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        # `object` is the data after a byte order mark, which contains no line break.
        line = error.object.count(b"\n", 0, error.start) + 1
        raise BrokenLineError(f"{path}:{line}", "not UTF-8 text: save the file as UTF-8") from None


def _decode_utf16(data: bytes, path: Path) -> str:
    try:
        return data.decode("utf-16")
    except UnicodeDecodeError as error:
        before = data[: error.start - error.start % 2].decode("utf-16", "replace")
        location = f"{path}:{before.count(chr(10)) + 1}"
        raise BrokenLineError(location, "not UTF-16 text: save the file as UTF-8") from None


def read_lines(path: Path) -> Iterator[tuple[str, str]]:
    """Yield ("FILE:LINE", text) for every line that is not blank.

    Only a line feed ends a line: captions may contain other Unicode line separators.
    """
    for number, line in enumerate(read_text_file(path).split("\n"), start=1):
        if line and not line.isspace():
            yield f"{path}:{number}", line.removesuffix("\r")


def read_json(path: Path, *, object_hook: Callable[[dict[str, Any]], Any] | None = None) -> Any:
    """Return the content of a JSON file.

    Raises DatasetError with the line at which the text is not JSON.
    """
    try:
        return json.loads(read_text_file(path), object_hook=object_hook)
    except json.JSONDecodeError as error:
        raise DatasetError(f"{path}:{error.lineno}: not JSON ({error.msg})") from None
    except (ValueError, RecursionError) as error:  # numbers or nesting beyond Python's limits
        raise DatasetError(f"{path}:1: not JSON ({error})") from None


def read_first_line(path: Path) -> str:
    """Return the start of a file's first line, "" if there is none, to recognise a layout."""
    try:
        with open_regular(path) as file:
            return file.readline(200).decode("utf-8-sig", "replace").strip()
    except OSError:
        return ""


def check_photo_name(text: str, location: str) -> str:
    """Return a photo's name in a layout that keeps all photos in one folder.

    Raises BrokenLineError if the name is empty or leads out of that folder.
    """
    name = text.strip()
    if not name or "/" in name or os.sep in name or "\0" in name or name in (".", ".."):
        raise BrokenLineError(location, f"a photo must be a file name without folder, not {text!r}")
    return name


def check_inner_path(text: str, location: str) -> str:
    """Return the path of a photo inside its folder, with `/` between folders and no `.` in it.

    Raises BrokenLineError if it is empty, absolute, or leads out of the folder.
    """
    path = text.strip()
    folders = re.split(r"[/\\]", path)
    if (
        "\0" in path
        or ".." in folders
        or path.startswith("/")
        or os.path.isabs(path)  # noqa: PTH117 (Path is slow for thousands of rows)
        or re.match(r"[A-Za-z]:[/\\]", path)
    ):
        raise BrokenLineError(location, f"a photo must be inside the folder, not {text[:60]!r}")
    inner = "/".join(part for part in path.split("/") if part not in ("", "."))
    if not inner:
        raise BrokenLineError(location, f"a photo must be a file name, not {text[:60]!r}")
    return inner


def check_text(value: object, key: str, location: str) -> str:
    """Return a value from JSON that must be text and valid Unicode.

    Raises BrokenLineError, with the key, if it is not.
    """
    if not isinstance(value, str):
        raise BrokenLineError(location, f"{key} must be text, not {str(value)[:40]!r}")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise BrokenLineError(location, f"{key} contains half a surrogate pair") from None
    return value


def first_folder(root: Path, folders: tuple[str, ...]) -> Path | None:
    """Return the first of these folders that exists."""
    return next((root / name for name in folders if (root / name).is_dir()), None)


def files_with_suffix(folder: Path, suffixes: tuple[str, ...]) -> list[Path]:
    """Return the visible files of a folder that have one of these suffixes, sorted by name."""
    return sorted(
        path
        for path in folder.iterdir()
        if path.suffix.lower() in suffixes and not path.name.startswith(".") and path.is_file()
    )
