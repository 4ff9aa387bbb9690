"""Small training runs: a recipe with two stages, and commands as real processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml

from showtell.training.checkpoint import Checkpoints

TINY: dict[str, Any] = {
    "min_dev_photos": 0,
    "encoder": "test_efficientnet",
    "encoder_weights": "none",
    "image_size": 64,
    "decoder": {"embedding": 16, "hidden": 16, "heads": 2, "dropout": 0.3},
    "decoding": {"max_length": 8},
    "precision": "float32",
    "min_count": 1,
    "batch_photos": 6,
    "views": ["plain", "flip"],
    "save_steps": 2,
    "stages": [
        {"epochs": 2, "average": 0.9, "interpolation": 0.7},
        {"epochs": 2, "average": 0.9, "train_encoder": "all", "min_crop_area": 0.7},
    ],
}
TIMES = (
    "captions_per_second",
    "photos_per_second",
    "share_waited",
    "seconds",
    "peak_memory_gib",
)
STEPS = 4  # per epoch: 20 training photos, six per step


@dataclass(frozen=True)
class Ended:
    """The result of a command; `codes` are the exit codes of its ranks, which share the output."""

    code: int
    codes: tuple[int, ...]
    stdout: str
    stderr: str
    seconds: float


class Commands:
    """Runs `showtell` commands in separate processes; see command_server."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        server = Path(__file__).with_name("command_server.py")
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        self.server = subprocess.Popen(
            [sys.executable, server],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )

    def __call__(
        self,
        *arguments: Any,
        number: int = signal.SIGKILL,
        ranks: int = 1,
        hit: int = 0,
        without_dropout: bool = False,
        **when: Any,
    ) -> Ended:
        """Run a command and kill it at `when`: step=N, change=N with folder=DIR, or seconds=S."""
        out, err = self.folder / "stdout", self.folder / "stderr"
        job = {
            "arguments": [os.fspath(a) for a in arguments],
            "stdout": str(out),
            "stderr": str(err),
            "signal": int(number),
            "ranks": ranks,
            "hit": hit,
            "without_dropout": without_dropout,
            **{k: str(v) if k == "folder" else v for k, v in when.items()},
        }
        assert self.server.stdin
        assert self.server.stdout
        self.server.stdin.write(json.dumps(job) + "\n")
        self.server.stdin.flush()
        codes, seconds = json.loads(self.server.stdout.readline())
        return Ended(codes[0], tuple(codes), out.read_text(), err.read_text(), seconds)

    def close(self) -> None:
        self.server.kill()
        self.server.wait()


@dataclass
class Training:
    """Runs `showtell train` with a tiny recipe on drawn shapes."""

    commands: Commands
    shapes: Path
    folder: Path

    def __call__(
        self,
        output: Path,
        *overrides: str,
        resume: bool = False,
        data: Path | None = None,
        recipe: dict[str, Any] | None = None,
        **when: Any,
    ) -> Ended:
        path = self.folder / "tiny.yaml"
        path.write_text(yaml.safe_dump(TINY | (recipe or {})))
        more: Sequence[str] = ["--resume", "auto"] if resume else []
        return self.commands(
            "train",
            path,
            *overrides,
            "--data",
            data or self.shapes,
            "--output",
            output,
            *more,
            **({"folder": output} | when if "change" in when else when),
        )


def log_of(run: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k not in TIMES} for line in lines]


def assert_same_run(one: Path, two: Path) -> None:
    first, second = Checkpoints(one), Checkpoints(two)
    for name in ("last", "best"):
        a, b = first.progress(name), second.progress(name)
        a.seconds = b.seconds = 0
        assert a == b
        groups = sorted(file.stem for file in first._path(name).glob("*.safetensors"))
        assert groups == sorted(file.stem for file in second._path(name).glob("*.safetensors"))
        for group in groups:
            ours, theirs = first.tensors(name, group), second.tensors(name, group)
            assert list(ours) == list(theirs)
            wrong = [key for key in ours if not torch.equal(ours[key], theirs[key])]
            assert not wrong, f"{name}/{group}: {wrong}"
    assert log_of(one) == log_of(two)
    for file in ("encoder.safetensors", "vocabulary.json"):
        assert (one / file).read_bytes() == (two / file).read_bytes()
    samples = [{p.name: p.read_text() for p in (run / "samples").iterdir()} for run in (one, two)]
    assert samples[0] == samples[1]
    left = [path.name for path in (two / "checkpoints").iterdir()]
    assert len(left) == 4, left  # two folders and their names, no leftovers of killed runs
