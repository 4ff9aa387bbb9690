"""Save what a scan has read, and follow photos that were moved."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from showtell.caption import Caption
from showtell.decoding.beam_search import Floats
from showtell.photos.catalogue.database import Catalogue
from showtell.photos.catalogue.file_paths import file_path
from showtell.photos.catalogue.pictures import (
    ModelIds,
    change_picture,
    copy_edits,
    find_picture_id,
    related_picture_ids,
    store_caption,
    store_picture,
)
from showtell.photos.reading import PhotoContent

_SET_PICTURE = """
    UPDATE files SET picture_id = ?, size = ?, mtime_ns = ?, ctime_ns = ?, access = ?, pending = 0,
        claim = NULL, missing_since = NULL, error = NULL
    WHERE id = ?
"""


@dataclass(frozen=True, slots=True)
class PendingFile:
    """A file that must be read: its id in the catalogue, and its path."""

    id: int
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
    """Counts of saved photos; `moved` has the ids of those that were moved."""

    captioned: int = 0
    already_captioned: int = 0
    moved: set[int] = field(default_factory=set)


def save_results(catalogue: Catalogue, results: Sequence[ScanResult], ids: ModelIds) -> SavedCounts:
    """Save a batch of results in one transaction."""
    counts = SavedCounts()
    with catalogue.transaction():
        for result in results:
            _save_result(catalogue, result, ids, counts)
    return counts


def _save_result(
    catalogue: Catalogue, result: ScanResult, ids: ModelIds, counts: SavedCounts
) -> None:
    file_id, content = result.file.id, result.content
    if content is None:
        catalogue.execute(
            "UPDATE files SET pending = 0, claim = NULL, error = ? WHERE id = ?",
            (result.error, file_id),
        )
        return
    is_new = find_picture_id(catalogue, content.hash) is None
    others = _same_image_data(catalogue, content.hash, file_id) if is_new else []
    unused = [other for other in others if not _is_in_use(catalogue, other, file_id)]
    if unused:  # the picture was turned, or read by an older version: it stays the same row
        change_picture(catalogue, unused[0], content.hash)
        is_new = False
    picture_id = store_picture(catalogue, content.hash, content.exif, content.size)
    if others:
        copy_edits(catalogue, others, picture_id)
    if result.caption is not None and result.pooled is not None:
        store_caption(catalogue, picture_id, result.caption, result.pooled, ids)
    moved_id = _set_picture(catalogue, file_id, content, picture_id, is_new=is_new)
    if result.error is not None:
        catalogue.execute("UPDATE files SET error = ? WHERE id = ?", (result.error, file_id))
    if moved_id is not None:
        counts.moved.add(moved_id)
    elif result.caption is not None:
        counts.captioned += 1
    elif result.error is None:
        counts.already_captioned += 1


def _same_image_data(catalogue: Catalogue, picture_hash: bytes, file_id: int) -> list[int]:
    """Return the ids of pictures with the same image data, shown in another way.

    So is the picture of a file that has not changed since an older version read it.
    """
    picture_ids = related_picture_ids(catalogue, picture_hash)
    row = catalogue.row("SELECT picture_id, ctime_ns FROM files WHERE id = ?", (file_id,))
    if row is not None and row[0] is not None and row[1] is None and row[0] not in picture_ids:
        picture_ids.append(row[0])
    return picture_ids


def _is_in_use(catalogue: Catalogue, picture_id: int, file_id: int) -> bool:
    """Return whether another file that exists contains a picture."""
    rows = catalogue.rows(
        "SELECT folders.path, name FROM files JOIN folders ON folders.id = folder_id"
        " WHERE picture_id = ? AND files.id <> ?",
        (picture_id, file_id),
    )
    return any(os.path.lexists(file_path(folder, name)) for folder, name in list(rows))


def _set_picture(
    catalogue: Catalogue, file_id: int, content: PhotoContent, picture_id: int, *, is_new: bool
) -> int | None:
    """Store which picture a file contains; return the id of the file that was moved here, or None.

    A moved file keeps its id: its old row gets the new path, and the new row is deleted.
    """
    values = (picture_id, *content.status)
    row = catalogue.row("SELECT folder_id, name, picture_id FROM files WHERE id = ?", (file_id,))
    if row is None:  # meanwhile another scan has recognised the move
        return None
    folder, name, old_picture_id = row
    moved_id = None
    if not is_new and old_picture_id is None:
        moved_id = _find_moved(catalogue, picture_id, file_id)
    if moved_id is None:
        catalogue.execute(_SET_PICTURE, (*values, file_id))
        return None
    catalogue.execute("DELETE FROM files WHERE id = ?", (file_id,))
    catalogue.execute(
        "UPDATE files SET folder_id = ?, name = ? WHERE id = ?", (folder, name, moved_id)
    )
    catalogue.execute(_SET_PICTURE, (*values, moved_id))
    return moved_id


def _find_moved(catalogue: Catalogue, picture_id: int, file_id: int) -> int | None:
    """Return the id of another file with the same picture whose path no longer exists, or None."""
    rows = catalogue.rows(
        "SELECT files.id, folders.path, name FROM files JOIN folders ON folders.id = folder_id"
        " WHERE picture_id = ? AND files.id <> ? ORDER BY missing_since IS NULL",
        (picture_id, file_id),
    )
    for other_id, folder, other_name in list(rows):
        if not os.path.lexists(file_path(folder, other_name)):
            return int(other_id)
    return None
