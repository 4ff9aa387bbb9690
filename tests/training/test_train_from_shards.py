"""Training from shards on disk, on a server, and with a broken shard."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from showtell.data import open_dataset
from showtell.data.shards.write import write_shards
from support.file_server import serve
from support.training_runs import Training, assert_same_run


@pytest.fixture
def shards(shapes: Path, tmp_path: Path) -> Path:
    write_shards(open_dataset(shapes), tmp_path / "shards", photos_per_shard=6)
    return tmp_path / "shards"


def test_training_from_shards_on_disk_equals_training_from_photos(
    train: Training, shards: Path, never_killed: Path, tmp_path: Path
) -> None:
    ended = train(tmp_path / "run", data=shards)  # features of a frozen encoder, then pixels
    assert ended.code == 0, ended.stderr
    assert_same_run(never_killed, tmp_path / "run")


def test_a_run_from_photos_resumes_from_their_shards(
    train: Training, shards: Path, never_killed: Path, tmp_path: Path
) -> None:
    assert train(tmp_path / "run", step=3).code != 0
    ended = train(tmp_path / "run", data=shards, resume=True)
    assert ended.code == 0, ended.stderr
    assert_same_run(never_killed, tmp_path / "run")


def test_training_from_shards_on_a_server_is_reproducible(
    train: Training, shards: Path, tmp_path: Path
) -> None:
    with serve({f"/set/{path.name}": path.read_bytes() for path in shards.iterdir()}) as server:
        for run in ("one", "two"):
            ended = train(tmp_path / run, data=f"{server.url}/set")  # type: ignore[arg-type]
            assert ended.code == 0, ended.stderr
        assert server.requests
    assert_same_run(tmp_path / "one", tmp_path / "two")


def test_a_broken_shard_ends_training_or_is_skipped_as_requested(
    train: Training, shards: Path, tmp_path: Path
) -> None:
    (shards / "train-000001.tar").write_bytes(b"cut off")
    ended = train(tmp_path / "run", data=shards)
    assert ended.code == 1
    [line] = ended.stderr.splitlines()
    assert line.startswith(f"showtell: {shards}/train-000001.tar: cut off: 7 bytes, not ")
    assert line.endswith("leave it out with --on-broken skip (on_broken='skip')")

    ended = train(tmp_path / "run", "--on-broken", "skip", data=shards)
    assert ended.code == 0, ended.stderr
    assert f"left out: {shards}/train-000001.tar: cut off" in ended.stderr
    kept = json.loads((tmp_path / "run" / "run.json").read_text())
    assert kept["data"]["photos"]["train"]["count"] == 20 - 6
