"""What the files of a dataset say, before it becomes a `Dataset`; shared by all readers.

A reader turns caption files and split lists into a `DatasetListing`. `registry.open_dataset` turns
that into a `Dataset`, `check.check_dataset` into a report. A file that cannot be read at all is an
error. Everything else that is wrong, broken lines included, is recorded as a `DatasetFinding`: the
check names all of them, and `open_dataset` refuses a listing with broken lines.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from showtell.data.dataset import SPLITS
from showtell.errors import DatasetError
from showtell.files.os_errors import error_reason
from showtell.vocabulary import tokenize

FindingKind = Literal[
    "broken line",
    "repaired line",
    "missing",
    "unreadable",
    "empty caption",
    "without captions",
    "duplicated",
    "broken shard",
]
Severity = Literal["error", "warning", "note"]

_ALPHANUMERIC = re.compile("[0-9A-Za-z]")  # saves most captions the slower `tokenize`
_SPLIT_NAMES = {
    **{name: name for name in SPLITS},
    **dict.fromkeys(("val", "valid", "validation"), "dev"),
    "training": "train",
    # Karpathy's name for COCO's val photos outside his val and test splits. Papers train on them.
    "restval": "train",
}


class BrokenLineError(DatasetError):
    """One line or entry of a dataset's file is broken; the lines after it can still be read."""

    def __init__(self, location: str, fault: str) -> None:
        super().__init__(f"{location}: {fault}")
        self.location, self.fault = location, fault


@dataclass(frozen=True, slots=True)
class DatasetFinding:
    """Something that a check found about one photo or line; only an `error` needs repair."""

    kind: FindingKind
    name: str
    detail: str
    severity: Severity = "error"


@dataclass(slots=True)
class ListedPhoto:
    """A photo that the dataset's files name, whether or not it is on disk."""

    name: str
    path: str
    location: str  # file and line that name it first
    captions: list[str] = field(default_factory=list)
    split: str | None = None


class FolderCache:
    """The names of the files in each folder, listed once: thousands of photos without a stat."""

    def __init__(self) -> None:
        self._names: dict[str, frozenset[str]] = {}

    def names(self, folder: str) -> frozenset[str]:
        """Return the names of the files in a folder, none if the folder does not exist."""
        if folder not in self._names:
            try:
                with os.scandir(folder) as entries:
                    self._names[folder] = frozenset(e.name for e in entries if e.is_file())
            except (FileNotFoundError, NotADirectoryError):
                self._names[folder] = frozenset()
        return self._names[folder]

    def has(self, path: str) -> bool:
        """Return whether a file exists."""
        folder, name = os.path.split(path)
        # The second test is for disks that ignore case or normalise Unicode in names.
        return name in self.names(folder) or Path(path).is_file()


@dataclass
class DatasetListing:
    """All photos that a dataset's files name, in the order of the files.

    `photo_folder` is the folder of the photos, None if they may be in several folders.
    """

    root: Path
    layout: str
    source: Path
    photo_folder: Path | None = None
    photos: dict[str, ListedPhoto] = field(default_factory=dict)
    findings: list[DatasetFinding] = field(default_factory=list)
    split_drawn: bool = False
    folders: FolderCache = field(default_factory=FolderCache)

    def name_photo(self, name: str, path: str, location: str) -> ListedPhoto:
        """Return the entry of a photo, a new one if no line has named it before."""
        photo = self.photos.get(name)
        if photo is None:
            photo = self.photos[name] = ListedPhoto(name, path, location)
        return photo

    def add_caption(self, name: str, path: str, caption: str, location: str) -> ListedPhoto:
        """Add a caption to a photo; a caption without a word becomes a finding instead."""
        photo = self.name_photo(name, path, location)
        caption = " ".join(caption.split())  # one line: scorers and token files are line-based
        if _ALPHANUMERIC.search(caption) or tokenize(caption):
            photo.captions.append(caption)
        else:
            self.findings.append(DatasetFinding("empty caption", name, location))
        return photo

    def note_broken(self, error: BrokenLineError) -> None:
        """Record a broken line, which is left out."""
        self.findings.append(DatasetFinding("broken line", error.location, error.fault))

    def broken_lines(self) -> list[DatasetFinding]:
        """Return the broken lines."""
        return [finding for finding in self.findings if finding.kind == "broken line"]

    def note_duplicate(self, name: str, detail: str) -> None:
        """Record that the files repeat something: harmless, but rarely intended."""
        self.findings.append(DatasetFinding("duplicated", name, detail, "note"))

    def draw_splits(self) -> None:
        """Give every photo a split by the hash of its name."""
        self.split_drawn = True
        for photo in self.photos.values():
            photo.split = split_by_hash(photo.name)

    def put_first(self, names: list[str]) -> None:
        """Move these photos to the front, in this order."""
        self.photos = {name: self.photos[name] for name in names} | self.photos


@dataclass(frozen=True)
class DatasetLayout:
    """One way to store a dataset on disk, and its reader.

    `description` is for the error that lists the known layouts. `recognise` and `read` take a
    folder, or a file if the layout can be opened by its caption file.
    """

    name: str
    description: str
    recognise: Callable[[Path], bool]
    read: Callable[[Path], DatasetListing]


def split_by_hash(name: str) -> str:
    """Return a split drawn from the hash of a photo's name: 80 % train, 10 % dev, 10 % test."""
    digest = hashlib.sha256(name.encode("utf-8", "surrogateescape")).digest()
    fraction = int.from_bytes(digest[:8], "big") / 2**64
    return "train" if fraction < 0.8 else "dev" if fraction < 0.9 else "test"


def parse_split(text: str, location: str) -> str:
    """Return train, dev or test for a split's name in a file.

    Raises BrokenLineError for any other name.
    """
    split = _SPLIT_NAMES.get(text.strip().lower())
    if split is None:
        raise BrokenLineError(location, f"unknown split {text!r}: use train, dev (or val) or test")
    return split


def read_utf8(path: Path) -> str:
    """Return the text of a UTF-8 file, with or without a byte order mark.

    Raises BrokenLineError, with the line of the first byte that is not UTF-8, or DatasetError if
    the file cannot be read.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DatasetError(f"{path}: cannot be read ({error_reason(error)})") from None
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise BrokenLineError(f"{path}:1", "UTF-16 text: save the file as UTF-8")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        # `object` is the data after a byte order mark, which contains no line break.
        line = error.object.count(b"\n", 0, error.start) + 1
        raise BrokenLineError(f"{path}:{line}", "not UTF-8 text: save the file as UTF-8") from None


def read_lines(path: Path) -> Iterator[tuple[str, str]]:
    """Yield ("FILE:LINE", text) for every line that is not blank.

    Only a line feed ends a line: captions may contain other Unicode line separators.
    """
    for number, line in enumerate(read_utf8(path).split("\n"), start=1):
        if line and not line.isspace():
            yield f"{path}:{number}", line.removesuffix("\r")


def read_json(path: Path, *, object_hook: Callable[[dict[str, Any]], Any] | None = None) -> Any:
    """Return the content of a JSON file.

    Raises DatasetError with the line at which the text is not JSON.
    """
    try:
        return json.loads(read_utf8(path), object_hook=object_hook)
    except json.JSONDecodeError as error:
        raise DatasetError(f"{path}:{error.lineno}: not JSON ({error.msg})") from None
    except (ValueError, RecursionError) as error:  # numbers or nesting beyond Python's limits
        raise DatasetError(f"{path}:1: not JSON ({error})") from None


def read_first_line(path: Path) -> str:
    """Return the start of a file's first line, "" if there is none, to recognise a layout."""
    try:
        with path.open("rb") as file:
            return file.readline(200).decode("utf-8-sig", "replace").strip()
    except OSError:
        return ""


def check_photo_name(text: str, location: str) -> str:
    """Return a photo's name in a layout that keeps all photos in one folder.

    Raises BrokenLineError if the name is empty or leads out of that folder.
    """
    name = text.strip()
    if not name or "/" in name or os.sep in name or "\0" in name or name in (".", ".."):
        raise BrokenLineError(location, f"{text!r} is not the name of a photo")
    return name


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
