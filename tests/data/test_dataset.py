"""`Dataset`: its splits, and the first photos of each."""

from __future__ import annotations

from pathlib import Path

import pytest

from showtell.data import CaptionedPhoto, Dataset

SPLITS = {"train": 5, "dev": 2, "test": 3}


@pytest.fixture
def dataset() -> Dataset:
    photos = [
        CaptionedPhoto(f"{split}{number}.jpg", Path(split), ("a dog",), split)
        for number in range(5)
        for split, count in SPLITS.items()
        if number < count
    ]
    return Dataset(Path("data"), "made up", tuple(photos))


def names(dataset: Dataset, split: str) -> list[str]:
    return [photo.name for photo in dataset.split(split)]


def test_a_limit_keeps_the_first_photos_of_each_split_in_their_order(dataset: Dataset) -> None:
    limited = dataset.first(3)
    assert {split: len(limited.split(split)) for split in SPLITS} == {
        "train": 3,
        "dev": 2,
        "test": 3,
    }
    assert all(names(limited, split) == names(dataset, split)[:3] for split in SPLITS)
    assert limited.shortened == {"train"}


def test_a_limit_of_zero_keeps_all_photos(dataset: Dataset) -> None:
    assert dataset.first(0) is dataset
    assert not dataset.shortened


def test_a_negative_limit_is_refused(dataset: Dataset) -> None:
    with pytest.raises(ValueError, match="limit: must be 0"):
        dataset.first(-1)
