"""The first half of a scan: compare folders with the catalogue, and note what is to be read.

Nothing is opened here. What is noted is in the catalogue at once, so that a scan that was killed
goes on where it was.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from showtell.photos.catalogue.database import Catalogue, now
from showtell.photos.walk import Found, Report, walk

_AT_ONCE = 1000  # changes in one transaction


@dataclass
class Compared:
    """Counts of a comparison: photos found, of these unchanged; and photos gone since."""

    found: int = 0
    unchanged: int = 0
    gone: int = 0


@dataclass
class _Changes:
    """Changes that wait for the next transaction."""

    folders: list[bytes] = field(default_factory=list)
    new: list[tuple[bytes, bytes, int, int]] = field(default_factory=list)  # folder, name, stamp
    changed: list[tuple[int, int, int]] = field(default_factory=list)  # size, mtime, file
    again: list[tuple[int]] = field(default_factory=list)
    back: list[tuple[int]] = field(default_factory=list)
    gone: list[tuple[str, int]] = field(default_factory=list)

    def __len__(self) -> int:
        held = len(self.folders) + len(self.new) + len(self.changed)
        return held + len(self.again) + len(self.back) + len(self.gone)


def compare(
    catalogue: Catalogue, roots: Sequence[Path], scan: int, report: Report
) -> Iterator[Compared]:
    """Compare the folders `roots` with the catalogue; yields its counts after each folder.

    Photos that are gone are marked; those in folders that cannot be listed now are left alone.
    """
    counts = Compared()
    changes = _Changes()
    unlisted: list[bytes] = []
    places = [os.fsencode(os.path.realpath(root)) for root in roots]
    for place in places:
        for folder, photos in walk(place, report):
            if photos is None:
                unlisted.append(folder)
                continue
            _compare_folder(catalogue, folder, photos, counts, changes)
            changes.folders.append(folder)
            if len(changes) >= _AT_ONCE:
                _save(catalogue, changes, scan)
                changes = _Changes()
            yield counts
    _save(catalogue, changes, scan)
    for place in places:
        counts.gone += _mark_vanished(catalogue, place, scan, unlisted)
    yield counts


def _compare_folder(
    catalogue: Catalogue, folder: bytes, photos: list[Found], counts: Compared, changes: _Changes
) -> None:
    known = {
        name: (file, size, mtime_ns, pending, gone, error)
        for file, name, size, mtime_ns, pending, gone, error in catalogue.rows(
            """
            SELECT files.id, name, size, mtime_ns, pending, gone IS NOT NULL, error IS NOT NULL
            FROM files JOIN folders ON folders.id = folder_id WHERE folders.path = ?
            """,
            (folder,),
        )
    }
    for photo in photos:
        counts.found += 1
        row = known.pop(photo.name, None)
        if row is None:
            changes.new.append((folder, photo.name, photo.size, photo.mtime_ns))
            continue
        file, size, mtime_ns, pending, gone, error = row
        if (size, mtime_ns) != (photo.size, photo.mtime_ns):
            changes.changed.append((photo.size, photo.mtime_ns, file))
        elif error:
            changes.again.append((file,))
        else:
            counts.unchanged += not pending
            if gone:
                changes.back.append((file,))
    moment = now()
    for file, _, _, _, gone, _ in known.values():
        if not gone:
            counts.gone += 1
            changes.gone.append((moment, file))


def _save(catalogue: Catalogue, changes: _Changes, scan: int) -> None:
    if not len(changes):
        return
    with catalogue.transaction():
        catalogue.many(
            "INSERT INTO folders (path, scan) VALUES (?, ?)"
            " ON CONFLICT (path) DO UPDATE SET scan = excluded.scan",
            ((folder, scan) for folder in changes.folders),
        )
        # another scan may have entered the same photo meanwhile
        catalogue.many(
            "INSERT OR IGNORE INTO files (folder_id, name, size, mtime_ns)"
            " SELECT id, ?2, ?3, ?4 FROM folders WHERE path = ?1",
            changes.new,
        )
        catalogue.many(
            "UPDATE files SET size = ?, mtime_ns = ?, pending = 1, claim = NULL, gone = NULL"
            " WHERE id = ?",
            changes.changed,
        )
        catalogue.many(
            "UPDATE files SET pending = 1, claim = NULL, gone = NULL WHERE id = ?", changes.again
        )
        catalogue.many("UPDATE files SET gone = NULL WHERE id = ?", changes.back)
        catalogue.many("UPDATE files SET gone = ? WHERE id = ?", changes.gone)


def _mark_vanished(catalogue: Catalogue, place: bytes, scan: int, unlisted: list[bytes]) -> int:
    """Mark the photos of folders that are not there any more."""
    below = place.rstrip(b"/")
    vanished = [
        (folder,)
        for folder, path in catalogue.rows(
            "SELECT id, path FROM folders"
            " WHERE (path = ? OR (path >= ? AND path < ?)) AND scan <> ?",
            (place, below + b"/", below + b"0", scan),
        )
        if not any(path == hidden or path.startswith(hidden + b"/") for hidden in unlisted)
        and not os.path.isdir(path)  # noqa: PTH112 - else another scan has listed it since
    ]
    if not vanished:
        return 0
    with catalogue.transaction():
        return catalogue.many(
            f"UPDATE files SET gone = '{now()}' WHERE folder_id = ? AND gone IS NULL", vanished
        )
