"""What a dataset's own files say, before they become one table: shared by every reader.

A reader turns caption file and split lists into a `Listing`; `readers.open_dataset` turns that into
a `Dataset` and `check.check_dataset` into a report. What stops reading (a broken line) is raised;
what leaves the rest usable (a photo that is gone) is kept as a `Finding`.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from showtell.data.table import SPLITS
from showtell.errors import DatasetError
from showtell.vocabulary import tokenize

Kind = Literal["missing", "unreadable", "empty caption", "without captions", "duplicated"]
Severity = Literal["error", "warning", "note"]

_PLAIN_WORD = re.compile("[0-9A-Za-z]")  # spares all but a few captions the whole rule
_SPLIT_NAMES = {
    **{name: name for name in SPLITS},
    **dict.fromkeys(("val", "valid", "validation"), "dev"),
    "training": "train",
}


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check says about one photo: only an `error` needs repair before training."""

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

    def add(self, name: str, path: str, caption: str, where: str) -> ListedPhoto:
        """Add one caption to a photo; a caption without a word is only noted."""
        photo = self.photos.get(name)
        if photo is None:
            photo = self.photos[name] = ListedPhoto(name, path, where)
        caption = " ".join(caption.split())  # one line: scorers and token files speak in lines
        if _PLAIN_WORD.search(caption) or tokenize(caption):
            photo.captions.append(caption)
        else:
            self.findings.append(Finding("empty caption", name, where))
        return photo

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
    recognise: Callable[[Path], bool]
    read: Callable[[Path], Listing]


def split_by_hash(name: str) -> str:
    """Draw a split from a photo's name: 80 % train, 10 % dev, 10 % test, the same for ever."""
    digest = hashlib.sha256(name.encode("utf-8", "surrogateescape")).digest()
    place = int.from_bytes(digest[:8], "big") / 2**64
    return "train" if place < 0.8 else "dev" if place < 0.9 else "test"


def split_named(text: str, where: str) -> str:
    """Return train, dev or test for a split's name in a file.

    Raises DatasetError on any other name.
    """
    split = _SPLIT_NAMES.get(text.strip().lower())
    if split is None:
        raise DatasetError(f"{where}: unknown split {text!r}: use train, dev (or val) or test")
    return split


def read_text(path: Path) -> str:
    """Read a UTF-8 text file, with or without a byte order mark.

    Raises DatasetError that names the line of the first byte that is not UTF-8.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DatasetError(f"{path}: cannot be read ({error.strerror})") from None
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise DatasetError(f"{path}:1: UTF-16 text: save the file as UTF-8")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        # `object` is the part after a byte order mark, which holds no line break.
        line = error.object.count(b"\n", 0, error.start) + 1
        raise DatasetError(f"{path}:{line}: not UTF-8 text: save the file as UTF-8") from None


def read_lines(path: Path) -> Iterator[tuple[str, str]]:
    """Yield ("FILE:LINE", text) for every line that is not blank.

    Only a line feed ends a line: captions may hold any other separator that Unicode knows.
    """
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        if line and not line.isspace():
            yield f"{path}:{number}", line.removesuffix("\r")


def plain_name(text: str, where: str) -> str:
    """Check a photo's name in a layout that keeps its photos in one folder.

    Raises DatasetError where it is empty or points out of that folder.
    """
    name = text.strip()
    if not name or "/" in name or os.sep in name or "\0" in name or name in (".", ".."):
        raise DatasetError(f"{where}: {text!r} is not the name of a photo")
    return name


def files_in(folder: Path, suffixes: tuple[str, ...]) -> list[Path]:
    """Return a folder's visible files of some suffixes, sorted by name."""
    return sorted(
        path
        for path in folder.iterdir()
        if path.suffix.lower() in suffixes and not path.name.startswith(".") and path.is_file()
    )
