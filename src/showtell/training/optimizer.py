"""The optimizer of a stage: AdamW, its learning rates and their schedule."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from showtell.training.checkpoint import load_optimizer, optimizer_tensors
from showtell.training.recipe import Stage


def learning_rate_scale(step: int, steps: int, warmup: float, final: float) -> float:
    """Return the factor of the learning rate at `step` of `steps`: linear warm-up, then cosine.

    Loshchilov and Hutter, SGDR: Stochastic Gradient Descent with Warm Restarts, 2017.
    """
    warmup_steps = max(1, round(warmup * steps)) if warmup else 0
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    progress = (step - warmup_steps) / max(1, steps - warmup_steps)
    return final + (1 - final) * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))


class StageOptimizer:
    """AdamW over the weights that a stage trains, with the stage's schedule and clipping."""

    def __init__(self, model: nn.Module, stage: Stage) -> None:
        self.stage = stage
        groups = _parameter_groups(model, stage)
        self.names = [name for group in groups for name in group.pop("names")]
        self.adamw = torch.optim.AdamW(groups, betas=(0.9, stage.adam_beta2), fused=True)
        self._base_rates = [group["lr"] for group in self.adamw.param_groups]

    def set_learning_rate(self, step: int, steps: int) -> float:
        """Set the learning rates of `step` of the stage's `steps`; return the decoder's."""
        stage = self.stage
        scale = learning_rate_scale(step, steps, stage.warmup, stage.final_learning_rate)
        for group, rate in zip(self.adamw.param_groups, self._base_rates, strict=True):
            size = _root_mean_square(group["params"][0]) if group["relative"] else 1
            group["lr"] = rate * scale * size
        return stage.learning_rate * scale

    def clip_gradients(self) -> float:
        """Clip the gradient to the stage's maximum norm; return the norm that it had."""
        parameters = [p for group in self.adamw.param_groups for p in group["params"]]
        return float(nn.utils.clip_grad_norm_(parameters, self.stage.clip))

    def step(self) -> None:
        """Update the weights and clear the gradients."""
        self.adamw.step()
        self.adamw.zero_grad(set_to_none=True)

    def tensors(self) -> dict[str, Tensor]:
        """Return the state by names, for a checkpoint."""
        return optimizer_tensors(self.adamw, self.names)

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Load the state that `tensors` returned."""
        load_optimizer(self.adamw, self.names, tensors)


def _parameter_groups(model: nn.Module, stage: Stage) -> list[dict[str, Any]]:
    """Group trained weights by learning rate and weight decay; biases do not decay.

    Convolutions with batch norm folded in differ a hundredfold in size, so that one learning rate
    is too large for some and too small for others. A relative rate is a share of each weight's
    root mean square (Shazeer and Stern, Adafactor, 2018), so each weight is a group of its own.
    """
    relative = stage.encoder_step == "relative"
    members: dict[tuple[bool, bool, str], list[tuple[str, nn.Parameter]]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            in_encoder = name.startswith("encoder.")
            own_group = name if in_encoder and relative else ""
            key = (in_encoder, parameter.ndim > 1, own_group)
            members.setdefault(key, []).append((name, parameter))
    return [
        {
            "names": [name for name, _ in group],
            "params": [parameter for _, parameter in group],
            "lr": stage.encoder_learning_rate if in_encoder else stage.learning_rate,
            "weight_decay": stage.weight_decay if decays else 0.0,
            "relative": bool(own_group),
        }
        for (in_encoder, decays, own_group), group in members.items()
    ]


def _root_mean_square(parameter: nn.Parameter) -> float:
    """Return a weight's root mean square, at least a thousandth so that zeros can change."""
    return max(1e-3, float(parameter.detach().square().mean().sqrt()))
