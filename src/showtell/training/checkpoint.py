"""Checkpoints as safetensors and JSON, written whole or not at all.

A run folder holds `run.json` (recipe, data, encoder), `vocabulary.json`, `log.jsonl`, `samples/`
and `checkpoints/`. There, `last.json` and `best.json` each name the folder of a checkpoint; a
folder is complete before the name is, so a kill at any moment leaves the one before.
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
from showtell.files.atomic_write import atomic_folder, atomic_write_text
from showtell.nets.renamed_parameters import with_current_names
from showtell.training.distributed import ALONE, Ranks


@dataclass
class Progress:
    """Where a run stands: `step` steps of epoch `epoch` of stage `stage` are done."""

    stage: int = 0
    epoch: int = 0
    step: int = 0
    best_score: float = -1.0  # of the run
    best_epoch: int = -1  # of this stage
    loss_sum: float = 0.0  # of this epoch, over tokens
    tokens: int = 0
    seconds: float = 0.0  # trained so far, all sessions


def write_json(path: Path, data: Any) -> None:
    """Write JSON atomically."""
    atomic_write_text(path, json.dumps(data, indent=2, ensure_ascii=False) + "\n")


def read_json(path: Path) -> Any:
    """Read JSON; raises TrainingError, naming the file, where it is gone or damaged."""
    try:
        return json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise TrainingError(
            f"{path}: no such file: not a training run, or an unfinished one"
        ) from None
    except (OSError, ValueError) as error:
        raise TrainingError(f"{path}: cannot be read ({error})") from None


class Checkpoints:
    """The checkpoints of one run, written and read by its first rank alone, for all."""

    def __init__(self, run: Path, ranks: Ranks = ALONE) -> None:
        self.folder = run / "checkpoints"
        self.ranks = ranks

    def save(self, name: str, tag: str, progress: Progress, **groups: dict[str, Tensor]) -> None:
        """Write `groups` (a safetensors file each) as the checkpoint `name` (`last`, `best`).

        `tag` makes its folder's name. Raises TrainingError where the disk does not take it;
        what was there before stays.
        """
        if not self.ranks.first:
            return
        folder = self.folder / f"{name}-{tag}"
        if self._has(name) and self._path(name) == folder:  # it stays until the new one is whole
            folder = folder.with_name(f"{folder.name}-again")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            for leftover in self.folder.glob(f".{name}-*.tmp*"):  # of a killed run
                shutil.rmtree(leftover, ignore_errors=True)
            with atomic_folder(folder) as work:
                for group, tensors in groups.items():
                    # tied weights are one storage, which safetensors stores only as copies
                    copies = {
                        key: tensor.detach().cpu().clone(memory_format=contiguous_format)
                        for key, tensor in tensors.items()
                    }
                    save_file(copies, work / f"{group}.safetensors")
                write_json(work / "progress.json", asdict(progress))
            write_json(self.folder / f"{name}.json", {"folder": folder.name})
        except (OSError, SafetensorError) as error:
            raise TrainingError(
                f"{self.folder}: the checkpoint could not be written ({error}); the one before is"
                " whole: make room, then go on with --resume auto"
            ) from error
        for old in self.folder.glob(f"{name}-*"):
            if old != folder:
                shutil.rmtree(old, ignore_errors=True)

    def has(self, name: str) -> bool:
        """Say whether there is a checkpoint `name`."""
        return self.ranks.by_first(lambda: self._has(name))

    def progress(self, name: str) -> Progress:
        """Read where the run stood at a checkpoint."""
        path = "progress.json"
        return self.ranks.by_first(lambda: Progress(**read_json(self._path(name) / path)))

    def tensors(self, name: str, group: str) -> dict[str, Tensor]:
        """Read one group of a checkpoint; parameters of earlier versions by their current names."""
        path = f"{group}.safetensors"
        tensors = self.ranks.by_first(lambda: read_tensors(self._path(name) / path))
        return with_current_names(tensors)

    def has_group(self, name: str, group: str) -> bool:
        """Say whether a checkpoint holds a group of tensors."""
        path = f"{group}.safetensors"
        return self.ranks.by_first(lambda: (self._path(name) / path).is_file())

    def _has(self, name: str) -> bool:
        return (self.folder / f"{name}.json").is_file()

    def _path(self, name: str) -> Path:
        return self.folder / Path(read_json(self.folder / f"{name}.json")["folder"]).name


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read a safetensors file; raises TrainingError, naming it, where it is damaged."""
    try:
        with safe_open(path, framework="pt") as file:
            return {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise TrainingError(f"{path}: damaged or missing ({error})") from None


def optimizer_tensors(optimizer: optim.Optimizer, names: Iterable[str]) -> dict[str, Tensor]:
    """Return an optimizer's state as named tensors: `<state>/<parameter>`."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    out: dict[str, Tensor] = {}
    for name, parameter in zip(names, parameters, strict=True):
        for key, value in optimizer.state.get(parameter, {}).items():
            out[f"{key}/{name}"] = value
    return out


def load_optimizer(
    optimizer: optim.Optimizer, names: Iterable[str], tensors: dict[str, Tensor]
) -> None:
    """Put back what `optimizer_tensors` returned."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    by_name = dict(zip(names, parameters, strict=True))
    for key, value in tensors.items():
        state, _, name = key.partition("/")
        parameter = by_name[name]
        if value.shape == parameter.shape:
            # laid out as the weights are: the fused step goes through both in order of memory
            value = torch.empty_like(parameter, dtype=value.dtype).copy_(value)
        optimizer.state[parameter][state] = value.to(parameter.device)


def trained_tensors(model: nn.Module, prefix: str = "") -> dict[str, Tensor]:
    """Return a module's parameters and buffers by name, tied ones once."""
    seen: set[int] = set()
    out: dict[str, Tensor] = {}
    for name, tensor in model.state_dict(keep_vars=True).items():
        if id(tensor) not in seen:
            seen.add(id(tensor))
            out[prefix + name] = tensor.detach()
    return out
