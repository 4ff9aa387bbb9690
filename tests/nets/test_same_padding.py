"""Max pooling with TensorFlow's padding, compared with TensorFlow's definition."""

from __future__ import annotations

import math

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from showtell.nets.same_padding import SameMaxPool2d, pad_pools_same


def by_definition(values: torch.Tensor, kernel: int, stride: int) -> torch.Tensor:
    """Pad by hand with what loses to any value: the odd pixel at the end, then pool unpadded."""
    pads: list[int] = []
    for size in reversed(values.shape[-2:]):  # functional.pad begins with the last dimension
        total = max((math.ceil(size / stride) - 1) * stride + kernel - size, 0)
        pads += [total // 2, total - total // 2]
    return functional.max_pool2d(functional.pad(values, pads, value=-math.inf), kernel, stride)


@given(
    height=st.integers(1, 24),
    width=st.integers(1, 24),
    kernel=st.integers(1, 5),
    stride=st.integers(2, 4),
)
def test_pooling_equals_tensorflows_same_padding(
    height: int, width: int, kernel: int, stride: int
) -> None:
    values = torch.randn(2, 3, height, width) - 5  # below 0, so that a zero pad would win
    pooled = SameMaxPool2d(kernel, stride)(values)
    assert pooled.shape[-2:] == (math.ceil(height / stride), math.ceil(width / stride))
    assert torch.equal(pooled, by_definition(values, kernel, stride))


def test_only_pools_with_a_stride_are_replaced() -> None:
    network = nn.Sequential(
        nn.MaxPool2d(3, 1, 1), nn.Sequential(nn.MaxPool2d(3, 2, 1)), nn.AvgPool2d(2)
    )
    pad_pools_same(network)
    kinds = [type(module) for module in network.modules() if not isinstance(module, nn.Sequential)]
    assert kinds == [nn.MaxPool2d, SameMaxPool2d, nn.AvgPool2d]
