"""Compare folders with the catalogue and record which photos a scan must read.

This is the first half of a scan. It opens no photo, and saves its results in the catalogue, so
that a killed scan can continue.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from showtell.errors import PhotoErrorHandler
from showtell.photos.catalogue.database import Catalogue, now
from showtell.photos.catalogue.file_paths import SUBTREE_CONDITION, subtree_parameters
from showtell.photos.walk import PhotoFile, walk_photos

_TRANSACTION_SIZE = 1000  # changes


@dataclass
class ComparisonCounts:
    """Counts of photos: found in the folders, and unchanged among them.

    `missing` has the ids of the photos that are newly missing; some may have been moved.
    """

    found: int = 0
    unchanged: int = 0
    missing: set[int] = field(default_factory=set)


@dataclass
class _Changes:
    """Changes to save in the next transaction."""

    folders: list[bytes] = field(default_factory=list)
    new: list[tuple[bytes, bytes, int, int]] = field(default_factory=list)  # folder, name, stamp
    changed: list[tuple[int, int, int]] = field(default_factory=list)  # size, mtime, id
    to_read_again: list[tuple[int]] = field(default_factory=list)  # id
    unchanged: list[tuple[int, str, int]] = field(default_factory=list)  # ctime, access, id
    missing: list[tuple[str, int]] = field(default_factory=list)  # time, id

    def __len__(self) -> int:
        present = len(self.new) + len(self.changed) + len(self.to_read_again)
        return len(self.folders) + present + len(self.unchanged) + len(self.missing)


def compare_folders(
    catalogue: Catalogue, roots: Sequence[Path], scan_id: int, report: PhotoErrorHandler
) -> Iterator[ComparisonCounts]:
    """Compare the folders `roots` with the catalogue; yield the counts after each folder.

    Photos that are missing are marked. Those in a folder that cannot be listed stay as they are.
    """
    counts = ComparisonCounts()
    changes = _Changes()
    unlisted: list[bytes] = []
    real_roots = [os.fsencode(os.path.realpath(root)) for root in roots]
    for root in real_roots:
        for folder, photos in walk_photos(root, report):
            if photos is None:
                unlisted.append(folder)
                continue
            _compare_folder(catalogue, folder, photos, counts, changes)
            changes.folders.append(folder)
            if len(changes) >= _TRANSACTION_SIZE:
                _save(catalogue, changes, scan_id)
                changes = _Changes()
            yield counts
    _save(catalogue, changes, scan_id)
    for root in real_roots:
        counts.missing |= _mark_missing_folders(catalogue, root, scan_id, unlisted)
    yield counts


def _compare_folder(
    catalogue: Catalogue,
    folder: bytes,
    photos: list[PhotoFile],
    counts: ComparisonCounts,
    changes: _Changes,
) -> None:
    stored = {
        name: (file_id, *columns)
        for file_id, name, *columns in catalogue.rows(
            """
            SELECT files.id, name, size, mtime_ns, ctime_ns, pending, missing_since NOT NULL,
                error NOT NULL, access
            FROM files JOIN folders ON folders.id = folder_id WHERE folders.path = ?
            """,
            (folder,),
        )
    }
    for photo in photos:
        counts.found += 1
        row = stored.pop(photo.name, None)
        if row is None:
            changes.new.append((folder, photo.name, *photo.status[:2]))
            continue
        file_id, size, mtime_ns, ctime_ns, pending, missing, error, access = row
        status = photo.status
        has_new_ctime = ctime_ns not in (None, status.ctime_ns)
        if (size, mtime_ns) != (status.size, status.mtime_ns):
            changes.changed.append((status.size, status.mtime_ns, file_id))
        elif error or (has_new_ctime and access == status.access and not missing):
            changes.to_read_again.append((file_id,))
        else:  # new permissions, or restored from a copy
            counts.unchanged += not pending
            if missing or has_new_ctime:
                changes.unchanged.append((status.ctime_ns, status.access, file_id))
    time = now()
    for file_id, _, _, _, _, missing, *_ in stored.values():
        if not missing:
            counts.missing.add(file_id)
            changes.missing.append((time, file_id))


def _save(catalogue: Catalogue, changes: _Changes, scan_id: int) -> None:
    if not len(changes):
        return
    must_read = "pending = 1, claim = NULL, missing_since = NULL"
    with catalogue.transaction():
        catalogue.execute_many(
            "INSERT INTO folders (path, scan) VALUES (?, ?)"
            " ON CONFLICT (path) DO UPDATE SET scan = excluded.scan",
            ((folder, scan_id) for folder in changes.folders),
        )
        # another scan may have added the same photo meanwhile
        catalogue.execute_many(
            "INSERT OR IGNORE INTO files (folder_id, name, size, mtime_ns)"
            " SELECT id, ?2, ?3, ?4 FROM folders WHERE path = ?1",
            changes.new,
        )
        catalogue.execute_many(
            f"UPDATE files SET size = ?, mtime_ns = ?, ctime_ns = 0, {must_read} WHERE id = ?",
            changes.changed,
        )
        catalogue.execute_many(f"UPDATE files SET {must_read} WHERE id = ?", changes.to_read_again)
        catalogue.execute_many(
            "UPDATE files SET missing_since = NULL, access = ?2,"
            " ctime_ns = iif(ctime_ns IS NULL, NULL, ?1) WHERE id = ?3",
            changes.unchanged,
        )
        catalogue.execute_many("UPDATE files SET missing_since = ? WHERE id = ?", changes.missing)


def _mark_missing_folders(
    catalogue: Catalogue, root: bytes, scan_id: int, unlisted: list[bytes]
) -> set[int]:
    """Mark the photos of folders that no longer exist; return their ids."""
    folders = [
        folder
        for folder, path in catalogue.rows(
            f"SELECT id, path FROM folders WHERE {SUBTREE_CONDITION} AND scan <> ?",
            (*subtree_parameters(root), scan_id),
        )
        if not any(path == hidden or path.startswith(hidden + b"/") for hidden in unlisted)
        and not os.path.isdir(path)  # noqa: PTH112 - if it exists, another scan has listed it
    ]
    if not folders:
        return set()
    missing: set[int] = set()
    with catalogue.transaction():
        for folder in folders:
            rows = catalogue.rows(
                "SELECT id FROM files WHERE folder_id = ? AND missing_since IS NULL", (folder,)
            )
            missing.update(file_id for (file_id,) in rows)
        catalogue.execute_many(
            "UPDATE files SET missing_since = ? WHERE id = ?",
            ((now(), file_id) for file_id in missing),
        )
    return missing
