"""What a dataset's own files say, before they become one table: shared by every reader.

A reader turns caption file and split lists into a `Listing`; `readers.open_dataset` turns that into
a `Dataset` and `check.check_dataset` into a report. What leaves nothing to read (another layout, no
UTF-8) is raised. Everything else is kept as a `Finding`, broken lines too: a check names them all
in one go, and `open_dataset` refuses what has any.
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
from showtell.vocabulary import tokenize

Kind = Literal[
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

_PLAIN_WORD = re.compile("[0-9A-Za-z]")  # spares all but a few captions the whole rule
_SPLIT_NAMES = {
    **{name: name for name in SPLITS},
    **dict.fromkeys(("val", "valid", "validation"), "dev"),
    "training": "train",
    # Karpathy's name for COCO's val photos outside of his val and test: all train on them too.
    "restval": "train",
}


class BrokenLineError(DatasetError):
    """One line or entry of a dataset's file is broken; those after it can still be read."""

    def __init__(self, where: str, fault: str) -> None:
        super().__init__(f"{where}: {fault}")
        self.where, self.fault = where, fault


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check says about one photo, or one line: only an `error` needs repair."""

    kind: Kind
    name: str
    detail: str
    severity: Severity = "error"


@dataclass(slots=True)
class ListedPhoto:
    """A photo as the dataset's files speak of it, whether or not it is on disk."""

    name: str
    path: str
    where: str  # file and line that first named it
    captions: list[str] = field(default_factory=list)
    split: str | None = None


class Folders:
    """The plain files of each folder, listed once: thousands of photos without a stat each."""

    def __init__(self) -> None:
        self._names: dict[str, frozenset[str]] = {}

    def names(self, folder: str) -> frozenset[str]:
        """Return the names of the files in a folder; none where the folder is not there."""
        if folder not in self._names:
            try:
                with os.scandir(folder) as entries:
                    self._names[folder] = frozenset(e.name for e in entries if e.is_file())
            except (FileNotFoundError, NotADirectoryError):
                self._names[folder] = frozenset()
        return self._names[folder]

    def has(self, path: str) -> bool:
        """Say whether a file is there."""
        folder, name = os.path.split(path)
        # The second look is for disks that ignore case or normalise Unicode in names.
        return name in self.names(folder) or Path(path).is_file()


@dataclass
class Listing:
    """Every photo that a dataset's files name, in their order."""

    root: Path
    layout: str
    source: Path
    photo_folder: Path | None = None  # where a layout keeps its photos; None: beside each other
    photos: dict[str, ListedPhoto] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    split_drawn: bool = False
    folders: Folders = field(default_factory=Folders)

    def name_photo(self, name: str, path: str, where: str) -> ListedPhoto:
        """Return a photo's entry, made where the files name it for the first time."""
        photo = self.photos.get(name)
        if photo is None:
            photo = self.photos[name] = ListedPhoto(name, path, where)
        return photo

    def add(self, name: str, path: str, caption: str, where: str) -> ListedPhoto:
        """Add one caption to a photo; a caption without a word is only noted."""
        photo = self.name_photo(name, path, where)
        caption = " ".join(caption.split())  # one line: scorers and token files speak in lines
        if _PLAIN_WORD.search(caption) or tokenize(caption):
            photo.captions.append(caption)
        else:
            self.findings.append(Finding("empty caption", name, where))
        return photo

    def note_broken(self, error: BrokenLineError) -> None:
        """Note a line that is broken and left out."""
        self.findings.append(Finding("broken line", error.where, error.fault))

    def broken_lines(self) -> list[Finding]:
        """Return what `note_broken` noted."""
        return [finding for finding in self.findings if finding.kind == "broken line"]

    def note_duplicate(self, name: str, detail: str) -> None:
        """Note that the files say the same thing twice: harmless, but seldom meant."""
        self.findings.append(Finding("duplicated", name, detail, "note"))

    def draw_splits(self) -> None:
        """Give every photo the split that the hash of its name says."""
        self.split_drawn = True
        for photo in self.photos.values():
            photo.split = split_by_hash(photo.name)

    def put_first(self, names: list[str]) -> None:
        """Reorder: these photos first, in this order, then all others as they were."""
        self.photos = {name: self.photos[name] for name in names} | self.photos


@dataclass(frozen=True)
class Layout:
    """One way in which a dataset lies on disk, and the reader for it."""

    name: str
    looks_like: str  # for the error that lists what would be known
    recognise: Callable[[Path], bool]  # of a folder or, where a file may be given, of a file
    read: Callable[[Path], Listing]


def split_by_hash(name: str) -> str:
    """Draw a split from a photo's name: 80 % train, 10 % dev, 10 % test, the same for ever."""
    digest = hashlib.sha256(name.encode("utf-8", "surrogateescape")).digest()
    place = int.from_bytes(digest[:8], "big") / 2**64
    return "train" if place < 0.8 else "dev" if place < 0.9 else "test"


def split_named(text: str, where: str) -> str:
    """Return train, dev or test for a split's name in a file.

    Raises BrokenLineError on any other name.
    """
    split = _SPLIT_NAMES.get(text.strip().lower())
    if split is None:
        raise BrokenLineError(where, f"unknown split {text!r}: use train, dev (or val) or test")
    return split


def read_text(path: Path) -> str:
    """Read a UTF-8 text file, with or without a byte order mark.

    Raises BrokenLineError that names the line of the first byte that is not UTF-8, DatasetError
    where the file cannot be read.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DatasetError(f"{path}: cannot be read ({error.strerror})") from None
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise BrokenLineError(f"{path}:1", "UTF-16 text: save the file as UTF-8")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        # `object` is the part after a byte order mark, which holds no line break.
        line = error.object.count(b"\n", 0, error.start) + 1
        raise BrokenLineError(f"{path}:{line}", "not UTF-8 text: save the file as UTF-8") from None


def read_lines(path: Path) -> Iterator[tuple[str, str]]:
    """Yield ("FILE:LINE", text) for every line that is not blank.

    Only a line feed ends a line: captions may hold any other separator that Unicode knows.
    """
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        if line and not line.isspace():
            yield f"{path}:{number}", line.removesuffix("\r")


def plain_name(text: str, where: str) -> str:
    """Check a photo's name in a layout that keeps its photos in one folder.

    Raises BrokenLineError where it is empty or points out of that folder.
    """
    name = text.strip()
    if not name or "/" in name or os.sep in name or "\0" in name or name in (".", ".."):
        raise BrokenLineError(where, f"{text!r} is not the name of a photo")
    return name


def checked_text(value: object, what: str, where: str) -> str:
    """Check that a value out of JSON is text that a file can hold.

    Raises BrokenLineError where it is not.
    """
    if not isinstance(value, str):
        raise BrokenLineError(where, f"{what} must be text, not {str(value)[:40]!r}")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise BrokenLineError(where, f"half a surrogate pair in {what}: not Unicode") from None
    return value


def read_json(path: Path, *, object_hook: Callable[[dict[str, Any]], Any] | None = None) -> Any:
    """Read a JSON file.

    Raises DatasetError that names the line where it stops to be JSON.
    """
    try:
        return json.loads(read_text(path), object_hook=object_hook)
    except json.JSONDecodeError as error:
        raise DatasetError(f"{path}:{error.lineno}: not JSON ({error.msg})") from None
    except (ValueError, RecursionError) as error:  # numbers or nesting beyond what Python takes
        raise DatasetError(f"{path}:1: not JSON ({error})") from None


def first_line(path: Path) -> str:
    """Return the start of a file's first line, whatever its bytes: to tell layouts apart."""
    try:
        with path.open("rb") as file:
            return file.readline(200).decode("utf-8-sig", "replace").strip()
    except OSError:
        return ""


def first_folder(root: Path, folders: tuple[str, ...]) -> Path | None:
    """Return the first of these folders that is there."""
    return next((root / name for name in folders if (root / name).is_dir()), None)


def files_in(folder: Path, suffixes: tuple[str, ...]) -> list[Path]:
    """Return a folder's visible files of some suffixes, sorted by name."""
    return sorted(
        path
        for path in folder.iterdir()
        if path.suffix.lower() in suffixes and not path.name.startswith(".") and path.is_file()
    )
