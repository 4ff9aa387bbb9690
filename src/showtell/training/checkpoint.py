"""Checkpoints as safetensors and JSON files, written completely or not at all.

A run folder holds `run.json` (recipe, data, encoder), `vocabulary.json`, `log.jsonl`, `samples/`
and `checkpoints/`. In `checkpoints/`, `last.json` and `best.json` each name the folder of a
checkpoint. The folder is complete before the name is written, so that a kill at any moment leaves
the previous checkpoint.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, contiguous_format, nn, optim

from showtell.errors import TrainingError
from showtell.files.atomic_write import atomic_folder, atomic_write
from showtell.nets.renamed_parameters import with_current_names
from showtell.training.distributed import SINGLE, Ranks


@dataclass
class TrainingProgress:
    """Where a run stands: `step` steps of epoch `epoch` of stage `stage` are done."""

    stage: int = 0
    epoch: int = 0
    step: int = 0
    best_score: float = -1.0  # of the run
    best_epoch: int = -1  # of this stage
    loss_sum: float = 0.0  # of this epoch, over tokens
    tokens: int = 0
    seconds: float = 0.0  # trained so far, in all sessions

    @property
    def position(self) -> tuple[int, int, int]:
        """Stage, epoch and step."""
        return self.stage, self.epoch, self.step

    def add_step(self, loss: float, tokens: int) -> None:
        """Count a step with the mean `loss` of its `tokens`."""
        self.step += 1
        self.loss_sum += loss * tokens
        self.tokens += tokens

    def start_next_epoch(self) -> None:
        """Count the epoch as done."""
        self.epoch, self.step, self.loss_sum, self.tokens = self.epoch + 1, 0, 0.0, 0


def write_run_json(path: Path, data: Any) -> None:
    """Write JSON; `path` is never half written."""
    text = json.dumps(data, indent=2, ensure_ascii=False) + "\n"
    # always the same temporary name, so that killed runs leave at most one such file
    with atomic_write(path, temporary=path.with_name(f".{path.name}.tmp")) as file:
        file.write(text)


def read_run_json(path: Path) -> Any:
    """Read JSON; raises TrainingError, naming the file, where it is missing or damaged."""
    try:
        return json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise TrainingError(
            f"{path}: no such file: not a training run, or one that did not start"
        ) from None
    except (OSError, ValueError) as error:
        raise TrainingError(f"{path}: cannot be read ({error})") from None


class Checkpoints:
    """The checkpoints of one run. Its first rank writes and reads them for all ranks."""

    def __init__(self, run: Path, ranks: Ranks = SINGLE) -> None:
        self.folder = run / "checkpoints"
        self.ranks = ranks

    def save(
        self, name: str, tag: str, progress: TrainingProgress, **groups: dict[str, Tensor]
    ) -> None:
        """Write `groups`, one safetensors file each, as the checkpoint `name` (`last`, `best`).

        `tag` becomes part of the folder's name. Raises TrainingError where writing fails; the
        previous checkpoint stays.
        """
        if not self.ranks.first:
            return
        folder = self.folder / f"{name}-{tag}"
        if self._has(name) and self._path(name) == folder:  # keep it until the new one is complete
            folder = folder.with_name(f"{folder.name}-again")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            for leftover in self.folder.glob(f".{name}-*.tmp*"):  # of a killed run
                shutil.rmtree(leftover, ignore_errors=True)
            with atomic_folder(folder) as work:
                for group, tensors in groups.items():
                    save_file(_copies(tensors), work / f"{group}.safetensors")
                write_run_json(work / "progress.json", asdict(progress))
            write_run_json(self.folder / f"{name}.json", {"folder": folder.name})
        except (OSError, SafetensorError) as error:
            raise TrainingError(
                f"{self.folder}: the checkpoint could not be written ({error}); the one before is"
                " whole: free some disk space, then resume with --resume auto"
            ) from error
        for old in self.folder.glob(f"{name}-*"):
            if old != folder:
                shutil.rmtree(old, ignore_errors=True)

    def has(self, name: str) -> bool:
        """Return whether there is a checkpoint `name`."""
        return self.ranks.on_rank_zero(lambda: self._has(name))

    def progress(self, name: str) -> TrainingProgress:
        """Read the progress of a checkpoint."""
        path = "progress.json"
        return self.ranks.on_rank_zero(
            lambda: TrainingProgress(**read_run_json(self._path(name) / path))
        )

    def tensors(self, name: str, group: str) -> dict[str, Tensor]:
        """Read one group of a checkpoint; parameters have their current names."""
        path = f"{group}.safetensors"
        tensors = self.ranks.on_rank_zero(lambda: read_tensors(self._path(name) / path))
        return with_current_names(tensors)

    def has_group(self, name: str, group: str) -> bool:
        """Return whether a checkpoint holds a group of tensors."""
        path = f"{group}.safetensors"
        return self.ranks.on_rank_zero(lambda: (self._path(name) / path).is_file())

    def _has(self, name: str) -> bool:
        return (self.folder / f"{name}.json").is_file()

    def _path(self, name: str) -> Path:
        return self.folder / Path(read_run_json(self.folder / f"{name}.json")["folder"]).name


def _copies(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Copy tensors to the CPU: tied weights share one storage, which safetensors refuses."""
    return {
        name: tensor.detach().cpu().clone(memory_format=contiguous_format)
        for name, tensor in tensors.items()
    }


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read a safetensors file; raises TrainingError, naming it, where it is missing or damaged."""
    try:
        with safe_open(path, framework="pt") as file:
            return {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise TrainingError(f"{path}: damaged or missing ({error})") from None


def optimizer_tensors(optimizer: optim.Optimizer, names: Iterable[str]) -> dict[str, Tensor]:
    """Return an optimizer's state as tensors named `<state>/<parameter>`."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    tensors: dict[str, Tensor] = {}
    for name, parameter in zip(names, parameters, strict=True):
        for key, value in optimizer.state.get(parameter, {}).items():
            tensors[f"{key}/{name}"] = value
    return tensors


def load_optimizer(
    optimizer: optim.Optimizer, names: Iterable[str], tensors: dict[str, Tensor]
) -> None:
    """Load the state that `optimizer_tensors` returned."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    by_name = dict(zip(names, parameters, strict=True))
    for key, value in tensors.items():
        state, _, name = key.partition("/")
        parameter = by_name[name]
        if value.shape == parameter.shape:
            # in the memory layout of the weights: the fused step reads both in memory order
            value = torch.empty_like(parameter, dtype=value.dtype).copy_(value)
        optimizer.state[parameter][state] = value.to(parameter.device)


def trained_tensors(model: nn.Module) -> dict[str, Tensor]:
    """Return a module's parameters and buffers by name, tied ones only once."""
    seen: set[int] = set()
    tensors: dict[str, Tensor] = {}
    for name, tensor in model.state_dict(keep_vars=True).items():
        if id(tensor) not in seen:
            seen.add(id(tensor))
            tensors[name] = tensor.detach()
    return tensors
