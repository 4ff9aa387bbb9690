"""Scores of photos in shards: those of the same photos loose, with the same page of pictures."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from showtell.cli import main
from showtell.data.synthetic.shapes import draw_shapes
from support.tiny_bundles import write_bundle


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    return int(ended.value.code or 0)


@pytest.mark.usefixtures("no_java")
def test_evaluate_scores_shards_as_it_scores_the_photos(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_bundle(tmp_path / "tiny")
    loose = tmp_path / "drawn"
    draw_shapes(loose, 40, size=32)
    shards = tmp_path / "shards"
    run("data", "shards", loose, shards, "--photos-per-shard", 2)
    found, pages = [], []
    for data in (loose, shards):
        out = tmp_path / data.name
        code = run(
            "evaluate",
            tmp_path / "tiny",
            "--data",
            data,
            "--json",
            f"{out}.json",
            "--report",
            f"{out}.html",
        )
        assert code == 0, capsys.readouterr().err
        found.append(json.loads(Path(f"{out}.json").read_text()))
        pages.append(Path(f"{out}.html").read_text())
    for one in found:
        del one["seconds"], one["dataset"]
        for photo in one["photos"]:
            del photo["path"]
    assert found[0] == found[1]
    assert pages[1].count("data:image/jpeg") == pages[0].count("data:image/jpeg") == 4

    (shards / "dev-000001.tar").unlink()
    capsys.readouterr()
    assert run("evaluate", tmp_path / "tiny", "--data", shards) == 1
    assert "dev-000001.tar: no such file: download it again" in capsys.readouterr().err
    assert run("evaluate", tmp_path / "tiny", "--data", shards, "--on-broken", "skip") == 0
    assert "all (2)" in capsys.readouterr().out
