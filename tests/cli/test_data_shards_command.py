"""`showtell data shards`: packed, and checked from the command line."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from showtell.cli import main
from showtell.data.synthetic.shapes import draw_shapes


@pytest.fixture(scope="module")
def loose(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shapes") / "drawn"
    draw_shapes(folder, 40, size=32)
    return folder


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    return int(ended.value.code or 0)


def test_shards_packs_a_dataset_and_prints_a_summary(
    loose: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shards = tmp_path / "shards"
    assert run("data", "shards", loose, shards, "--photos-per-shard", 10, "--workers", 1) == 0
    said = f"40 photos in 6 shards, 0 MB, in {shards}\n"
    assert capsys.readouterr() == (said, "")
    assert run("data", "shards", loose, shards, "--photos-per-shard", 10) == 0
    assert capsys.readouterr() == (said, "")
    dev = tmp_path / "dev"
    assert run("data", "shards", loose, dev, "--split", "dev", "--split", "test") == 0
    assert sorted(path.name for path in dev.iterdir()) == [
        "dev-000000.jsonl",
        "dev-000000.tar",
        "index.json",
        "test-000000.jsonl",
        "test-000000.tar",
    ]


def test_wrong_usage_is_reported_on_one_line(
    loose: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("data", "shards", loose, "s3://bucket/set") == 2
    assert "shards are written to a folder on disk" in capsys.readouterr().err
    assert run("data", "shards", loose, tmp_path / "x", "--split", "val") == 2
    assert run("data", "shards", tmp_path / "nothing", tmp_path / "x") == 1
    assert not (tmp_path / "x").exists()


def test_check_names_broken_shards_and_photos(
    loose: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shards = tmp_path / "shards"
    run("data", "shards", loose, shards, "--photos-per-shard", 10)
    capsys.readouterr()
    assert run("data", "check", loose) == 0
    held = capsys.readouterr().out.splitlines()[1:]
    assert run("data", "check", shards) == 0
    assert capsys.readouterr().out.splitlines()[1:] == held

    os.truncate(shards / "train-000001.tar", 2000)
    data = bytearray((shards / "dev-000000.tar").read_bytes())
    data[600] ^= 1
    (shards / "dev-000000.tar").write_bytes(data)
    (shards / "test-000000.tar").unlink()
    assert run("data", "check", shards) == 1
    lines = capsys.readouterr().out.splitlines()
    assert "splits: train 22, dev 4, test 0" in lines
    found = [line.replace(str(shards), "SHARDS") for line in lines if ":" in line][-4:]
    assert [line[:64] for line in found] == [
        "broken shard: train-000001.tar: SHARDS/train-000001.tar: cut off",
        "broken shard: dev-000000.tar: SHARDS/dev-000000.tar: damaged: it",
        "broken shard: test-000000.tar: SHARDS/test-000000.tar: no such f",
        "unreadable: photos/00032.png: damaged: its checksum is another t",
    ]
    assert lines[-1] == "4 to repair"
