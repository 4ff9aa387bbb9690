from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from showtell.errors import PhotoError
from showtell.files.folder_walk import walk_folders
from showtell.files.photo_files import find_photos
from showtell.photos.walk import walk_photos


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def photos_of_caption(folder: Path, errors: list[PhotoError]) -> list[str]:
    photos = find_photos([folder], recursive=True, report=errors.append)
    return sorted(os.fspath(photo) for photo in photos)


def photos_of_scan(folder: Path, errors: list[PhotoError]) -> list[str]:
    return sorted(
        os.fspath(Path(os.fsdecode(path), os.fsdecode(photo.name)))
        for path, photos in walk_photos(os.fsencode(folder), errors.append)
        for photo in photos or []
    )


both_commands = pytest.mark.parametrize("photos_of", [photos_of_caption, photos_of_scan])


def test_folders_come_before_their_subfolders_in_order(tmp_path: Path) -> None:
    touch(tmp_path, "b/1.txt", "a/x/2.txt", "a/y/3.txt", ".hidden/4.txt")
    errors: list[PhotoError] = []
    walked = list(walk_folders(str(tmp_path), report=errors.append))
    names = [Path(folder.path).relative_to(tmp_path).as_posix() for folder in walked]
    assert names == [".", "a", "a/x", "a/y", "b"]
    assert [[entry.name for entry in folder.entries or []] for folder in walked] == [
        ["a", "b"],
        ["x", "y"],
        ["2.txt"],
        ["3.txt"],
        ["1.txt"],
    ]
    assert errors == []


@both_commands
def test_thumbnails_and_recycle_bins_of_network_drives_are_skipped(
    tmp_path: Path, photos_of: object
) -> None:
    assert callable(photos_of)
    touch(tmp_path, "trip/1.jpg", "trip/@eaDir/1.jpg/SYNOPHOTO_THUMB_XL.jpg", "#recycle/2.jpg")
    touch(tmp_path, "$RECYCLE.BIN/3.jpg", ".thumbnails/4.jpg", "@eaDir-of-mine/5.jpg", "._6.jpg")
    errors: list[PhotoError] = []
    assert photos_of(tmp_path, errors) == [
        str(tmp_path / "@eaDir-of-mine" / "5.jpg"),
        str(tmp_path / "trip" / "1.jpg"),
    ]
    assert errors == []


@both_commands
@pytest.mark.skipif(sys.platform == "win32", reason="paths on Windows are shorter")
def test_very_deep_folders_are_walked(tmp_path: Path, photos_of: object) -> None:
    assert callable(photos_of)
    folder = tmp_path
    for _ in range(1_500):  # Path.mkdir(parents=True) recurses
        folder = folder / "d"
        folder.mkdir()
    photo = folder / "deep.jpg"
    photo.touch()
    errors: list[PhotoError] = []
    try:
        assert photos_of(tmp_path, errors) == [str(photo)]
        assert errors == []
    finally:  # pytest cannot remove folders this deep
        photo.unlink()
        os.removedirs(folder)
        tmp_path.mkdir(parents=True, exist_ok=True)


@both_commands
@pytest.mark.skipif(sys.platform == "win32", reason="links need rights on Windows")
def test_linked_folders_are_not_followed(tmp_path: Path, photos_of: object) -> None:
    assert callable(photos_of)
    touch(tmp_path, "real.jpg/1.jpg")
    (tmp_path / "link.jpg").symlink_to(tmp_path / "real.jpg")
    (tmp_path / "loop").symlink_to(tmp_path)
    errors: list[PhotoError] = []
    assert photos_of(tmp_path, errors) == [str(tmp_path / "real.jpg" / "1.jpg")]
    assert errors == []
