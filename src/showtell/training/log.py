"""The log of a run: a JSONL file, TensorBoard, and a progress bar."""

from __future__ import annotations

import json
import logging
import time
from pathlib import Path
from typing import Any

import torch

from showtell.files.atomic_write import atomic_write_text
from showtell.files.peak_memory import peak_memory
from showtell.files.progress import progress_bar

logger = logging.getLogger(__name__)

STEP_EVERY = 20  # steps between two lines of the log


class TrainingLog:
    """Writes `log.jsonl` and `tensorboard/` in a run folder.

    A resumed run repeats steps after its checkpoint; their old lines are dropped, so that each
    step occurs once. `done` is the checkpoint's stage, epoch and step; None starts an empty log.
    """

    def __init__(self, run: Path, done: tuple[int, int, int] | None) -> None:
        self.path = run / "log.jsonl"
        self._drop_after(done or (0, 0, 0))
        self.file = self.path.open("a", encoding="utf-8")
        from torch.utils.tensorboard import SummaryWriter

        self.board = SummaryWriter(str(run / "tensorboard"))
        self.description = ""
        self._restart_counters()

    def _restart_counters(self) -> None:
        self.since, self.captions, self.photos, self.waited = time.perf_counter(), 0, 0, 0.0

    def _drop_after(self, done: tuple[int, int, int]) -> None:
        if not self.path.is_file():
            return
        kept = []
        for line in self.path.read_text("utf-8").splitlines():
            try:
                entry = json.loads(line)
            except ValueError:  # the unfinished line of a killed run
                continue
            position = (
                entry["stage"],
                entry["epoch"] + (entry["event"] == "epoch"),
                entry.get("step", 0),
            )
            if position <= done:
                kept.append(line + "\n")
        atomic_write_text(self.path, "".join(kept))

    def bar(self, steps: int, first: int, description: str) -> Any:
        """Return a progress bar over an epoch's steps, which is drawn only on a terminal."""
        self.description = description
        self.progress = progress_bar(steps, description=description, unit="step", done=first)
        return self.progress

    def step(
        self,
        stage: int,
        epoch: int,
        step: int,
        total: int,
        *,
        captions: int,
        photos: int = 0,
        waited: float = 0.0,
        **values: float,
    ) -> None:
        """Count one step; the first and every STEP_EVERY-th step are written.

        `captions` and `photos` are the numbers of the step; `waited` is the time in seconds
        since the last step, saving included.
        """
        self.captions += captions
        self.photos += photos
        self.waited += waited
        if step % STEP_EVERY and step != 1:
            return
        now = time.perf_counter()
        seconds = max(1e-9, now - self.since)
        values["captions_per_second"] = self.captions / seconds
        values["photos_per_second"] = self.photos / seconds
        values["share_waited"] = min(1.0, self.waited / seconds)
        values |= gpu_use()
        self._restart_counters()
        self.progress.set_postfix(loss=f"{values['loss']:.3f}")
        self._write("step", stage, epoch, step=step, **values)
        for name, value in values.items():
            self.board.add_scalar(f"stage{stage}/{name}", value, total)

    def epoch(self, stage: int, epoch: int, *, seconds: float, **values: float) -> None:
        """Write the end of an epoch, its scores, and the peak memory so far."""
        memory = peak_memory() / 2**30
        self._write("epoch", stage, epoch, seconds=seconds, peak_memory_gib=memory, **values)
        for name, value in values.items():
            self.board.add_scalar(f"epoch{stage}/{name}", value, epoch)
        scores = ", ".join(f"{name} {value:.3f}" for name, value in values.items())
        logger.info("%s: %s (%.0f s in all)", self.description, scores, seconds)
        self._restart_counters()

    def _write(self, event: str, stage: int, epoch: int, **values: float) -> None:
        entry = {"event": event, "stage": stage, "epoch": epoch}
        entry |= {k: v if isinstance(v, int) else float(f"{v:.6g}") for k, v in values.items()}
        self.file.write(json.dumps(entry) + "\n")
        self.file.flush()

    def close(self) -> None:
        """Close the files."""
        self.file.close()
        self.board.close()


class NoLog(TrainingLog):
    """The log of a rank that writes nothing."""

    def __init__(self) -> None:
        self.description = ""

    def bar(self, steps: int, first: int, description: str) -> Any:
        """Return an invisible progress bar."""
        return progress_bar(steps, shown=False)

    def step(self, *place: Any, **values: Any) -> None:
        """Do nothing."""

    def epoch(self, *place: Any, **values: Any) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""


def gpu_use() -> dict[str, float]:
    """Return the recent use of the GPU, 0 to 1, where there is one and its driver reports it."""
    if not torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        return {}
    try:
        return {"gpu_use": torch.cuda.utilization() / 100}
    except (ModuleNotFoundError, RuntimeError):  # nvidia-ml-py is missing or has no access
        return {}
