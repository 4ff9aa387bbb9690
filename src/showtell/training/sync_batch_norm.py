"""Batch norm over the photos of all ranks, as one process would compute it on the whole batch.

Only an encoder that begins at random trains its batch norm. PyTorch's SyncBatchNorm (after Peng et
al., MegDet, 2018) is for GPUs alone and takes the place of modules that networks have made their
own; here the modules stay and only their statistics are shared, on any device.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor, distributed, nn


class _Sum(torch.autograd.Function):
    """The sum over ranks; each rank's share of it has the sum of all ranks' gradients."""

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
    """Let every batch norm of a network that is in training count the photos of all ranks."""
    for module in network.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.forward = partial(_normalise, module)  # type: ignore[method-assign]


def _normalise(module: Any, values: Tensor) -> Tensor:
    """Normalise [photos, channels, height, width] by the statistics of all ranks."""
    if not module.training:
        out: Tensor = type(module).forward(module, values)
        return out
    own = torch.full((1,), float(values.numel() // values.shape[1]), device=values.device)
    sums: Tensor = _Sum.apply(torch.cat([values.float().sum((0, 2, 3)), own]))
    count = sums[-1].detach()
    mean = sums[:-1] / count
    apart = values.float() - mean[:, None, None]
    variance: Tensor = _Sum.apply(apart.square().sum((0, 2, 3))) / count
    if module.track_running_stats:
        with torch.no_grad():
            module.num_batches_tracked += 1
            module.running_mean.lerp_(mean, module.momentum)
            module.running_var.lerp_(variance * count / (count - 1), module.momentum)
    scale = module.weight * (variance + module.eps).rsqrt()
    out = (apart * scale[:, None, None] + module.bias[:, None, None]).to(values.dtype)
    # timm's batch norms hold the activation that follows
    return module.act(module.drop(out)) if hasattr(module, "act") else out
