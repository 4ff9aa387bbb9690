from __future__ import annotations

from pathlib import Path

from showtell import Captioner
from showtell.errors import PhotoError
from showtell.photos.catalogue.database import Catalogue
from showtell.photos.metadata.sidecar import sidecar_path
from showtell.photos.metadata.xmp import DEFAULT_LANGUAGE, read_fields, set_fields
from showtell.photos.write_plan import WriteOptions
from support.photo_library import library, scan_fully, undo_fully, write_fully


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
