"""Save what a scan has read, and follow photos that were moved."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from showtell.caption import Caption
from showtell.decoding.beam_search import Floats
from showtell.photos.catalogue.database import Catalogue
from showtell.photos.catalogue.file_paths import file_path
from showtell.photos.catalogue.pictures import ModelId, find_picture, store_caption, store_picture
from showtell.photos.reading import PhotoContent

_SET_PICTURE = """
    UPDATE files SET picture_id = ?, size = ?, mtime_ns = ?, pending = 0, claim = NULL,
        missing_since = NULL, error = NULL
    WHERE id = ?
"""


@dataclass(frozen=True, slots=True)
class PendingFile:
    """A file that must be read: its number in the catalogue, and its path."""

    number: int
    path: Path


@dataclass(frozen=True, slots=True)
class ScanResult:
    """The result of reading a file: its content or an error, and the caption if it needed one."""

    file: PendingFile
    content: PhotoContent | None = None
    error: str | None = None
    caption: Caption | None = None
    pooled: Floats | None = None  # (channels,)


@dataclass
class SavedCounts:
    """Counts of saved photos."""

    captioned: int = 0
    already_captioned: int = 0
    moved: int = 0


def save_results(
    catalogue: Catalogue, results: Sequence[ScanResult], model: ModelId
) -> SavedCounts:
    """Save a batch of results in one transaction."""
    counts = SavedCounts()
    with catalogue.transaction():
        for result in results:
            _save_result(catalogue, result, model, counts)
    return counts


def _save_result(
    catalogue: Catalogue, result: ScanResult, model: ModelId, counts: SavedCounts
) -> None:
    file, content = result.file.number, result.content
    if content is None:
        catalogue.execute(
            "UPDATE files SET pending = 0, claim = NULL, error = ? WHERE id = ?",
            (result.error, file),
        )
        return
    is_new = find_picture(catalogue, content.hash) is None
    picture = store_picture(catalogue, content.hash, content.exif, content.size)
    if result.caption is not None and result.pooled is not None:
        store_caption(catalogue, picture, result.caption, result.pooled, model)
    moved = _set_picture(catalogue, file, content, picture, is_new=is_new)
    if result.error is not None:
        catalogue.execute("UPDATE files SET error = ? WHERE id = ?", (result.error, file))
    if moved:
        counts.moved += 1
    elif result.caption is not None:
        counts.captioned += 1
    elif result.error is None:
        counts.already_captioned += 1


def _set_picture(
    catalogue: Catalogue, file: int, content: PhotoContent, picture: int, *, is_new: bool
) -> bool:
    """Store which picture a file contains; return True if the file was moved here.

    A moved file keeps its number: its old row gets the new path, and the new row is deleted.
    """
    values = (picture, content.file_size, content.mtime_ns)
    row = catalogue.row("SELECT folder_id, name, picture_id FROM files WHERE id = ?", (file,))
    if row is None:  # meanwhile another scan has recognised the move
        return False
    folder, name, old_picture = row
    moved_from = None
    if not is_new and old_picture is None:
        moved_from = _find_moved(catalogue, picture, file)
    if moved_from is None:
        catalogue.execute(_SET_PICTURE, (*values, file))
        return False
    catalogue.execute("DELETE FROM files WHERE id = ?", (file,))
    catalogue.execute(
        "UPDATE files SET folder_id = ?, name = ? WHERE id = ?", (folder, name, moved_from)
    )
    catalogue.execute(_SET_PICTURE, (*values, moved_from))
    return True


def _find_moved(catalogue: Catalogue, picture: int, file: int) -> int | None:
    """Return another file with the same picture whose path no longer exists, or None."""
    rows = catalogue.rows(
        "SELECT files.id, folders.path, name FROM files JOIN folders ON folders.id = folder_id"
        " WHERE picture_id = ? AND files.id <> ? ORDER BY missing_since IS NULL",
        (picture, file),
    )
    for other, folder, other_name in list(rows):
        if not os.path.lexists(file_path(folder, other_name)):
            return int(other)
    return None
