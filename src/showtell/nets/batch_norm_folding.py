"""Frozen batch norm folded into the convolution before it: the same function, a third faster.

A frozen batch norm is a scale and a shift for each channel, which a convolution can carry in its
own weights (Jacob et al., Quantization and Training of Neural Networks, 2018, section 3.2). On a
CPU this makes forward and backward of MobileNetV2 about 1.5 times faster.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import torch
from timm.layers.conv2d_same import Conv2dSame
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.fusion import fuse_conv_bn_weights
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

# Convolutions whose weights are used as they stand: others standardise or reparametrise them.
PLAIN = (nn.Conv2d, Conv2dSame)


def fold_batch_norm(network: nn.Module, example: Tensor) -> int:
    """Fold each batch norm that reads a convolution's output directly; returns how many.

    Which ones do is seen by running `example` [1, 3, H, W] through `network`, so no naming
    convention is trusted. A convolution or batch norm that is used twice, or a convolution whose
    output goes anywhere else as well, is left alone.
    """
    pairs = _pairs(network, example)
    for norm_name, (norm, convolution) in pairs.items():
        assert norm.running_mean is not None
        assert norm.running_var is not None
        weight, bias = fuse_conv_bn_weights(
            convolution.weight,
            convolution.bias,
            norm.running_mean,
            norm.running_var,
            norm.eps,
            norm.weight,
            norm.bias,
        )
        convolution.weight = nn.Parameter(weight.detach())
        convolution.bias = nn.Parameter(bias.detach())
        # timm's norm layers hold the activation that follows
        activation = getattr(norm, "act", None)
        parent, _, name = norm_name.rpartition(".")
        setattr(network.get_submodule(parent), name, activation or nn.Identity())
    return len(pairs)


class _Readers(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts, for each convolution's output, the operations that read it."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.made: dict[int, tuple[nn.Conv2d, Tensor]] = {}  # tensors are kept: ids stay theirs
        self.count: Counter[int] = Counter()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        read = {id(leaf) for leaf in tree_leaves((args, kwargs)) if id(leaf) in self.made}
        self.count.update(read)
        return func(*args, **(kwargs or {}))


def _pairs(network: nn.Module, example: Tensor) -> dict[str, tuple[_BatchNorm, nn.Conv2d]]:
    """Find the batch norms that alone read what a convolution returned."""
    readers = _Readers()
    used: Counter[nn.Module] = Counter()
    found: dict[str, tuple[_BatchNorm, nn.Conv2d, int]] = {}
    handles = []

    def convolved(module: nn.Module, given: tuple[Tensor, ...], out: Tensor) -> None:
        used[module] += 1
        if type(module) in PLAIN:
            readers.made[id(out)] = (module, out)  # type: ignore[assignment]

    def reads(name: str, norm: _BatchNorm, given: tuple[Tensor, ...]) -> None:
        used[norm] += 1
        if given and id(given[0]) in readers.made and norm.running_mean is not None:
            found[name] = (norm, readers.made[id(given[0])][0], id(given[0]))

    for name, module in network.named_modules():
        if isinstance(module, nn.Conv2d):
            handles.append(module.register_forward_hook(convolved))
        elif isinstance(module, _BatchNorm):
            handles.append(
                module.register_forward_pre_hook(lambda m, given, name=name: reads(name, m, given))
            )
    try:
        with torch.no_grad(), readers:
            network.eval().forward_features(example)  # type: ignore[operator]
    finally:
        for handle in handles:
            handle.remove()
    return {
        name: (norm, convolution)
        for name, (norm, convolution, output) in found.items()
        if readers.count[output] == 1 and used[norm] == 1 and used[convolution] == 1
    }
