"""torchrun starts the ranks and restarts them when one is lost, without changing the run."""

from __future__ import annotations

import json
import os
import random
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from torch.distributed import TCPStore
from torch.distributed.run import get_args_parser

from showtell.cli.train import train as train_command
from showtell.training.checkpoint import Checkpoints
from showtell.training.recipe import load_recipe
from support.paths import DOCS
from support.training_runs import STEPS, TINY, Training, assert_same_run, log_of

LONG: dict[str, Any] = {
    "stages": [
        {"epochs": 8, "average": 0.9},
        {"epochs": 2, "objective": "self_critical", "samples": 2, "learning_rate": 1e-4},
    ]
}


@contextmanager
def torchrun(
    data: Path, run: Path, recipe: dict[str, Any], restarts: int
) -> Iterator[subprocess.Popen[str]]:
    """Two ranks of `showtell train`, started anew when one is lost."""
    path = run.with_name("recipe.yaml")
    path.write_text(yaml.safe_dump(TINY | recipe))
    with subprocess.Popen(
        [
            Path(sys.executable).with_name("torchrun"),
            "--standalone",
            "--nproc-per-node",
            "2",
            f"--max-restarts={restarts}",
            "-m",
            "showtell",
            "train",
            path,
            "--data",
            data,
            "--output",
            run,
        ],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stderr=subprocess.PIPE,
        text=True,
    ) as started:
        try:
            yield started
        finally:
            started.terminate()


def ranks_of(started: subprocess.Popen[str]) -> list[int]:
    """The processes of the ranks that run now, in order."""
    children = Path(f"/proc/{started.pid}/task/{started.pid}/children").read_text().split()
    ranks_by_pid: dict[int, int] = {}
    for child in map(int, children):
        try:
            environment = Path(f"/proc/{child}/environ").read_bytes().split(b"\0")
        except OSError:  # it has ended meanwhile
            continue
        for item in environment:
            if item.startswith(b"RANK="):
                ranks_by_pid[int(item[5:])] = child
    return [ranks_by_pid[rank] for rank in sorted(ranks_by_pid)]


def steps_done(run: Path) -> int:
    """How many steps the last checkpoint has behind it, over all stages."""
    if not (run / "checkpoints" / "last.json").is_file():
        return -1
    name = json.loads((run / "checkpoints" / "last.json").read_text())["folder"]
    stage, epoch, step = (int(number) for number in name.split("-")[1:4])
    before = sum(STEPS * int(stage["epochs"]) for stage in LONG["stages"][:stage])
    return before + STEPS * epoch + step


def kill_one(
    started: subprocess.Popen[str], run: Path, after: int, draw: random.Random, gone: list[int]
) -> list[int]:
    """Kill one rank, drawn, at a drawn moment after so many steps; returns all that were then.

    Ranks that are `gone` with one that was killed may take a moment to end.
    """
    until = time.monotonic() + 240
    ranks: list[int] = []
    while steps_done(run) < after or len(ranks) < 2:
        assert started.poll() is None, started.stderr and started.stderr.read()
        assert time.monotonic() < until, "no step is made"
        time.sleep(0.02)
        ranks = [rank for rank in ranks_of(started) if rank not in gone]
    time.sleep(draw.uniform(0, 0.2))
    os.kill(draw.choice(ranks), signal.SIGKILL)
    return ranks


def kill_and_compare(kills: list[int], seed: int, train: Training, folder: Path) -> None:
    ended = train(folder / "undisturbed", recipe=LONG, ranks=2)
    assert ended.codes == (0, 0), ended.stderr
    draw = random.Random(seed)
    with torchrun(train.shapes, folder / "run", LONG, restarts=len(kills)) as started:
        gone: list[int] = []
        for after in kills:
            gone = kill_one(started, folder / "run", after, draw, gone)
        stderr = started.communicate(timeout=400)[1]
    assert started.returncode == 0, stderr
    assert stderr.count("failed (exitcode: ") == len(kills), stderr
    assert "Next: showtell evaluate" in stderr
    assert 1 <= stderr.count("resuming at stage") <= len(kills)
    assert_same_run(folder / "undisturbed", folder / "run")  # dev scores, weights, log: all of it


@pytest.mark.timeout(700)
def test_a_rank_killed_at_a_random_moment_does_not_change_the_run(
    train: Training, tmp_path: Path
) -> None:
    kill_and_compare([STEPS // 2], random.SystemRandom().randrange(2**32), train, tmp_path)


JOIN = """
import pathlib, sys, time
from showtell.training.distributed import join_ranks
there = pathlib.Path(sys.argv[1])
if sys.argv[2] == "late":
    while not there.exists(): time.sleep(0.05)
    time.sleep(1.5)
else:
    there.touch()
with join_ranks("cpu") as (ranks, _):
    print(*ranks.all_gather(ranks.rank))
"""


def test_restarted_ranks_do_not_look_for_killed_ones(tmp_path: Path) -> None:
    """An agent keeps its store over restarts: one that is quick finds there what was, in time."""
    agent = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    for start in range(3):
        ranks = [
            subprocess.Popen(
                [sys.executable, "-c", JOIN, tmp_path / str(start), "late" if late else "quick"],
                env=os.environ
                | {
                    "RANK": str(rank),
                    "WORLD_SIZE": "2",
                    "MASTER_ADDR": "127.0.0.1",
                    "MASTER_PORT": str(agent.port),
                    "TORCHELASTIC_USE_AGENT_STORE": "True",
                    "TORCHELASTIC_RESTART_COUNT": "0",  # each machine of several counts its own
                },
                stdout=subprocess.PIPE,
                text=True,
            )
            for rank, late in enumerate([start == 1, start == 2])
        ]
        try:
            assert [rank.communicate(timeout=60)[0] for rank in ranks] == ["0 1\n", "0 1\n"]
        finally:
            for rank in ranks:
                rank.kill()


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("seed", range(6))
def test_ranks_killed_repeatedly_do_not_change_the_run(
    seed: int, train: Training, tmp_path: Path
) -> None:
    """Also in the second stage, and as soon as it goes on."""
    draw = random.Random(seed)
    kills = sorted(draw.randrange(1, 9 * STEPS) for _ in range(4))
    kill_and_compare([*kills[:2], *kills[1:]], seed, train, tmp_path)


def test_commands_in_the_docs_are_accepted_by_torchrun_and_showtell() -> None:
    text = (DOCS / "distributed.md").read_text("utf-8").replace("\\\n", " ")
    commands = [line for line in text.splitlines() if line.startswith("torchrun ")]
    assert len(commands) >= 5
    for command in commands:
        taken = get_args_parser().parse_args(shlex.split(command)[1:])
        assert taken.module, command
        name, *arguments = taken.training_script_args
        assert (taken.training_script, name) == ("showtell", "train")
        context = train_command.make_context("train", arguments)
        load_recipe(context.params["recipe"], context.params["overrides"])


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_stopping_torchrun_saves_the_run(train: Training, tmp_path: Path) -> None:
    """torchrun passes the signal on; nobody starts again, and the run goes on by hand."""
    run = tmp_path / "run"
    with torchrun(train.shapes, run, LONG, restarts=3) as started:
        while steps_done(run) < STEPS:
            assert started.poll() is None
            time.sleep(0.05)
        started.send_signal(signal.SIGINT)
        stderr = started.communicate(timeout=200)[1]
    assert started.returncode != 0
    assert stderr.count("all saved: resume with --resume auto") == 1
    assert Checkpoints(run).has("last")
    assert train(run, recipe=LONG, resume=True, ranks=2).codes == (0, 0)
    assert train(tmp_path / "undisturbed", recipe=LONG, ranks=2).codes == (0, 0)
    assert log_of(run) == log_of(tmp_path / "undisturbed")
