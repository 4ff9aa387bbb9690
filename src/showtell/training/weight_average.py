"""The weights that a stage is judged by and keeps: an average of the trained ones."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from showtell.training.checkpoint import Checkpoints
from showtell.training.recipe import Stage


class WeightAverage:
    """A moving average of the trained weights, pulled back towards the stage's first weights.

    The average (Polyak and Juditsky, 1992) starts fast and slows down to `decay`. The kept weights
    are the share `interpolation` of the way from the stage's first weights to the average
    (Wortsman et al., Robust Fine-Tuning of Zero-Shot Models, 2022).
    """

    def __init__(self, model: nn.Module, decay: float, interpolation: float = 1.0) -> None:
        self.decay = decay
        self.interpolation = interpolation
        self.weights = {
            name: parameter.detach().clone()
            for name, parameter in model.named_parameters()
            if parameter.requires_grad
        }
        first = self.weights if interpolation < 1 else {}
        self.first_weights = {name: weight.clone() for name, weight in first.items()}
        self.steps = 0

    @classmethod
    def of_stage(cls, model: nn.Module, stage: Stage) -> WeightAverage | None:
        """Return the average that a stage's settings ask for, or None."""
        if not stage.average and stage.interpolation == 1:
            return None
        return cls(model, stage.average, stage.interpolation)

    def update(self, model: nn.Module) -> None:
        """Add the current weights to the average."""
        self.steps += 1
        decay = min(self.decay, self.steps / (self.steps + 9))
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if name in self.weights:
                    self.weights[name].lerp_(parameter, 1 - decay)

    @property
    def kept(self) -> dict[str, Tensor]:
        """The weights to judge and to keep."""
        if not self.first_weights:
            return self.weights
        first, share = self.first_weights, self.interpolation
        return {name: first[name].lerp(weight, share) for name, weight in self.weights.items()}

    def tensors(self) -> dict[str, dict[str, Tensor]]:
        """Return the groups of tensors that a checkpoint stores."""
        groups = {"average": {**self.weights, "steps": torch.tensor(self.steps)}}
        if self.first_weights:
            groups |= {"kept": self.kept, "beginning": self.first_weights}
        return groups

    def restore(self, checkpoints: Checkpoints, device: torch.device) -> None:
        """Load what the checkpoint `last` stores."""
        stored = checkpoints.tensors("last", "average")
        self.steps = int(stored.pop("steps"))
        self.weights = {name: tensor.to(device) for name, tensor in stored.items()}
        if self.first_weights:
            stored = checkpoints.tensors("last", "beginning")
            self.first_weights = {name: tensor.to(device) for name, tensor in stored.items()}

    @contextlib.contextmanager
    def applied(self, model: nn.Module) -> Iterator[None]:
        """Put the kept weights into the model inside a `with` block."""
        parameters = dict(model.named_parameters())
        trained = {name: parameters[name].detach().clone() for name in self.weights}
        with torch.no_grad():
            for name, weight in self.kept.items():
                parameters[name].copy_(weight)
        try:
            yield
        finally:
            with torch.no_grad():
                for name, weight in trained.items():
                    parameters[name].copy_(weight)


def kept_weights(checkpoints: Checkpoints, name: str) -> dict[str, Tensor]:
    """Return the model of a checkpoint with the weights that dev scores were measured with.

    `best` stores those. `last` stores the trained weights, and the kept ones separately.
    """
    weights = checkpoints.tensors(name, "model")
    if name != "last":
        return weights
    if checkpoints.has_group(name, "kept"):
        return weights | checkpoints.tensors(name, "kept")
    if checkpoints.has_group(name, "average"):
        average = checkpoints.tensors(name, "average")
        average.pop("steps")
        return weights | average
    return weights
