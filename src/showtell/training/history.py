"""A run's log, read back: losses, rates and scores over epochs and over time."""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from showtell.errors import TrainingError
from showtell.training.dev_captions import Said, read_said

LOG = "log.jsonl"
# what a line of the log holds beside measured values
_PLACE = (
    "event",
    "stage",
    "epoch",
    "step",
    "seconds",
    "peak_memory_gib",
    "captions_per_second",
    "photos_per_second",
    "share_waited",
    "gpu_use",
)


@dataclass
class Curve:
    """One value over a run: where in the run, in epochs and in minutes, and how much."""

    epochs: list[float] = field(default_factory=list)
    minutes: list[float] = field(default_factory=list)
    values: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class History:
    """What a run logged.

    `steps` and `scores` map a value's name to its curve, by training step and by epoch; a step's
    loss under self-critical training, which is another quantity, is called `self_critical_loss`.
    `stages` are the epochs (counted over the run) at which stages begin, the first left out.
    """

    name: str
    steps: dict[str, Curve]
    scores: dict[str, Curve]
    stages: tuple[int, ...]
    said: Said


def read_history(run: Path) -> History:
    """Read the log of the run folder `run`, an unfinished run's too.

    Raises TrainingError where there is none, or it holds nothing yet.
    """
    try:
        text = (run / LOG).read_text("utf-8")
    except OSError:
        raise TrainingError(f"{run}: no {LOG}: not a training run") from None
    entries = _entries(text)
    if not entries:
        raise TrainingError(f"{run}: nothing is logged yet: wait for the first steps")
    place = _Places(entries)
    steps: defaultdict[str, Curve] = defaultdict(Curve)
    scores: defaultdict[str, Curve] = defaultdict(Curve)
    for entry in entries:
        epoch, minutes = place(entry)
        kind = steps if entry["event"] == "step" else scores
        for key, value in entry.items():
            if key in _PLACE or (kind is scores and key == "loss"):
                continue
            name = "self_critical_loss" if key == "loss" and "reward" in entry else key
            kind[name].epochs.append(epoch)
            kind[name].minutes.append(minutes)
            kind[name].values.append(value)
    name = run.resolve().name
    return History(name, dict(steps), dict(scores), place.stages, read_said(run))


def _entries(text: str) -> list[dict[str, Any]]:
    entries = []
    for line in text.splitlines():
        try:
            entries.append(json.loads(line))
        except ValueError:  # the line that a running or killed run has begun
            continue
    return entries


class _Places:
    """Where each line of a log stands, in epochs counted over all stages, and in minutes."""

    def __init__(self, entries: list[dict[str, Any]]) -> None:
        epochs: defaultdict[int, int] = defaultdict(int)  # of each stage
        self.longest: defaultdict[int, int] = defaultdict(int)  # steps in an epoch of a stage
        for entry in entries:
            stage = entry["stage"]
            epochs[stage] = max(epochs[stage], entry["epoch"] + 1)
            self.longest[stage] = max(self.longest[stage], entry.get("step", 1))
        self.first: dict[int, int] = {}
        total = 0
        for stage in sorted(epochs):
            self.first[stage] = total
            total += epochs[stage]
        self.stages = tuple(self.first[stage] for stage in sorted(epochs))[1:]
        ends = [(0.0, 0.0)] + [
            (float(self.first[e["stage"]] + e["epoch"] + 1), e["seconds"] / 60)
            for e in entries
            if e["event"] == "epoch"
        ]
        self.ends = dict(ends)

    def __call__(self, entry: dict[str, Any]) -> tuple[float, float]:
        begun = float(self.first[entry["stage"]] + entry["epoch"])
        if entry["event"] == "epoch":
            return begun + 1, self.ends[begun + 1]
        part = entry["step"] / (self.longest[entry["stage"]] + 1)
        before = self.ends.get(begun, max(self.ends.values()))
        # an epoch that is not done yet goes at the pace of those before it
        pace = max(self.ends.values()) / max(max(self.ends), 1.0)
        after = self.ends.get(begun + 1, before + pace)
        return begun + part, before + part * (after - before)
