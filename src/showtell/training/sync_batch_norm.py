"""Batch norm with the statistics of all ranks, as one process computes them on the whole batch.

Only an encoder with random initial weights trains its batch norm. PyTorch's SyncBatchNorm (after
Peng et al., MegDet, 2018) runs only on GPUs and replaces modules, also those that a network has
subclassed. Here the modules stay, and their statistics are shared on any device.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor, distributed, nn


class _Sum(torch.autograd.Function):
    """The sum over ranks. Its gradient for each rank is the sum of the gradients of all ranks."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        values = values.clone()
        distributed.all_reduce(values)
        return values

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        grad = grads[0].clone()
        distributed.all_reduce(grad)
        return grad


def share_batch_norm(network: nn.Module) -> None:
    """Make every batch norm of a network use the photos of all ranks in training mode."""
    for module in network.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.forward = partial(_normalise, module)  # type: ignore[method-assign]


def _normalise(module: Any, values: Tensor) -> Tensor:
    """Normalise values [photos, channels, height, width] by the statistics of all ranks."""
    if not module.training:
        normalised: Tensor = type(module).forward(module, values)
        return normalised
    pixels = torch.full((1,), float(values.numel() // values.shape[1]), device=values.device)
    sums: Tensor = _Sum.apply(torch.cat([values.float().sum((0, 2, 3)), pixels]))  # [channels + 1]
    count = sums[-1].detach()
    mean = sums[:-1] / count  # [channels]
    centred = values.float() - mean[:, None, None]
    variance: Tensor = _Sum.apply(centred.square().sum((0, 2, 3))) / count  # [channels]
    if module.track_running_stats:
        with torch.no_grad():
            module.num_batches_tracked += 1
            module.running_mean.lerp_(mean, module.momentum)
            module.running_var.lerp_(variance * count / (count - 1), module.momentum)
    scale = module.weight * (variance + module.eps).rsqrt()
    normalised = (centred * scale[:, None, None] + module.bias[:, None, None]).to(values.dtype)
    # timm's batch norms contain the activation that follows
    return module.act(module.drop(normalised)) if hasattr(module, "act") else normalised
