"""`showtell train`: its messages, files and errors."""

from __future__ import annotations

import json
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
import torch

from showtell.data import open_dataset
from showtell.data.dataset import fingerprint
from showtell.data.synthetic.shapes import draw_shapes
from showtell.errors import BundleError, TrainingError
from showtell.scoring.metrics import cider
from showtell.training.checkpoint import Checkpoints, read_tensors
from showtell.training.run_folder import open_run
from support.training_runs import STEPS, Training, assert_same_run, log_of

SHORT = {"stages": [{"epochs": 1}]}
ENCODER_ONLY = {"stages": [{"epochs": 1, "train_encoder": "all"}]}


@pytest.fixture(scope="session")
def short_run(tmp_path_factory: pytest.TempPathFactory, commands: Any, shapes: Path) -> Path:
    folder = tmp_path_factory.mktemp("short")
    assert Training(commands, shapes, folder)(folder / "run", recipe=SHORT).code == 0
    return folder / "run"


@pytest.fixture
def finished(short_run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(short_run, tmp_path / "finished"))


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    """Shapes of which two training photos and a dev photo cannot be read."""
    draw_shapes(tmp_path / "broken", 24, size=32)
    for number, content in ((1, b""), (4, b"\x89PNG\r\n\x1a\nnothing more"), (20, b"no photo")):
        (tmp_path / "broken" / "photos" / f"{number:05d}.png").write_bytes(content)
    return tmp_path / "broken"


def error_line(text: str) -> str:
    """The one line that a failed command ends with."""
    lines = [line for line in text.splitlines() if line.startswith("showtell: ")]
    assert len(lines) == 1, text
    assert "Traceback" not in text
    return lines[0].removeprefix("showtell: ")


def test_a_run_reports_the_next_command_and_keeps_stdout_empty(
    train: Training, tmp_path: Path
) -> None:
    ended = train(tmp_path / "run", recipe=SHORT)
    assert (ended.code, ended.stdout) == (0, "")
    assert f"Next: showtell evaluate {tmp_path / 'run'} --data" in ended.stderr
    assert "no dev photos with captions" not in ended.stderr
    assert "stage 1 epoch 1: loss " in ended.stderr
    assert "\r" not in ended.stderr  # nobody watches, so no progress bar


def test_a_run_folder_describes_its_recipe_and_data(short_run: Path, shapes: Path) -> None:
    description = json.loads((short_run / "run.json").read_text())
    assert description["recipe"]["encoder"] == "test_efficientnet"
    assert description["encoder"]["grid"] == [2, 2]
    assert description["data"]["photos"]["train"]["count"] == 20
    run = open_run(short_run)
    assert not run.model.training
    train_words = {w for p in open_dataset(shapes).split("train") for w in p.captions[0].split()}
    assert train_words <= set(run.vocabulary.words)
    assert list((short_run / "tensorboard").glob("events.out.*"))


def test_a_limited_run_trains_on_the_first_photos_and_records_it(
    train: Training, tmp_path: Path, shapes: Path
) -> None:
    ended = train(tmp_path / "run", "--limit", "7", recipe=SHORT)
    assert ended.code == 0, ended.stderr
    assert "2 training steps: expect a few frequent words" in ended.stderr
    description = json.loads((tmp_path / "run" / "run.json").read_text())
    assert description["recipe"]["limit"] == 7
    assert description["data"]["photos"]["train"] == {
        "count": 7,
        "captions": sum(len(photo.captions) for photo in open_dataset(shapes).split("train")[:7]),
        "fingerprint": fingerprint(
            [photo.name for photo in open_dataset(shapes).split("train")[:7]]
        ),
    }
    again = train(tmp_path / "run", "limit=7", recipe=SHORT, resume=True)
    assert again.code == 0, again.stderr


def test_samples_are_captioned_dev_photos(short_run: Path, shapes: Path) -> None:
    lines = (short_run / "samples" / "stage0-epoch00.txt").read_text().splitlines()
    dev = open_dataset(shapes).split("dev")
    assert [line for line in lines if line.endswith(".png")] == [photo.name for photo in dev]
    captions = [line.removeprefix("  said: ") for line in lines if line.startswith("  said: ")]
    assert len(captions) == len(dev)
    assert all(captions)
    assert [line.removeprefix("  ref:  ") for line in lines if line.startswith("  ref:")] == [
        text for photo in dev for text in photo.captions
    ]
    epoch = log_of(short_run)[-1]
    assert epoch["event"] == "epoch"
    assert epoch["cider"] == pytest.approx(cider(captions, [p.captions for p in dev]), abs=1e-3)


def test_the_best_weights_are_those_of_the_best_epoch(train: Training, tmp_path: Path) -> None:
    ended = train(tmp_path / "run", recipe={"stages": [{"epochs": 3, "learning_rate": 0.03}]})
    assert ended.code == 0
    scores = [line["cider"] for line in log_of(tmp_path / "run") if line["event"] == "epoch"]
    progress = Checkpoints(tmp_path / "run").progress("best")
    assert progress.epoch == scores.index(max(scores))
    assert progress.best_score == pytest.approx(max(scores), abs=1e-3)


def test_the_last_epoch_is_kept_where_dev_photos_are_too_few_to_choose(
    train: Training, tmp_path: Path
) -> None:
    stages = [{"epochs": 3, "learning_rate": 0.03}]
    ended = train(tmp_path / "run", recipe={"stages": stages, "min_dev_photos": 3})
    assert ended.code == 0
    assert (
        "2 dev photos are too few to choose the best epoch: the last epoch is kept" in ended.stderr
    )
    scores = [line["cider"] for line in log_of(tmp_path / "run") if line["event"] == "epoch"]
    assert scores.index(max(scores)) < 2  # another epoch has the best score
    assert Checkpoints(tmp_path / "run").progress("best").epoch == 2


@pytest.mark.parametrize("init_checkpoint", ["best", "last"])
def test_a_stage_starts_from_the_checkpoint_that_its_recipe_names(
    init_checkpoint: str, train: Training, tmp_path: Path
) -> None:
    run, first = tmp_path / "run", {"epochs": 3, "learning_rate": 0.03, "average": 0.9}
    first |= {"interpolation": 0.8}
    assert train(run, recipe={"stages": [first]}).code == 0
    kept = Checkpoints(run)
    assert kept.progress("best").epoch < 2  # so that the two differ
    expected = {
        "best": kept.tensors("best", "model"),
        "last": kept.tensors("last", "model") | kept.tensors("last", "kept"),
    }
    still = {
        "epochs": 1,
        "learning_rate": 1e-12,
        "weight_decay": 0,
        "init_checkpoint": init_checkpoint,
    }
    assert train(run, recipe={"stages": [first, still]}, resume=True).code == 0
    now = kept.tensors("last", "model")
    assert kept.progress("last").stage == 1
    for name, tensor in now.items():
        assert torch.allclose(tensor, expected[init_checkpoint][name], atol=1e-6), name
    other = expected["last" if init_checkpoint == "best" else "best"]
    assert any(not torch.allclose(tensor, other[name], atol=1e-4) for name, tensor in now.items())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_saves_reports_it_and_the_run_resumes_exactly(
    number: signal.Signals, train: Training, never_killed: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    ended = train(run, "save_steps=0", step=STEPS + 3, number=number)
    assert ended.code == 1
    position = "stage 0, epoch 1, step 3"
    assert (
        error_line(ended.stderr) == f"stopped at {position}, all saved: resume with --resume auto"
    )
    assert Checkpoints(run).progress("last").step == 3
    if number == signal.SIGTERM:
        ended = train(run, "save_steps=0", resume=True, step=2 * STEPS, number=number)
        assert ended.code == 1
    assert train(run, "save_steps=0", resume=True).code == 0
    assert_same_run(never_killed, run)


def test_ctrl_c_while_features_are_computed_gives_one_line(train: Training, tmp_path: Path) -> None:
    cache = tmp_path / "features"
    ended = train(
        tmp_path / "run",
        f"feature_cache={cache}",
        recipe=SHORT,
        change=4,
        folder=cache,
        number=signal.SIGINT,
    )
    assert ended.code == 1
    assert error_line(ended.stderr) == "stopped: resume with --resume auto"
    assert train(tmp_path / "run", f"feature_cache={cache}", recipe=SHORT, resume=True).code == 0


def test_a_folder_with_a_run_is_not_overwritten(train: Training, finished: Path) -> None:
    ended = train(finished, recipe=SHORT)
    assert ended.code == 1
    assert error_line(ended.stderr) == (
        f"{finished}: already holds a run: resume it with --resume auto, or choose another --output"
    )


def test_resume_auto_starts_a_new_run_in_an_empty_folder(train: Training, tmp_path: Path) -> None:
    assert train(tmp_path / "run", recipe=SHORT, resume=True).code == 0


@pytest.mark.parametrize(
    ("override", "key"),
    [
        ("batch_photos=5", "batch_photos"),
        ("stages.0.learning_rate=1e-5", "stages"),
        ("decoder.hidden=8", "decoder"),
        ("seed=7", "seed"),
        ("limit=5", "limit"),
    ],
)
def test_resume_with_another_recipe_names_the_different_key(
    override: str, key: str, train: Training, finished: Path
) -> None:
    ended = train(finished, override, recipe=SHORT, resume=True)
    assert ended.code == 1
    assert error_line(ended.stderr).startswith(
        f"{finished}: this run was started with another '{key}'"
    )


def test_resume_may_change_how_a_run_is_saved(
    train: Training, finished: Path, tmp_path: Path
) -> None:
    changes = ("save_steps=1", "save_minutes=1", f"feature_cache={tmp_path / 'c'}", "device=cpu")
    assert train(finished, *changes, recipe=SHORT, resume=True).code == 0


def test_resume_on_other_photos_is_refused(train: Training, finished: Path, tmp_path: Path) -> None:
    draw_shapes(tmp_path / "more", 25, size=32)
    ended = train(finished, recipe=SHORT, resume=True, data=tmp_path / "more")
    assert ended.code == 1
    assert "this run was started on other photos than" in error_line(ended.stderr)


@pytest.mark.parametrize("stage", [0, 1])
def test_diverging_training_stops_and_keeps_the_last_checkpoint(
    stage: int, train: Training, tmp_path: Path
) -> None:
    rates = [f"stages.{stage}.learning_rate=1e30", "stages.1.encoder_learning_rate=1e30"]
    ended = train(tmp_path / "run", "save_steps=1", *rates[: stage + 1])
    assert ended.code == 1
    message = error_line(ended.stderr)
    assert f"at stage {stage}, epoch 0" in message
    assert "the last checkpoint is intact" in message
    checkpoints = Checkpoints(tmp_path / "run")
    assert checkpoints.has("last") == bool(stage)
    if stage:
        run = open_run(tmp_path / "run")
        assert all(p.isfinite().all() for p in run.model.parameters())
        last = checkpoints.tensors("last", "model")
        assert all(tensor.isfinite().all() for tensor in last.values())
        assert checkpoints.progress("last").stage == 0


@pytest.mark.parametrize("recipe", [SHORT, ENCODER_ONLY], ids=["frozen", "encoder trained"])
def test_unreadable_photos_are_named_and_left_out(
    recipe: dict[str, Any], train: Training, broken: Path, tmp_path: Path
) -> None:
    ended = train(tmp_path / "run", recipe=recipe, data=broken)
    assert ended.code == 0, ended.stderr
    for number in (1, 4, 20):
        lines = [line for line in ended.stderr.splitlines() if f"{number:05d}.png" in line]
        assert lines, ended.stderr
        assert all(line.startswith("left out: ") for line in lines)
    [sample] = (tmp_path / "run" / "samples").glob("*.txt")
    assert "00021.png" in sample.read_text()
    assert "00020.png" not in sample.read_text()


@pytest.mark.parametrize("recipe", [SHORT, ENCODER_ONLY], ids=["frozen", "encoder trained"])
def test_no_readable_photo_is_an_error(
    recipe: dict[str, Any], train: Training, broken: Path, tmp_path: Path
) -> None:
    for path in sorted((broken / "photos").iterdir())[20:22]:
        path.write_bytes(b"")
    ended = train(tmp_path / "dev", recipe=recipe, data=broken)
    assert ended.code == 1
    assert "no dev photo can be read" in error_line(ended.stderr)
    for path in (broken / "photos").iterdir():
        path.write_bytes(b"")
    ended = train(tmp_path / "train", recipe=recipe, data=broken)
    assert ended.code == 1
    assert "no training photo that can be read has captions" in error_line(ended.stderr)


def test_a_photo_that_breaks_between_kill_and_resume_is_named_and_left_out(
    train: Training, shapes: Path, tmp_path: Path
) -> None:
    data = Path(shutil.copytree(shapes, tmp_path / "data"))
    assert train(tmp_path / "run", data=data, step=3 * STEPS).code == -signal.SIGKILL
    photo = data / "photos" / "00003.png"
    stat = photo.stat()
    photo.write_bytes(b"x" * stat.st_size)  # the same size and time: as on a bad disk
    os.utime(photo, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    ended = train(tmp_path / "run", data=data, resume=True)
    assert ended.code == 0
    assert f"left out: {photo}: " in ended.stderr


def test_a_run_with_an_added_stage_equals_one_started_with_it(
    train: Training, finished: Path, tmp_path: Path
) -> None:
    both = {"stages": [*SHORT["stages"], {"epochs": 1, "learning_rate": 1e-4}]}
    assert train(finished, recipe=both, resume=True).code == 0
    assert train(tmp_path / "whole", recipe=both).code == 0
    assert_same_run(tmp_path / "whole", finished)
    ended = train(finished, recipe=SHORT, resume=True)  # but none is taken away again
    assert "this run was started with another 'stages'" in error_line(ended.stderr)


def test_data_without_training_photos_is_an_error(train: Training, tmp_path: Path) -> None:
    draw_shapes(tmp_path / "data", 3, size=32)
    table = tmp_path / "data" / "captions.jsonl"
    table.write_text(table.read_text().replace('"train"', '"dev"'))
    ended = train(tmp_path / "run", data=tmp_path / "data", recipe=SHORT)
    assert ended.code == 1
    assert "the split train has no photos" in error_line(ended.stderr)


def test_data_without_dev_photos_is_judged_on_training_photos_with_a_warning(
    train: Training, tmp_path: Path
) -> None:
    draw_shapes(tmp_path / "data", 8, size=32)
    table = tmp_path / "data" / "captions.jsonl"
    table.write_text(table.read_text().replace('"dev"', '"train"').replace('"test"', '"train"'))
    ended = train(tmp_path / "run", data=tmp_path / "data", recipe=SHORT)
    assert ended.code == 0, ended.stderr
    assert "epochs are scored on 8 training photos" in ended.stderr
    assert log_of(tmp_path / "run")[-1]["event"] == "epoch"


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("min_count=9999", "no word occurs 9999 times in the training captions: lower min_count"),
        ("device=tpu", "device: 'tpu' cannot be used"),
        ("encoder_weights=gone.safetensors", "gone.safetensors: no such file"),
        ("encoder=test_resnett", "encoder 'test_resnett': neither a preset"),
    ],
)
def test_a_run_that_cannot_start_reports_why_and_writes_nothing(
    override: str, message: str, train: Training, tmp_path: Path
) -> None:
    ended = train(tmp_path / "run", override, recipe=SHORT)
    assert ended.code == 1
    assert message in error_line(ended.stderr)
    assert not (tmp_path / "run").exists()


def test_a_stage_ends_early_without_a_better_dev_score(train: Training, tmp_path: Path) -> None:
    stages = [{"epochs": 9, "learning_rate": 1e-9}, {"epochs": 1, "learning_rate": 1e-9}]
    ended = train(tmp_path / "run", "patience=2", recipe={"stages": stages})
    assert ended.code == 0
    assert "no better dev score in 2 epochs: the stage ends here" in ended.stderr
    epochs = [(x["stage"], x["epoch"]) for x in log_of(tmp_path / "run") if x["event"] == "epoch"]
    assert epochs == [(0, 0), (0, 1), (0, 2), (1, 0)]  # the first is best, two more are no better
    assert train(tmp_path / "run", "patience=2", recipe={"stages": stages}, resume=True).code == 0
    # and killed when the first stage has ended early
    kill = train(tmp_path / "two", "patience=2", recipe={"stages": stages}, step=3 * STEPS + 1)
    assert kill.code == -signal.SIGKILL
    assert train(tmp_path / "two", "patience=2", recipe={"stages": stages}, resume=True).code == 0
    assert_same_run(tmp_path / "run", tmp_path / "two")


def test_bfloat16_runs_resume_exactly(train: Training, tmp_path: Path) -> None:
    recipe = {"precision": "bfloat16", "stages": [{"epochs": 1}]}
    assert train(tmp_path / "one", recipe=recipe).code == 0
    assert train(tmp_path / "two", recipe=recipe, step=4).code == -signal.SIGKILL
    assert train(tmp_path / "two", recipe=recipe, resume=True).code == 0
    assert_same_run(tmp_path / "one", tmp_path / "two")


def test_a_merge_decoder_trains_and_opens(train: Training, tmp_path: Path) -> None:
    recipe = SHORT | {"decoder": {"kind": "merge", "embedding": 8, "hidden": 8}}
    assert train(tmp_path / "run", recipe=recipe).code == 0
    run = open_run(tmp_path / "run")
    assert not run.model.decoder.has_attention


def test_only_the_trainable_part_of_the_encoder_changes(
    train: Training, never_killed: Path, short_run: Path, tmp_path: Path
) -> None:
    def changed(run: Path) -> set[str]:
        first = read_tensors(run / "encoder.safetensors")
        last = Checkpoints(run).tensors("last", "model")
        return {k for k, v in first.items() if not torch.equal(v, last[f"encoder.network.{k}"])}

    assert changed(short_run) == set()
    everything = changed(never_killed)
    assert {"conv_stem.weight", "conv_head.weight"} <= everything
    stages = [{"epochs": 1, "train_encoder": "last"}]
    assert train(tmp_path / "run", recipe={"stages": stages}).code == 0
    last = changed(tmp_path / "run")
    assert last
    assert last < everything
    assert not any(name.startswith(("conv_stem", "blocks.0", "blocks.3")) for name in last)


def test_a_run_that_cannot_be_opened_names_the_file(finished: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"none/run\.json: no such file"):
        open_run(tmp_path / "none")
    weights = next((finished / "checkpoints").glob("best-*/model.safetensors"))
    whole = weights.read_bytes()
    weights.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(TrainingError, match=r"best-0-0/model\.safetensors: damaged"):
        open_run(finished)
    weights.write_bytes(whole)
    (finished / "encoder.safetensors").write_bytes(b"")
    with pytest.raises(TrainingError, match=r"encoder\.safetensors: damaged"):
        open_run(finished)
    (finished / "vocabulary.json").write_text("[]")
    with pytest.raises(BundleError, match=r"vocabulary\.json: must be a mapping"):
        open_run(finished)
    shutil.rmtree(finished / "checkpoints")
    with pytest.raises(
        TrainingError, match="no epoch is finished yet: resume it with --resume auto"
    ):
        open_run(finished)
