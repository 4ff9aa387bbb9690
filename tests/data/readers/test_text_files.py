"""A folder of photos with a text beside each."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from showtell.data import open_dataset
from showtell.data.check import check_dataset
from showtell.data.readers.splits import split_by_hash
from showtell.errors import DatasetError
from support.dataset_folders import DOGS, captions_of, splits_of, write_beside, write_photos


def test_each_line_of_a_text_file_is_a_caption(tmp_path):
    dataset = open_dataset(write_beside(tmp_path))
    assert dataset.layout == "texts beside photos"
    assert captions_of(dataset) == DOGS
    assert splits_of(dataset) == {name: split_by_hash(name) for name in DOGS}


def test_subfolders_are_read(tmp_path):
    write_beside(tmp_path, {"a/deep/er/1.jpg": ("A dog",), "b/1.PNG": ("A cat",)})
    assert captions_of(open_dataset(tmp_path)) == {
        "a/deep/er/1.jpg": ("A dog",),
        "b/1.PNG": ("A cat",),
    }


def test_folders_named_after_splits_are_the_splits(tmp_path):
    write_beside(tmp_path, {"train/1.jpg": ("A",), "val/x/2.jpg": ("B",), "test/3.jpg": ("C",)})
    assert splits_of(open_dataset(tmp_path)) == {
        "train/1.jpg": "train",
        "val/x/2.jpg": "dev",
        "test/3.jpg": "test",
    }


def test_a_folder_with_another_name_means_drawn_splits(tmp_path):
    names = ["train/1.jpg", "more/2.jpg", "3.jpg"]
    write_beside(tmp_path, dict.fromkeys(names, ("A dog",)))
    assert splits_of(open_dataset(tmp_path)) == {name: split_by_hash(name) for name in names}


def test_texts_without_photos_and_photos_without_texts_are_notes(tmp_path):
    write_beside(tmp_path, {"1.jpg": ("A dog",)})
    write_photos(tmp_path, ["alone.jpg"])
    (tmp_path / "README.txt").write_text("My photos")
    report = check_dataset(tmp_path)
    assert report.ok
    assert {(f.kind, f.name, f.severity) for f in report.findings} == {
        ("missing", "README.txt", "note"),
        ("without captions", "alone.jpg", "note"),
    }


def test_an_empty_text_is_an_error_that_names_the_photo(tmp_path):
    write_beside(tmp_path, {"1.jpg": ("A dog",), "2.jpg": ()})
    findings = [f for f in check_dataset(tmp_path).findings if f.kind == "without captions"]
    assert [(f.name, f.severity) for f in findings] == [("2.jpg", "error")]
    assert str(tmp_path / "2.txt") in findings[0].detail


def test_a_text_that_is_not_utf8_is_named_and_the_others_are_read(tmp_path):
    write_beside(tmp_path, {"1.jpg": ("A dog",), "2.jpg": ("A cat",)})
    (tmp_path / "2.txt").write_bytes(b"A cat\ncaf\xe9\n")
    with pytest.raises(DatasetError, match=r"2\.txt:2: not UTF-8 text"):
        open_dataset(tmp_path)
    assert check_dataset(tmp_path).photos == 1


def test_hidden_files_and_folders_are_ignored(tmp_path):
    write_beside(tmp_path, {"1.jpg": ("A dog",), ".trash/2.jpg": ("A cat",), "._3.jpg": ("x",)})
    assert captions_of(open_dataset(tmp_path)) == {"1.jpg": ("A dog",)}


def test_photos_without_texts_of_their_name_are_not_a_dataset(tmp_path):
    write_photos(tmp_path, ["1.jpg"])
    (tmp_path / "notes.txt").write_text("A dog")
    with pytest.raises(DatasetError, match="no known layout"):
        open_dataset(tmp_path)


def test_the_search_for_text_files_is_limited_in_depth(tmp_path):
    write_beside(tmp_path, {"a/b/c/1.jpg": ("A dog",)})
    with pytest.raises(DatasetError, match="no known layout"):
        open_dataset(tmp_path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_an_unreadable_subfolder_is_skipped(tmp_path):
    write_beside(tmp_path, {"1.jpg": ("A dog",), "secret/2.jpg": ("A cat",)})
    (tmp_path / "secret").chmod(0)
    try:
        assert captions_of(open_dataset(tmp_path)) == {"1.jpg": ("A dog",)}
    finally:
        (tmp_path / "secret").chmod(0o700)


def test_a_table_takes_precedence_over_text_files(tmp_path: Path):
    write_beside(tmp_path, {"1.jpg": ("from the text",)})
    (tmp_path / "my.csv").write_text("image,caption\n1.jpg,from the table\n")
    assert captions_of(open_dataset(tmp_path)) == {"1.jpg": ("from the table",)}


def test_thumbnails_of_network_drives_are_skipped(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "@eaDir"):
        folder.mkdir(exist_ok=True)
        (folder / "dog.jpg").write_bytes(b"photo")
        (folder / "dog.txt").write_text("a dog runs\n")
    dataset = open_dataset(tmp_path)
    assert [photo.name for photo in dataset.photos] == ["dog.jpg"]
