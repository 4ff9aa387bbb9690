"""Pictures of one or several runs, finished or not."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner
from PIL import Image

from showtell.cli.plot import plot as plot_command
from showtell.data.dataset import CaptionedPhoto
from showtell.errors import TrainingError
from showtell.training.dev_captions import read_dev_captions, write_dev_captions
from showtell.training.history import read_history
from showtell.training.plots import plot_runs

PHOTOS = [
    CaptionedPhoto(f"{n}.jpg", Path(f"{n}.jpg"), ("a dog runs", "one zebra stands here"), "dev")
    for n in range(30)
]


def made_run(folder: Path, *, epochs: int = 3, reward: bool = False, slow: float = 1.0) -> Path:
    folder.mkdir(parents=True)
    lines = []
    for epoch in range(epochs):
        for step in (1, 20, 40):
            entry = {"event": "step", "stage": 0, "epoch": epoch, "step": step}
            lines.append(entry | {"loss": 5.0 - epoch, "learning_rate": 1e-3})
        entry = {"event": "epoch", "stage": 0, "epoch": epoch, "seconds": 60.0 * slow * (epoch + 1)}
        lines.append(entry | {"loss": 4.5 - epoch, "cider": 20.0 + 10 * epoch})
        write_dev_captions(folder, 0, epoch, PHOTOS, ["a dog runs"] * 29 + ["a dog runs fast"])
    if reward:
        entry = {"event": "step", "stage": 1, "epoch": 0, "step": 1, "loss": -0.2}
        lines.append(entry | {"learning_rate": 1e-5, "reward": 0.4})
    (folder / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def texts(svg: Path) -> str:
    """All text of an SVG: matplotlib keeps it in comments beside its outlines."""
    return "\n".join(re.findall(r"<!-- (.*?) -->", svg.read_text("utf-8")))


def test_one_run_becomes_a_png_with_300_dpi_and_an_svg(tmp_path: Path) -> None:
    files = plot_runs([made_run(tmp_path / "one")], tmp_path / "picture")
    assert [file.name for file in files] == ["picture.png", "picture.svg"]
    with Image.open(files[0]) as picture:
        assert picture.width == 2160
        assert len(picture.convert("L").getcolors(256) or []) > 10
    labels = texts(files[1])
    for title in ("Training loss", "Learning rate", "CIDEr on dev", "40.0", "one", "people"):
        assert title in labels
    for word in ("dog", "zebra"):  # said by the run, said by people alone
        assert word in labels.splitlines()


def test_several_runs_share_a_picture_and_equal_names_are_numbered(tmp_path: Path) -> None:
    runs = [made_run(tmp_path / name / "run") for name in ("here", "there")]
    runs.append(made_run(tmp_path / "third", reward=True))
    (file,) = plot_runs(runs, tmp_path / "all.svg")
    labels = texts(file)
    for name in ("run (1)", "run (2)", "third", "Reward of sampled captions"):
        assert name in labels.splitlines()


def test_the_same_run_gives_the_same_file(tmp_path: Path) -> None:
    run = made_run(tmp_path / "one")
    first, second = (plot_runs([run], tmp_path / f"{n}.svg")[0].read_bytes() for n in "ab")
    assert first == second


def test_curves_are_drawn_over_epochs_or_minutes(tmp_path: Path) -> None:
    history = read_history(made_run(tmp_path / "one", slow=2))
    cider = history.scores["cider"]
    assert (cider.epochs, cider.minutes) == ([1.0, 2.0, 3.0], [2.0, 4.0, 6.0])
    loss = history.steps["loss"]
    assert loss.epochs == sorted(loss.epochs)
    assert 1 < loss.epochs[3] < 1.1
    assert loss.minutes == pytest.approx([2 * epoch for epoch in loss.epochs])
    assert "loss" not in history.scores


def test_an_unfinished_run_is_drawn_up_to_its_last_step(tmp_path: Path) -> None:
    run = made_run(tmp_path / "going", epochs=0)
    step = {"event": "step", "stage": 0, "epoch": 0, "step": 1, "loss": 7.0, "learning_rate": 1e-3}
    (run / "log.jsonl").write_text(json.dumps(step) + '\n{"event": "st')
    assert plot_runs([run], tmp_path / "going.png")[0].stat().st_size > 10_000


def test_a_self_critical_loss_is_not_drawn_as_cross_entropy(tmp_path: Path) -> None:
    history = read_history(made_run(tmp_path / "one", reward=True))
    assert min(history.steps["loss"].values) > 0
    assert history.steps["self_critical_loss"].values == [-0.2]
    assert history.stages == (3,)


def test_captions_of_all_photos_are_kept_next_to_a_few_to_read(tmp_path: Path) -> None:
    run = made_run(tmp_path / "one")
    captions = read_dev_captions(run)
    assert len(captions.epochs) == 3
    assert captions.epochs[-1].captions[-1] == "a dog runs fast"
    assert len(captions.references) == 30
    for file in (run / "samples").glob("*.jsonl"):
        file.unlink()
    few = read_dev_captions(run)
    assert few.epochs[-1].captions == ("a dog runs",) * 12
    assert few.references == (PHOTOS[0].captions,) * 12


def test_a_folder_without_a_log_is_named(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"nowhere: no log\.jsonl: not a training run"):
        plot_runs([tmp_path / "nowhere"], tmp_path / "x.png")
    (tmp_path / "log.jsonl").write_text("")
    with pytest.raises(TrainingError, match="the log is empty"):
        plot_runs([tmp_path], tmp_path / "x.png")


def test_the_command_prints_its_files_and_refuses_other_formats(tmp_path: Path) -> None:
    run = made_run(tmp_path / "one")
    done = CliRunner().invoke(plot_command, [str(run), "-o", str(tmp_path / "v1.2.png")])
    assert (done.exit_code, done.output) == (0, f"{tmp_path / 'v1.2.png'}\n")
    done = CliRunner().invoke(plot_command, [str(run), "-o", str(tmp_path / "x.jpg")])
    assert done.exit_code == 2
    assert "the suffix must be one of .png, .svg, .pdf" in done.output
