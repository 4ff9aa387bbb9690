"""A killed and resumed run equals one never killed, bit for bit, in every file."""

from __future__ import annotations

import random
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
import torch

from showtell.data import open_dataset
from showtell.image import open_photo, prepare
from showtell.nets.encoder import build_encoder
from showtell.training.checkpoint import Checkpoints, TrainingProgress
from showtell.training.run_folder import open_run
from support.training_runs import STEPS, Training, assert_same_run, log_of

OTHER_STAGES = {
    "stages": [
        {"epochs": 1},
        {"epochs": 1, "train_encoder": "last", "average": 0.9},
        {"epochs": 1},  # frozen again, on what the stage before made of the encoder
        {"epochs": 1, "objective": "self_critical", "samples": 2, "learning_rate": 1e-4},
        {"epochs": 1, "reinit_decoder": True, "distill": 0.5},
    ]
}


# A step is named by its count from 1 in its process; two stages of two epochs of STEPS each.
@pytest.mark.parametrize(
    "kills",
    [
        pytest.param([1], id="before the first step"),
        pytest.param([4], id="in the first epoch, frozen encoder"),
        pytest.param([STEPS + 2], id="in the second epoch, frozen encoder"),
        pytest.param([2 * STEPS + 1], id="between the stages"),
        pytest.param([2 * STEPS + 4], id="in the first epoch, trained encoder"),
        pytest.param([3 * STEPS + 1, 1, 4], id="three times, trained encoder"),
    ],
)
def test_a_run_killed_in_mid_epoch_and_resumed_equals_one_never_killed(
    kills: list[int], train: Training, never_killed: Path, tmp_path: Path
) -> None:
    for number, step in enumerate(kills):
        ended = train(tmp_path / "run", resume=bool(number), step=step)
        assert ended.code == -signal.SIGKILL
    ended = train(tmp_path / "run", resume=True)
    assert ended.code == 0, ended.stderr
    assert_same_run(never_killed, tmp_path / "run")


def test_the_log_has_each_step_and_epoch_once(
    train: Training, tmp_path: Path, never_killed: Path
) -> None:
    log = log_of(never_killed)
    epochs = [(line["stage"], line["epoch"]) for line in log if line["event"] == "epoch"]
    assert epochs == [(0, 0), (0, 1), (1, 0), (1, 1)]
    places = [(line["stage"], line["epoch"], line.get("step")) for line in log]
    assert len(set(places)) == len(places)


def test_stages_of_every_kind_are_resumed_exactly(train: Training, tmp_path: Path) -> None:
    """The last blocks, features of a trained encoder, self-critical, taught by the one before."""
    assert train(tmp_path / "whole", recipe=OTHER_STAGES).code == 0
    for count, step in enumerate((STEPS + 3, STEPS + 2, STEPS + 2, STEPS + 1)):
        ended = train(tmp_path / "run", recipe=OTHER_STAGES, resume=bool(count), step=step)
        assert ended.code == -signal.SIGKILL
    assert train(tmp_path / "run", recipe=OTHER_STAGES, resume=True).code == 0
    assert_same_run(tmp_path / "whole", tmp_path / "run")


def test_a_frozen_stage_after_a_trained_encoder_reads_no_stale_features(
    train: Training, shapes: Path, tmp_path: Path
) -> None:
    trained = {"epochs": 1, "train_encoder": "all", "encoder_learning_rate": 0.01}
    assert train(tmp_path / "run", recipe={"stages": [trained, {"epochs": 1}]}).code == 0
    run = open_run(tmp_path / "run")
    photo = open_dataset(shapes).split("train")[7]
    preprocessing = run.model.encoder.spec.preprocessing
    with torch.inference_mode():
        pixels = torch.from_numpy(prepare(open_photo(photo.path), preprocessing))[None]
        now = run.model.encoder(pixels)["regions"][0].numpy()
        first = build_encoder("test_efficientnet", str(run.path / "encoder.safetensors"))
        stale = first(pixels)["regions"][0].numpy()
    arrays = [np.load(file) for file in (run.path / "features").glob("*/regions.npy")]
    [cached] = [a[7] for a in arrays if len(a) == 20 and np.allclose(a[7], now, atol=0.02)]
    assert not np.allclose(cached, stale, atol=0.1)


def test_a_kill_at_some_file_changes_leaves_a_run_that_resumes(
    train: Training, never_killed: Path, tmp_path: Path
) -> None:
    """A kill between any two changes to the run's files; a few here, all in the slow test."""
    changes = (2, 9, 21, 40, 64)
    for count, change in enumerate(changes):
        ended = train(tmp_path / "run", resume=bool(count), change=change)
        assert ended.code in (0, -signal.SIGKILL), ended.stderr
    assert train(tmp_path / "run", resume=True).code == 0
    assert_same_run(never_killed, tmp_path / "run")


def test_resuming_a_finished_run_changes_nothing(
    train: Training, never_killed: Path, tmp_path: Path
) -> None:
    shutil.copytree(never_killed, tmp_path / "run")
    assert train(tmp_path / "run", resume=True).code == 0
    assert_same_run(never_killed, tmp_path / "run")


def test_the_same_recipe_gives_the_same_run_and_another_seed_gives_another(
    train: Training, never_killed: Path, tmp_path: Path
) -> None:
    """The encoder's first weights too, where they are drawn."""
    short = {"stages": [{"epochs": 1}]}
    runs = [tmp_path / name for name in ("one", "two", "three")]
    for run, seed in zip(runs, (0, 0, 1), strict=True):
        assert train(run, f"seed={seed}", recipe=short).code == 0
    assert_same_run(runs[0], runs[1])
    assert (runs[0] / "encoder.safetensors").read_bytes() != (
        runs[2] / "encoder.safetensors"
    ).read_bytes()


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_kill_at_every_file_change_leaves_a_run_that_resumes(
    train: Training, never_killed: Path, tmp_path: Path
) -> None:
    change, code = 0, -signal.SIGKILL
    while code == -signal.SIGKILL:
        change += 1
        shutil.rmtree(tmp_path / "run", ignore_errors=True)
        code = train(tmp_path / "run", change=change).code
        checkpoints = Checkpoints(tmp_path / "run")
        for name in ("last", "best"):  # whole at every moment
            if checkpoints.has(name):
                assert isinstance(checkpoints.progress(name), TrainingProgress)
                assert checkpoints.tensors(name, "model")
        assert train(tmp_path / "run", resume=True).code == 0
        assert_same_run(never_killed, tmp_path / "run")
    assert code == 0
    assert change > 100


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_hundreds_of_kills_at_random_moments_change_nothing(
    train: Training, never_killed: Path, tmp_path: Path
) -> None:
    draw = random.Random(0)
    kills = 0
    for number in range(60):
        run = tmp_path / f"run{number}"
        while True:
            ended = train(run, resume=run.exists(), seconds=draw.uniform(0.1, 1.5))
            if ended.code == 0:
                break
            assert ended.code == -signal.SIGKILL, ended.stderr
            kills += 1
        assert_same_run(never_killed, run)
        shutil.rmtree(run)
    assert kills > 100, kills
