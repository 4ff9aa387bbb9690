"""Anybody's own photos: one CSV or JSONL file, and what people do to such files."""

from __future__ import annotations

import os

import pytest

from showtell.data import open_dataset
from showtell.errors import DatasetError
from support.dataset_folders import (
    DOGS,
    captions_of,
    splits_of,
    write_csv,
    write_jsonl,
    write_own,
    write_photos,
)


def test_csv_columns_may_have_any_order_and_others_are_ignored(tmp_path):
    write_photos(tmp_path, ["a/1.jpg", "b/2.jpg"])
    rows = [
        ("me", "Train", "A", "./a/1.jpg"),
        ("me", "", "B", "a/1.jpg"),
        ("", "val", "C", "b/2.jpg"),
    ]
    write_csv(tmp_path / "my.csv", ["Author", "split", " Caption", "IMAGE"], rows)
    dataset = open_dataset(tmp_path)
    assert captions_of(dataset) == {"a/1.jpg": ("A", "B"), "b/2.jpg": ("C",)}
    assert splits_of(dataset) == {"a/1.jpg": "train", "b/2.jpg": "dev"}


@pytest.mark.parametrize("name", ["val", "valid", "validation", "dev", "DEV "])
def test_dev_has_other_names(name, tmp_path):
    write_photos(tmp_path, ["1.jpg", "2.jpg"])
    write_jsonl(
        tmp_path / "my.jsonl",
        [{"image": "1.jpg", "caption": "x", "split": name}, {"image": "2.jpg", "caption": "y"}],
    )
    assert splits_of(open_dataset(tmp_path)) == {"1.jpg": "dev", "2.jpg": None}


def test_an_unknown_split_is_an_error_that_names_the_line(tmp_path):
    write_csv(tmp_path / "my.csv", ["image", "caption", "split"], [("1.jpg", "x", "tran")])
    with pytest.raises(DatasetError, match=r"my\.csv:2: unknown split 'tran': use train, dev"):
        open_dataset(tmp_path)


def test_one_photo_in_two_splits_is_an_error(tmp_path):
    rows = [("1.jpg", "x", "train"), ("./1.jpg", "y", "test")]
    write_csv(tmp_path / "my.csv", ["image", "caption", "split"], rows)
    with pytest.raises(DatasetError, match=r"my\.csv:3: \./1\.jpg is in test here and in train"):
        open_dataset(tmp_path)


def test_jsonl_rows_have_one_caption_or_several(tmp_path):
    write_photos(tmp_path, ["1.jpg", "2.jpg"])
    rows = [
        {"image": "1.jpg", "caption": "one"},
        {"image": "2.jpg", "captions": ["two", "deux"], "license": "CC0"},
        {"image": "1.jpg", "captions": ["uno"]},
    ]
    write_jsonl(tmp_path / "my.jsonl", rows)
    assert captions_of(open_dataset(tmp_path)) == {
        "1.jpg": ("one", "uno"),
        "2.jpg": ("two", "deux"),
    }


@pytest.mark.parametrize(
    "line",
    [
        '{"image": "1.jpg", "caption": "x"',
        '["1.jpg", "x"]',
        '{"caption": "x"}',
        '{"image": 1, "caption": "x"}',
        '{"image": "1.jpg"}',
        '{"image": "1.jpg", "caption": null}',
        '{"image": "1.jpg", "captions": "x"}',
        '{"image": "1.jpg", "captions": []}',
        '{"image": "1.jpg", "captions": ["x", 2]}',
        '{"image": "1.jpg", "caption": "half \\ud800"}',
        '{"image": "half \\ud800.jpg", "caption": "x"}',
        '{"image": "nul\\u0000.jpg", "caption": "x"}',
        '{"image": "", "caption": "x"}',
        '{"image": "1.jpg", "caption": "x", "split": 3}',
        "[" * 100_000,
    ],
)
def test_a_broken_jsonl_line_is_named(line, tmp_path):
    (tmp_path / "my.jsonl").write_text('{"image": "1.jpg", "caption": "x"}\n\n' + line + "\n")
    with pytest.raises(DatasetError, match=r"my\.jsonl:3: ") as caught:
        open_dataset(tmp_path)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    ("rows", "line"),
    [
        ("image,caption\n1.jpg,a dog, running\n", 2),
        ("image,caption\n1.jpg\n", 2),
        ("image,caption\n1.jpg,x\n,y\n", 3),
        ('image,caption\n1.jpg,"x\ny"\n1.jpg,"z" z\n', 4),
        ('image,caption\n1.jpg,x\n1.jpg,"never closed\n1.jpg,y\n', 3),
        ("picture,caption\n1.jpg,x\n", 1),
        ("image,caption,image\n1.jpg,x,2.jpg\n", 1),
        ("\n\n1.jpg,no header\n", 3),
    ],
)
def test_a_broken_csv_row_is_named_by_its_first_line(rows, line, tmp_path):
    (tmp_path / "my.csv").write_text(rows)
    with pytest.raises(DatasetError, match=rf"my\.csv:{line}: "):
        open_dataset(tmp_path)


def test_a_csv_with_semicolons_is_read(tmp_path):
    write_photos(tmp_path, ["1.jpg"])
    (tmp_path / "my.csv").write_text("image;caption;split\r\n1.jpg;a dog, running;test;\r\n;;\r\n")
    dataset = open_dataset(tmp_path)
    assert captions_of(dataset) == {"1.jpg": ("a dog, running",)}
    assert splits_of(dataset) == {"1.jpg": "test"}


def test_the_path_of_a_caption_file_is_accepted(tmp_path):
    write_own(tmp_path)
    write_jsonl(tmp_path / "other.jsonl", [{"image": "dog.jpg", "caption": "other"}])
    assert captions_of(open_dataset(tmp_path / "captions.csv")) == DOGS
    assert captions_of(open_dataset(tmp_path / "other.jsonl")) == {"dog.jpg": ("other",)}


def test_several_caption_files_are_listed(tmp_path):
    for name in ("dev.csv", "train.csv"):
        write_csv(tmp_path / name, ["image", "caption"], [("dog.jpg", "x")])
    (tmp_path / "._dev.csv").write_bytes(b"\0\5\x16\7")  # what macOS leaves on other disks
    with pytest.raises(
        DatasetError, match=r"which file is the caption file: dev\.csv, train\.csv\?"
    ):
        open_dataset(tmp_path)


def test_files_with_other_columns_are_ignored(tmp_path):
    write_own(tmp_path)
    write_csv(tmp_path / "scores.csv", ["model", "CIDEr"], [("a", "52")])
    assert captions_of(open_dataset(tmp_path)) == DOGS


def test_image_paths_may_be_absolute_or_outside_the_folder(tmp_path):
    write_photos(tmp_path / "album", ["1.jpg", "2.jpg"])
    rows = [("../album/1.jpg", "one"), (str(tmp_path / "album" / "2.jpg"), "two")]
    write_csv(tmp_path / "set" / "my.csv", ["image", "caption"], rows)
    dataset = open_dataset(tmp_path / "set")
    assert [photo.captions for photo in dataset.photos] == [("one",), ("two",)]
    assert all(photo.path.is_file() for photo in dataset.photos)


def test_backslashes_in_image_paths_separate_folders(tmp_path):
    write_photos(tmp_path, ["album/1.jpg"])
    write_csv(tmp_path / "my.csv", ["image", "caption"], [("album\\1.jpg", "one")])
    assert captions_of(open_dataset(tmp_path)) == {"album/1.jpg": ("one",)}


def test_names_that_are_not_utf8_use_surrogate_escapes(tmp_path):
    name = os.fsdecode(b"caf\xe9.jpg")
    try:
        write_photos(tmp_path, [name])
    except (OSError, UnicodeError):
        pytest.skip("this disk takes UTF-8 names only")
    write_jsonl(tmp_path / "my.jsonl", [{"image": name, "caption": "coffee"}])
    assert captions_of(open_dataset(tmp_path)) == {name: ("coffee",)}


@pytest.mark.parametrize("first", ["sep=;", "SEP=;", '"sep=;"', "sep=;\r"])
def test_the_line_that_tells_excel_the_separator_is_understood(first, tmp_path):
    write_photos(tmp_path, ["1.jpg", "2.jpg"])
    text = f"{first}\nimage;caption\n1.jpg;a dog, running\nno caption\n"
    (tmp_path / "my.csv").write_text(text, "utf-8-sig")
    with pytest.raises(DatasetError, match=r"my\.csv:4: image or caption is missing"):
        open_dataset(tmp_path)
    (tmp_path / "my.csv").write_text(text.replace("no caption", "2.jpg;two"), "utf-8-sig")
    assert captions_of(open_dataset(tmp_path)) == {
        "1.jpg": ("a dog, running",),
        "2.jpg": ("two",),
    }


def test_the_separator_line_may_name_a_tab(tmp_path):
    write_photos(tmp_path, ["1.jpg"])
    (tmp_path / "my.csv").write_text("sep=\t\nimage\tcaption\n1.jpg\ta, b; c\n", "utf-16")
    assert captions_of(open_dataset(tmp_path)) == {"1.jpg": ("a, b; c",)}


@pytest.mark.parametrize("mark", [",", ";", "\t", "|"])
def test_the_delimiter_is_the_one_between_the_columns(mark, tmp_path):
    write_photos(tmp_path, ["1.jpg"])
    header = mark.join(["image", "caption", '"notes, and; more"'])
    (tmp_path / "my.csv").write_text(f'{header}\n1.jpg{mark}"a dog, running; fast"{mark}\n')
    assert captions_of(open_dataset(tmp_path)) == {"1.jpg": ("a dog, running; fast",)}


@pytest.mark.parametrize("folder", ["images", "Images"])
def test_photos_may_be_in_a_folder_beside_the_table(folder, tmp_path):
    write_photos(tmp_path / folder, ["1.jpg", "a/2.jpg", "3.jpg"])
    write_photos(tmp_path, ["3.jpg"])
    names = ["1.jpg", "a/2.jpg", f"{folder}/1.jpg", "3.jpg"]
    write_csv(tmp_path / "captions.csv", ["image", "caption"], [(name, name) for name in names])
    assert captions_of(open_dataset(tmp_path)) == {
        f"{folder}/1.jpg": ("1.jpg", f"{folder}/1.jpg"),
        f"{folder}/a/2.jpg": ("a/2.jpg",),
        "3.jpg": ("3.jpg",),
    }


def test_columns_may_have_the_names_of_hugging_face(tmp_path):
    write_photos(tmp_path, ["1.jpg"])
    write_csv(tmp_path / "my.csv", ["file_name", "text"], [("1.jpg", "one")])
    write_jsonl(tmp_path / "my.jsonl", [{"file_name": "1.jpg", "text": "one"}])
    for name in ("my.csv", "my.jsonl"):
        assert captions_of(open_dataset(tmp_path / name)) == {"1.jpg": ("one",)}


def test_table_with_the_usual_columns_takes_precedence(tmp_path):
    write_own(tmp_path)
    write_csv(tmp_path / "signs.csv", ["filename", "text"], [("dog.jpg", "STOP")])
    assert captions_of(open_dataset(tmp_path)) == DOGS
