"""Reads a run's log: losses, learning rates and scores over epochs and over time."""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from showtell.bundle import VOCABULARY
from showtell.errors import TrainingError
from showtell.language.languages import ENGLISH, Language
from showtell.training.dev_captions import DevCaptions, read_dev_captions
from showtell.vocabulary import Vocabulary

LOG = "log.jsonl"
_RENAMED = {"word_precision": "concept_precision"}  # in logs of earlier versions
# keys of a line of the log that are not curves
_NOT_CURVES = (
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
    """One value over a run, with the position of each measurement in epochs and in minutes."""

    epochs: list[float] = field(default_factory=list)
    minutes: list[float] = field(default_factory=list)
    values: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class History:
    """The log of a run.

    `steps` and `scores` map names of values to curves by training step and by epoch. The loss of
    self-critical training is another quantity and is called `self_critical_loss`. `stages` are the
    epochs, counted over the run, at which the stages after the first start. `language` is that of
    the captions.
    """

    name: str
    steps: dict[str, Curve]
    scores: dict[str, Curve]
    stages: tuple[int, ...]
    dev_captions: DevCaptions
    language: Language = ENGLISH


def read_history(run: Path) -> History:
    """Read the log of the run folder `run`, which may be unfinished.

    Raises TrainingError where there is no log, or it is empty.
    """
    try:
        text = (run / LOG).read_text("utf-8")
    except OSError:
        raise TrainingError(f"{run}: no {LOG}: not a training run") from None
    entries = _entries(text)
    if not entries:
        raise TrainingError(f"{run}: the log is empty: wait for the first steps")
    positions = _Positions(entries)
    steps: defaultdict[str, Curve] = defaultdict(Curve)
    scores: defaultdict[str, Curve] = defaultdict(Curve)
    for entry in entries:
        epoch, minutes = positions.of(entry)
        kind = steps if entry["event"] == "step" else scores
        for key, value in entry.items():
            if key in _NOT_CURVES or (kind is scores and key == "loss"):
                continue
            name = "self_critical_loss" if key == "loss" and "reward" in entry else key
            name = _RENAMED.get(name, name)
            kind[name].epochs.append(epoch)
            kind[name].minutes.append(minutes)
            kind[name].values.append(value)
    name = run.resolve().name
    return History(
        name,
        dict(steps),
        dict(scores),
        positions.stages,
        read_dev_captions(run),
        _language(run),
    )


def _language(run: Path) -> Language:
    path = run / VOCABULARY
    return Vocabulary.from_json(path.read_text("utf-8"), path).rules if path.is_file() else ENGLISH


def _entries(text: str) -> list[dict[str, Any]]:
    entries = []
    for line in text.splitlines():
        try:
            entries.append(json.loads(line))
        except ValueError:  # the unfinished line of a running or killed run
            continue
    return entries


class _Positions:
    """The positions of log lines in epochs, counted over all stages, and in minutes."""

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

    def of(self, entry: dict[str, Any]) -> tuple[float, float]:
        """Return the position of a line in epochs and minutes."""
        start = float(self.first[entry["stage"]] + entry["epoch"])
        if entry["event"] == "epoch":
            return start + 1, self.ends[start + 1]
        share = entry["step"] / (self.longest[entry["stage"]] + 1)
        before = self.ends.get(start, max(self.ends.values()))
        # an unfinished epoch is assumed to be as fast as the earlier ones
        pace = max(self.ends.values()) / max(max(self.ends), 1.0)
        after = self.ends.get(start + 1, before + pace)
        return start + share, before + share * (after - before)
