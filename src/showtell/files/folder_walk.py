"""Walk a tree of folders, the same way for every command that looks for photos."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import AnyStr, Generic

from showtell.errors import PhotoError, PhotoErrorHandler
from showtell.files.os_errors import error_reason
from showtell.files.printable_names import printable

# Thumbnails and deleted files of network drives and of Windows.
SKIPPED_FOLDERS = frozenset({"@eaDir", "#recycle", "$RECYCLE.BIN"})


class UnlistableFolderError(PhotoError):
    """A folder cannot be listed, so its photos are unknown."""


@dataclass(frozen=True, slots=True)
class ListedFolder(Generic[AnyStr]):
    """A folder and its entries sorted by name; `entries` is None if it cannot be listed."""

    path: AnyStr
    entries: list[os.DirEntry[AnyStr]] | None


def walk_folders(
    root: AnyStr,
    *,
    max_depth: int | None = None,
    report: PhotoErrorHandler,
    skip: Callable[[AnyStr], bool] | None = None,
) -> Iterator[ListedFolder[AnyStr]]:
    """Yield `root` and the folders at most `max_depth` levels below it, parents first.

    The next folder after one with subfolders is the first of them. Names that `skip` accepts, by
    default those of `is_skipped`, are left out, and links to folders are not followed. A folder
    that cannot be listed is reported.
    """
    skip = skip or is_skipped
    pending = [(root, 0)]
    while pending:
        path, depth = pending.pop()
        try:
            with os.scandir(path) as listing:
                kept = (entry for entry in listing if not skip(entry.name))
                entries = sorted(kept, key=lambda entry: entry.name)
        except OSError as error:
            reason = error_reason(error)
            report(
                UnlistableFolderError(f"{printable(path)}: the folder cannot be listed ({reason})")
            )
            yield ListedFolder(path, None)
            continue
        yield ListedFolder(path, entries)
        if depth != max_depth:
            subfolders = (entry.path for entry in reversed(entries) if is_subfolder(entry))
            pending += ((subfolder, depth + 1) for subfolder in subfolders)


def is_skipped(name: str | bytes) -> bool:
    """Return whether a file or folder of this name is hidden, a thumbnail or in a recycle bin.

    Hidden names include `._photo.jpg`, which macOS leaves on USB sticks.
    """
    text = os.fsdecode(name)
    return text.startswith(".") or text in SKIPPED_FOLDERS


def is_subfolder(entry: os.DirEntry[AnyStr]) -> bool:
    """Return whether an entry is a folder itself, and not a link to one."""
    try:
        return entry.is_dir(follow_symlinks=False)
    except OSError:
        return False
