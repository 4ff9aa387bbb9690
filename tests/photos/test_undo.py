from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from showtell import Captioner
from showtell.errors import CatalogueError, PhotoError
from showtell.photos import replace
from showtell.photos.catalogue.database import Catalogue
from showtell.photos.metadata.sidecar import sidecar_path
from showtell.photos.metadata.xmp import read_fields, set_fields
from showtell.photos.metadata.xmp_occurrences import DEFAULT_LANGUAGE
from showtell.photos.undo import last_run, undo_last_run
from showtell.photos.write_plan import WriteOptions
from support.photo_library import contents, library, scan_fully, undo_fully, write_fully


def test_undo_leaves_files_alone_that_have_changed_since(
    tmp_path: Path, catalogue: Catalogue, captioner: Captioner
) -> None:
    changed, deleted, unchanged = library(tmp_path / "lib", 3)
    scan_fully(catalogue, tmp_path / "lib", captioner)
    write_fully(catalogue)
    sidecar_path(changed).write_bytes(set_fields(None, {"alt": "by hand"}))
    sidecar_path(deleted).unlink()
    errors: list[PhotoError] = []
    counts = undo_fully(catalogue, errors)
    assert (counts.restored, counts.skipped) == (2, 1)
    [error] = errors
    assert str(error) == f"{sidecar_path(changed)}: has changed since, so it is left alone"
    assert not sidecar_path(unchanged).exists()
    assert read_fields(sidecar_path(changed).read_bytes()) == {"alt": {DEFAULT_LANGUAGE: "by hand"}}


def test_undo_restores_a_moved_photo_at_its_new_path(
    tmp_path: Path, catalogue: Catalogue, captioner: Captioner
) -> None:
    lib = tmp_path / "lib"
    [path] = library(lib, 1)
    original = path.read_bytes()
    scan_fully(catalogue, lib, captioner)
    write_fully(catalogue, WriteOptions(to="embed"))
    path.rename(lib / "moved.jpg")
    scan_fully(catalogue, lib, captioner)
    assert undo_fully(catalogue).restored == 1
    assert (lib / "moved.jpg").read_bytes() == original


def fail_for(
    monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, code: int, word: str, *, after: bool
) -> Callable[[], None]:
    """Let calls of `owner.name` whose first argument contains `word` fail; return how to stop.

    With `after`, they fail after they have done their work, as on a network drive.
    """
    original = getattr(owner, name)

    def failing(first: Any, *arguments: Any, **options: Any) -> Any:
        result = None
        if word not in os.fspath(first if isinstance(first, Path) else first.name):
            return original(first, *arguments, **options)
        if after:
            result = original(first, *arguments, **options)
        if hasattr(result, "close"):
            result.close()
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(owner, name, failing)
    return lambda: monkeypatch.setattr(owner, name, original)


WRITES = [(replace, "sync_file"), (replace, "move_into_place"), (Path, "open"), (Path, "unlink")]


@pytest.mark.parametrize(("code", "after"), [(errno.ENOSPC, False), (errno.EACCES, True)])
@pytest.mark.parametrize(("owner", "name"), WRITES, ids=[name for _, name in WRITES])
@pytest.mark.parametrize("to", ["sidecar", "embed"])
def test_file_that_cannot_be_restored_now_is_restored_by_the_next_undo(
    tmp_path: Path,
    catalogue: Catalogue,
    captioner: Captioner,
    monkeypatch: pytest.MonkeyPatch,
    to: Any,
    owner: Any,
    name: str,
    code: int,
    after: bool,
) -> None:
    lib = tmp_path / "lib"
    photos = library(lib, 5)
    for photo in photos[::2]:
        sidecar_path(photo).write_bytes(set_fields(None, {"alt": "mine"}))
    scan_fully(catalogue, lib, captioner)
    before = contents(lib)
    write_fully(catalogue, WriteOptions(to=to, fields=("description",)))
    for word in ("00003.jpg", ".showtell-", "00004.jpg"):
        stop = fail_for(monkeypatch, owner, name, code, word, after=after)
        errors: list[PhotoError] = []
        counts = undo_fully(catalogue, errors)
        stop()
        assert counts.failed == len(errors)
        assert all("run undo again" in str(error) for error in errors)
        assert (last_run(catalogue) is None) == (not errors)
        if not errors:
            break
    else:
        assert undo_fully(catalogue).failed == 0
    assert last_run(catalogue) is None
    assert contents(lib) == before


def test_undo_goes_on_after_many_files_that_cannot_be_restored(
    tmp_path: Path, catalogue: Catalogue, captioner: Captioner, monkeypatch: pytest.MonkeyPatch
) -> None:
    lib = tmp_path / "lib"
    library(lib, 36)  # several batches
    scan_fully(catalogue, lib, captioner)
    before = contents(lib)
    write_fully(catalogue)
    stop = fail_for(monkeypatch, Path, "unlink", errno.EROFS, "/003/", after=False)
    counts = undo_fully(catalogue, [])
    assert (counts.restored, counts.failed) == (28, 8)
    stop()
    assert undo_fully(catalogue).restored == 8
    assert contents(lib) == before


@pytest.mark.parametrize("to", ["sidecar", "embed"])
@pytest.mark.parametrize("mount_point", [True, False])
def test_photos_of_a_drive_that_is_away_are_restored_when_it_is_back(
    tmp_path: Path, catalogue: Catalogue, captioner: Captioner, to: Any, mount_point: bool
) -> None:
    drive, away = tmp_path / "drive", tmp_path / "away"
    library(drive, 3)
    [here] = library(tmp_path / "here", 1)
    scan_fully(catalogue, [drive, here.parent], captioner)
    before = contents(drive) | contents(here.parent)
    write_fully(catalogue, WriteOptions(to=to))
    drive.rename(away)
    if mount_point:
        (drive / "000").mkdir(parents=True)
    errors: list[PhotoError] = []
    counts = undo_fully(catalogue, errors)
    assert (counts.restored, counts.failed, len(errors)) == (1, 3, 3)
    assert all("connect its drive" in str(error) for error in errors)
    if mount_point:
        (drive / "000").rmdir()
        drive.rmdir()
    away.rename(drive)
    assert undo_fully(catalogue).restored == 3
    assert contents(drive) | contents(here.parent) == before
    assert last_run(catalogue) is None


def test_photos_that_a_scan_has_found_missing_do_not_hold_up_undo(
    tmp_path: Path, catalogue: Catalogue, captioner: Captioner
) -> None:
    lib = tmp_path / "lib"
    photos = library(lib, 2)
    scan_fully(catalogue, lib, captioner)
    write_fully(catalogue, WriteOptions(to="embed"))
    for photo in photos:
        photo.unlink()
    assert undo_fully(catalogue, []).failed == 2
    scan_fully(catalogue, lib, captioner)
    errors: list[PhotoError] = []
    assert undo_fully(catalogue, errors).skipped == 2
    assert str(errors[0]).endswith("no longer exists")
    assert last_run(catalogue) is None


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("code", [errno.EIO, errno.EACCES])
def test_write_whose_outcome_is_unknown_can_be_undone(
    tmp_path: Path,
    catalogue: Catalogue,
    captioner: Captioner,
    monkeypatch: pytest.MonkeyPatch,
    code: int,
    after: bool,
) -> None:
    lib = tmp_path / "lib"
    library(lib, 3)
    scan_fully(catalogue, lib, captioner)
    before = contents(lib)
    stop = fail_for(monkeypatch, replace, "move_into_place", code, ".showtell-", after=after)
    assert write_fully(catalogue, WriteOptions(to="embed"), []).failed == 3
    stop()
    assert (contents(lib) == before) == (not after)
    if after:
        assert undo_fully(catalogue).restored == 3
    assert contents(lib) == before
    assert last_run(catalogue) is None


def test_undo_with_a_full_disk_under_the_catalogue_can_be_repeated(
    tmp_path: Path, catalogue: Catalogue, captioner: Captioner, monkeypatch: pytest.MonkeyPatch
) -> None:
    lib = tmp_path / "lib"
    library(lib, 4)
    scan_fully(catalogue, lib, captioner)
    before = contents(lib)
    write_fully(catalogue, WriteOptions(to="embed"))
    original, calls = Catalogue.execute, []

    def full(self: Catalogue, sql: str, parameters: Any = ()) -> Any:
        calls.append(sql)
        if sql == "COMMIT" and len(calls) > failing:
            self.execute("ROLLBACK")
            raise CatalogueError("the disk is full")
        return original(self, sql, parameters)

    monkeypatch.setattr(Catalogue, "execute", full)
    for failing in range(0, 12, 2):  # noqa: B007 (`full` uses it)
        calls.clear()
        with pytest.raises(CatalogueError, match="the disk is full"):
            undo_fully(catalogue)
    monkeypatch.undo()
    list(undo_last_run(catalogue, report=pytest.fail))
    assert contents(lib) == before
    assert last_run(catalogue) is None
