"""Shards that are broken: each is named, and is an error or is left out."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from showtell.data import open_dataset
from showtell.data.shards.index import ShardError, is_shards
from showtell.data.shards.write import write_shards
from showtell.errors import PhotoError
from support.shard_folders import change, made_dataset


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    """Shards of ten photos: four of train, two of dev."""
    loose = made_dataset(tmp_path / "loose", {"train": 40, "dev": 20})
    write_shards(loose, tmp_path / "shards", photos_per_shard=10)
    return tmp_path / "shards"


def cut_off(folder: Path) -> str:
    os.truncate(folder / "train-000001.tar", 5 * 1024)
    return "train-000001.tar: cut off: 5,120 bytes, not "


def gone(folder: Path) -> str:
    (folder / "train-000001.tar").unlink()
    return "train-000001.tar: no such file"


def table_gone(folder: Path) -> str:
    (folder / "train-000001.jsonl").unlink()
    return "train-000001.jsonl: no such file"


def table_damaged(folder: Path) -> str:
    change(folder, "train-000001.jsonl", 200)
    return "train-000001.jsonl: damaged: its checksum is not the one in index.json"


def test_shards_are_recognised_by_path_or_text(shards: Path, tmp_path: Path) -> None:
    assert all(map(is_shards, (shards, str(shards), "s3://bucket/shards")))
    assert not any(map(is_shards, (tmp_path, str(tmp_path))))


BREAKAGES = [cut_off, gone, table_gone, table_damaged]


@pytest.mark.parametrize("damage", BREAKAGES)
def test_a_broken_shard_is_named_and_an_error(damage: Callable[[Path], str], shards: Path) -> None:
    fault = damage(shards)
    with pytest.raises(ShardError) as error:
        open_dataset(shards)
    assert str(error.value).startswith(f"{shards}/{fault}")
    assert str(error.value).endswith("leave it out with --on-broken skip (on_broken='skip')")


@pytest.mark.parametrize("damage", BREAKAGES)
def test_a_broken_shard_is_left_out_with_a_warning(
    damage: Callable[[Path], str], shards: Path, caplog: pytest.LogCaptureFixture
) -> None:
    fault = damage(shards)
    caplog.set_level(logging.WARNING)
    dataset = open_dataset(shards, on_broken="skip")
    names = {photo.name for photo in dataset.split("train")}
    assert names == {f"train-{n}.jpg" for n in range(40) if not 10 <= n < 20}
    assert len(dataset.split("dev")) == 20
    [message] = caplog.messages
    assert message.startswith(f"left out: {shards}/{fault}")


def test_a_photo_whose_bytes_changed_is_an_error_when_it_is_read(shards: Path) -> None:
    photos = open_dataset(shards).split("train")
    change(shards, "train-000001.tar", photos[13].path.offset + 3)  # type: ignore[union-attr]
    with pytest.raises(PhotoError, match=r"^damaged: its checksum is another"):
        photos[13].path.read_bytes()
    for number in (12, 14):
        assert photos[number].path.read_bytes()
