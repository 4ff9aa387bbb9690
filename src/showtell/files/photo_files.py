"""Find the photos in files and folders."""

from __future__ import annotations

import os
import stat
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from showtell.errors import PhotoError
from showtell.files.counts import count_of
from showtell.files.folder_walk import is_skipped, is_subfolder, walk_folders
from showtell.files.printable_names import printable

SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".apng", ".webp", ".gif", ".bmp", ".dib"}
    | {".tif", ".tiff", ".avif", ".heic", ".heif"}
)


@dataclass
class LeftOut:
    """Counts what `find_photos` leaves out of folders."""

    subfolders: int = 0
    hidden: int = 0  # photos
    suffixes: Counter[str] = field(default_factory=Counter)

    def __bool__(self) -> bool:
        return bool(self.subfolders or self.hidden or self.suffixes)

    def __str__(self) -> str:
        """Return the counts as text, such as `2 subfolders, 3 other files (.txt .xmp)`."""
        parts = []
        if self.subfolders:
            parts.append(count_of(self.subfolders, "subfolder") + " (see --recursive)")
        if self.hidden:
            parts.append(count_of(self.hidden, "hidden photo"))
        if self.suffixes:
            names = " ".join(printable(suffix) for suffix, _ in self.suffixes.most_common(5))
            parts.append(f"{count_of(self.suffixes.total(), 'other file')} ({names})")
        return ", ".join(parts)


def find_photos(
    paths: Iterable[str | os.PathLike[str]],
    *,
    recursive: bool = False,
    report: Callable[[PhotoError], None],
    left_out: LeftOut | None = None,
) -> Iterator[Path]:
    """Yield the photos in `paths`, in their order; the photos of a folder are sorted by name.

    A path that is not a folder is yielded whatever its name is. In a folder, the files with a
    photo's suffix are photos, broken links included; with `recursive` its subfolders are searched
    too. Hidden names, thumbnails and recycle bins of network drives, and links to folders are
    left out. Folders that cannot be listed, devices and pipes, and links to them, go to `report`.
    `left_out` counts the subfolders, the hidden photos and the other files of a folder.
    """
    left_out = LeftOut() if left_out is None else left_out
    for path in map(Path, paths):
        if path.is_dir():
            yield from _in_folder(path, recursive, report, left_out)
        else:
            yield path


def _in_folder(
    folder: Path, recursive: bool, report: Callable[[PhotoError], None], left_out: LeftOut
) -> Iterator[Path]:
    max_depth = None if recursive else 0

    def skip(name: str) -> bool:
        skipped = is_skipped(name)
        left_out.hidden += skipped and _has_photo_suffix(name)
        return skipped

    folders = walk_folders(os.fspath(folder), max_depth=max_depth, report=report, skip=skip)
    unfinished = [iter(next(folders).entries or ())]
    while unfinished:
        entry = next(unfinished[-1], None)
        if entry is None:
            unfinished.pop()
        elif is_subfolder(entry):
            if recursive:  # the walk goes depth first, so this folder is its next one
                unfinished.append(iter(next(folders).entries or ()))
            else:
                left_out.subfolders += 1
        elif _has_photo_suffix(entry.name) and not _is_folder_link(entry):
            if _is_special(entry):
                report(PhotoError(f"{printable(entry.path)}: a device or pipe, not a photo"))
            else:
                yield Path(entry.path)
        elif not _is_folder_link(entry):
            left_out.suffixes[Path(entry.name).suffix.lower() or entry.name] += 1


def _has_photo_suffix(name: str) -> bool:
    return Path(name).suffix.lower() in SUFFIXES


def _is_folder_link(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a loop of links: opening it reports that
        return False


def _is_special(entry: os.DirEntry[str]) -> bool:
    """Return whether the entry is, or leads to, a device, pipe or socket."""
    try:
        return not stat.S_ISREG(entry.stat().st_mode)
    except OSError:  # a broken link: opening it reports that
        return False
