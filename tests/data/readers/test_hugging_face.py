"""Image folders as Hugging Face's `datasets` reads them."""

from __future__ import annotations

from pathlib import Path

import pytest

from showtell.data import open_dataset
from showtell.data.readers.splits import split_by_hash
from showtell.errors import DatasetError
from support.dataset_folders import (
    captions_of,
    splits_of,
    write_csv,
    write_jsonl,
    write_own,
    write_photos,
)


def metadata(folder: Path, kind: str, rows: list[tuple[str, str]], caption: str = "text") -> None:
    if kind == "csv":
        write_csv(folder / "metadata.csv", ["file_name", caption], rows)
    else:
        lines = [{"file_name": name, caption: text} for name, text in rows]
        write_jsonl(folder / "metadata.jsonl", lines)


@pytest.mark.parametrize("caption", ["text", "caption"])
@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_metadata_beside_the_photos_is_read(tmp_path: Path, kind: str, caption: str) -> None:
    write_photos(tmp_path, ["1.jpg", "a/2.jpg"])
    metadata(tmp_path, kind, [("1.jpg", "one"), ("./a/2.jpg", "two"), ("1.jpg", "un")], caption)
    dataset = open_dataset(tmp_path)
    assert dataset.layout == "Hugging Face image folder"
    assert captions_of(dataset) == {"1.jpg": ("one", "un"), "a/2.jpg": ("two",)}
    assert splits_of(dataset) == {name: split_by_hash(name) for name in ("1.jpg", "a/2.jpg")}
    assert captions_of(open_dataset(tmp_path / f"metadata.{kind}")) == captions_of(dataset)


@pytest.mark.parametrize("top", ["", "data"])
@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_folders_are_the_splits(tmp_path: Path, kind: str, top: str) -> None:
    for split in ("train", "validation", "test"):
        write_photos(tmp_path / top / split, ["1.jpg"])
        metadata(tmp_path / top / split, kind, [("1.jpg", split)])
    dataset = open_dataset(tmp_path)
    assert splits_of(dataset) == {
        "train/1.jpg": "train",
        "validation/1.jpg": "dev",
        "test/1.jpg": "test",
    }
    assert captions_of(dataset)["validation/1.jpg"] == ("validation",)


def test_one_metadata_file_may_name_the_photos_of_all_splits(tmp_path: Path) -> None:
    write_photos(tmp_path, ["train/1.jpg", "val/2.jpg"])
    metadata(tmp_path, "jsonl", [("train/1.jpg", "one"), ("val/2.jpg", "two")])
    assert splits_of(open_dataset(tmp_path)) == {"train/1.jpg": "train", "val/2.jpg": "dev"}


def test_column_of_splits_is_used(tmp_path: Path) -> None:
    write_photos(tmp_path, ["1.jpg"])
    write_csv(tmp_path / "metadata.csv", ["file_name", "text", "split"], [("1.jpg", "x", "test")])
    assert splits_of(open_dataset(tmp_path)) == {"1.jpg": "test"}


@pytest.mark.parametrize(
    "name", ["../1.jpg", "/etc/passwd", "a/../../1.jpg", "..\\1.jpg", "C:/1.jpg"]
)
def test_photos_are_inside_the_folder(tmp_path: Path, name: str) -> None:
    write_photos(tmp_path, ["1.jpg"])
    metadata(tmp_path / "set", "jsonl", [(name, "x")])
    with pytest.raises(DatasetError, match=r"metadata\.jsonl:1: a photo must be inside the folder"):
        open_dataset(tmp_path / "set")


def test_metadata_without_captions_is_no_dataset(tmp_path: Path) -> None:
    write_own(tmp_path)
    write_csv(tmp_path / "metadata.csv", ["file_name", "label"], [("dog.jpg", "7")])
    assert open_dataset(tmp_path).layout == "your own"


def test_own_table_called_metadata_is_read_as_before(tmp_path: Path) -> None:
    write_photos(tmp_path / "album", ["1.jpg"])
    write_csv(tmp_path / "set" / "metadata.csv", ["image", "caption"], [("../album/1.jpg", "x")])
    assert open_dataset(tmp_path / "set").layout == "your own"
