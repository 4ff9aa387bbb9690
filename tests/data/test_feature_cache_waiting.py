"""Waiting for another process that computes the same features: it is said, and not for ever."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
from filelock import FileLock

from showtell.data import feature_cache as features_module
from showtell.data.dataset import CaptionedPhoto
from showtell.data.feature_cache import PROGRESS_FILE, cache_key, extract_features
from showtell.errors import DatasetError
from support.feature_encoders import SHAPES, SIZE, Encode, photos_in


@pytest.fixture
def photos(tmp_path: Path) -> list[CaptionedPhoto]:
    return photos_in(tmp_path / "photos", 10)


@pytest.fixture
def filling(photos: list[CaptionedPhoto], tmp_path: Path) -> Iterator[FileLock]:
    """The lock of another process, which has done four of ten photos."""
    folder = tmp_path / "cache" / cache_key(photos, "abc", SIZE, "plain", sorted(SHAPES))
    folder.mkdir(parents=True)
    (folder / PROGRESS_FILE).write_text(json.dumps({"done": 4, "bad": {}}))
    with FileLock(folder / "lock") as lock:
        yield lock


def test_a_stuck_process_is_an_error_that_names_the_cache(
    photos: list[CaptionedPhoto],
    filling: FileLock,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(features_module, "STUCK_AFTER", -1.0)
    with pytest.raises(DatasetError, match=r"has made no progress .* feature_cache=DIR") as caught:
        extract_features(photos, Encode(), "abc", SHAPES, SIZE, tmp_path / "cache")
    assert str(Path(filling.lock_file).parent) in str(caught.value)


def test_a_working_process_is_waited_for_and_its_progress_reported(
    photos: list[CaptionedPhoto],
    filling: FileLock,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    told: list[int] = []

    def progress(done: int) -> None:
        told.append(done)
        filling.release()  # the other has died: what it left is gone on with

    caplog.set_level(logging.INFO)
    encode = Encode()
    extract_features(
        photos,
        encode,
        "abc",
        SHAPES,
        SIZE,
        tmp_path / "cache",
        batch_size=4,
        threads=3,
        progress=progress,
    )
    assert told[0] == 4
    assert told[-1] == 10
    assert caplog.messages.count("waiting for another process that computes the same features") == 1


def test_waiting_can_be_interrupted(
    photos: list[CaptionedPhoto], filling: FileLock, tmp_path: Path
) -> None:
    def stop(done: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        extract_features(photos, Encode(), "abc", SHAPES, SIZE, tmp_path / "cache", progress=stop)
    assert filling.is_locked
