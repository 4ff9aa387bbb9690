from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from showtell.errors import PhotoError
from showtell.files.photo_files import find_photos

posix = pytest.mark.skipif(sys.platform == "win32", reason="links and pipes of POSIX")


def find(*paths: Path, recursive: bool = False) -> tuple[list[str], list[str]]:
    errors: list[PhotoError] = []
    photos = list(find_photos(paths, recursive=recursive, report=errors.append))
    return [os.fspath(photo) for photo in photos], [str(error) for error in errors]


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def test_photos_of_a_folder_are_found_by_suffix_and_sorted(tmp_path: Path) -> None:
    touch(tmp_path, "b.PNG", "a.jpg", "c.heic", "d.jpeg", "notes.txt", ".hidden.jpg", "._a.jpg")
    touch(tmp_path, "below/e.jpg", "z.jpg/f.webp")
    photos, errors = find(tmp_path)
    assert photos == [str(tmp_path / name) for name in ("a.jpg", "b.PNG", "c.heic", "d.jpeg")]
    assert errors == []


def test_subfolders_are_searched_in_order(tmp_path: Path) -> None:
    touch(tmp_path, "m.jpg", "a/2.jpg", "a/1.jpg", "z.jpg/3.jpg", ".trash/x.jpg")
    photos, _ = find(tmp_path, recursive=True)
    assert photos == [
        str(tmp_path / name) for name in ("a/1.jpg", "a/2.jpg", "m.jpg", "z.jpg/3.jpg")
    ]


def test_file_given_by_name_is_always_yielded(tmp_path: Path) -> None:
    touch(tmp_path, "photo.data", ".hidden.jpg")
    paths = [tmp_path / name for name in ("photo.data", "gone.jpg", ".hidden.jpg")]
    assert find(*paths) == ([str(path) for path in paths], [])


@posix
def test_broken_links_are_yielded_and_loops_are_not_followed(tmp_path: Path) -> None:
    (tmp_path / "dangling.jpg").symlink_to(tmp_path / "gone.jpg")
    (tmp_path / "itself.jpg").symlink_to(tmp_path / "itself.jpg")
    (tmp_path / "loop").symlink_to(tmp_path)
    photos, errors = find(tmp_path, recursive=True)
    assert photos == [str(tmp_path / "dangling.jpg"), str(tmp_path / "itself.jpg")]
    assert errors == []


@posix
def test_pipe_with_the_name_of_a_photo_is_reported(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "link.jpg").symlink_to(tmp_path / "pipe.jpg")
    (tmp_path / "zero.jpg").symlink_to("/dev/zero")
    photos, errors = find(tmp_path)
    assert photos == []
    names = ("link.jpg", "pipe.jpg", "zero.jpg")
    assert errors == [f"{tmp_path}/{name}: a device or pipe, not a photo" for name in names]


def test_folder_that_cannot_be_listed_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "scandir", refuse)
    photos, [error] = find(tmp_path)
    assert photos == []
    assert error == f"{tmp_path}: the folder cannot be listed (permission denied)"
