"""The content of a dataset's files before it becomes a `Dataset`; shared by all readers.

A reader turns caption files and split lists into a `DatasetListing`. `registry.open_dataset` turns
that into a `Dataset`, `check.check_dataset` into a report. A file that cannot be read at all is an
error. Everything else that is wrong, broken lines included, is recorded as a `DatasetFinding`: the
check names all of them, and `open_dataset` refuses a listing with broken lines.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from showtell.data.readers.caption_files import BrokenLineError
from showtell.data.readers.splits import parse_split, split_by_hash
from showtell.language.languages import language_of
from showtell.language.splitting import normalised

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

_ALPHANUMERIC = re.compile("[0-9A-Za-z]")  # most captions match, which is faster


@dataclass(frozen=True, slots=True)
class DatasetFinding:
    """Something that a check found about one photo or line; only an `error` needs repair.

    For a broken or repaired line, `name` is its file and line and `detail` is the fault. Else
    `name` is the photo's name, and `detail` the reason or the line that names the photo.
    """

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
    """The names of the files in each folder, listed once: much faster than a stat per photo."""

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

    `photo_folder` is the folder of the photos, None if they may be in several folders. `language`
    is the BCP 47 tag of the captions' language, None if the files do not give it.
    """

    root: Path
    layout: str
    source: Path
    photo_folder: Path | None = None
    photos: dict[str, ListedPhoto] = field(default_factory=dict)
    findings: list[DatasetFinding] = field(default_factory=list)
    splits_assigned: bool = False
    language: str | None = None
    folders: FolderCache = field(default_factory=FolderCache)

    def get_or_add_photo(self, name: str, path: str, location: str) -> ListedPhoto:
        """Return the entry of a photo; the first call for a name adds it."""
        photo = self.photos.get(name)
        if photo is None:
            photo = self.photos[name] = ListedPhoto(name, path, location)
        return photo

    def add_caption(self, name: str, path: str, caption: str, location: str) -> ListedPhoto:
        """Add a caption to a photo; a caption without a word becomes a finding instead."""
        photo = self.get_or_add_photo(name, path, location)
        caption = " ".join(caption.split())  # one line: scorers and token files are line-based
        if _ALPHANUMERIC.search(caption) or any(map(str.isalnum, normalised(caption))):
            photo.captions.append(caption)
        else:
            self.findings.append(DatasetFinding("empty caption", name, location))
        return photo

    def set_language(self, code: str, location: str) -> None:
        """Record the captions' language; raises BrokenLineError if it is unknown or another one."""
        try:
            tag = language_of(code).code
        except ValueError as error:
            raise BrokenLineError(location, f"language: {error}") from None
        if self.language not in (None, tag):
            fault = f"the language is {tag} here and {self.language} before: one dataset has one"
            raise BrokenLineError(location, fault)
        self.language = tag

    def note_broken(self, error: BrokenLineError) -> None:
        """Record a broken line, which is left out."""
        self.findings.append(DatasetFinding("broken line", error.location, error.fault))

    def broken_lines(self) -> list[DatasetFinding]:
        """Return the broken lines."""
        return [finding for finding in self.findings if finding.kind == "broken line"]

    def note_duplicate(self, name: str, detail: str) -> None:
        """Record that the files repeat something: harmless, but rarely intended."""
        self.findings.append(DatasetFinding("duplicated", name, detail, "note"))

    def assign_splits_by_hash(self) -> None:
        """Give every photo a split by the hash of its name."""
        self.splits_assigned = True
        for photo in self.photos.values():
            photo.split = split_by_hash(photo.name)

    def assign_splits_by_folder(self) -> bool:
        """Give photos the split that their outermost folder names; return whether each has one."""
        splits = {}
        for name in self.photos:
            try:
                splits[name] = parse_split(name.split("/")[0] if "/" in name else "", "")
            except BrokenLineError:
                return False
        for name, split in splits.items():
            self.photos[name].split = split
        return True

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
