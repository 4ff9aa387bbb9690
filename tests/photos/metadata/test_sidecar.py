from __future__ import annotations

import os
from pathlib import Path

import pytest

from showtell.photos.metadata.sidecar import shared_sidecars, sidecar_path, sidecar_paths
from showtell.photos.metadata.xmp import set_fields
from support.photo_library import photo


def test_sidecar_shared_by_raw_and_jpeg_belongs_to_the_raw_photo(tmp_path: Path) -> None:
    jpeg, raw = photo(tmp_path / "IMG_1.jpg", 1), photo(tmp_path / "IMG_1.cr2", 2)
    (tmp_path / "IMG_1.xmp").write_bytes(set_fields(None, {"alt": "x"}))
    assert sidecar_path(raw) == tmp_path / "IMG_1.xmp"
    assert sidecar_path(jpeg) == tmp_path / "IMG_1.jpg.xmp"
    alone = photo(tmp_path / "IMG_2.jpg", 3)
    assert sidecar_path(alone) == tmp_path / "IMG_2.jpg.xmp"
    (tmp_path / "IMG_2.xmp").write_text("")
    assert sidecar_path(alone) == tmp_path / "IMG_2.xmp"
    (tmp_path / "IMG_1.cr2.xmp").write_text("")
    assert sidecar_path(raw) == tmp_path / "IMG_1.cr2.xmp"


def test_sidecar_without_the_suffix_is_shared_by_photos_none_of_which_is_raw(
    tmp_path: Path,
) -> None:
    jpeg, png = photo(tmp_path / "46.jpg", 1), photo(tmp_path / "46.png", 2)
    (tmp_path / "46.XMP").write_bytes(set_fields(None, {"alt": "x"}))
    for path in (jpeg, png):
        assert shared_sidecars(path) == [tmp_path / "46.XMP"]
        assert sidecar_path(path) == tmp_path / f"{path.name}.xmp"
    (tmp_path / "46.cr2").write_bytes(b"")
    assert shared_sidecars(jpeg) == []
    assert shared_sidecars(tmp_path / "46.cr2") == []


@pytest.mark.parametrize("name", ["a.XMP", "a.jpg.Xmp", "a.JPG.XMP", "A.xmp", "A.JPG.xMp"])
def test_sidecar_is_found_whatever_its_case(tmp_path: Path, name: str) -> None:
    path = photo(tmp_path / "a.jpg", 1)
    (tmp_path / name).write_text("")
    assert sidecar_path(path) == tmp_path / name


def test_sidecar_in_another_case_belongs_to_the_photo_whose_name_agrees(tmp_path: Path) -> None:
    lower, upper = photo(tmp_path / "a.jpg", 1), tmp_path / "A.jpg"
    upper.write_bytes(lower.read_bytes())
    (tmp_path / "A.jpg.XMP").write_text("")
    (tmp_path / "A.XMP").write_text("")
    if upper.samefile(lower):
        pytest.skip("the file system ignores case")
    assert sidecar_paths(lower) == []
    assert sidecar_path(lower) == tmp_path / "a.jpg.xmp"
    assert sidecar_paths(upper) == [tmp_path / "A.jpg.XMP", tmp_path / "A.XMP"]


def test_sidecar_that_appears_in_a_folder_already_listed_is_found(tmp_path: Path) -> None:
    path = photo(tmp_path / "a.jpg", 1)
    os.utime(tmp_path, (1, 1))
    assert sidecar_paths(path) == []
    (tmp_path / "a.XMP").write_text("")
    assert sidecar_paths(path) == [tmp_path / "a.XMP"]
