"""Folding batch norm does not change the output of a network."""

from __future__ import annotations

import pytest
import timm
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from showtell.nets.batch_norm_folding import fold_batch_norm
from showtell.nets.encoder import build_encoder


def randomise(network: nn.Module, seed: int = 0) -> nn.Module:
    """Give every batch norm statistics and weights as training leaves them."""
    torch.manual_seed(seed)
    for module in network.modules():
        if isinstance(module, _BatchNorm):
            if module.running_mean is not None and module.running_var is not None:
                module.running_mean.normal_(0, 0.3)
                module.running_var.uniform_(0.4, 2)
            if module.affine:
                nn.init.uniform_(module.weight, 0.5, 1.5)
                nn.init.normal_(module.bias, 0, 0.3)
    return network.eval()


def norms_of(network: nn.Module) -> int:
    return sum(isinstance(module, _BatchNorm) for module in network.modules())


def fold_and_compare(network: nn.Module, size: int = 64) -> int:
    """Fold, hold that the function is the same, and return how many were folded."""
    pixels = torch.randn(2, 3, size, size)
    with torch.no_grad():
        before = network.forward_features(pixels)  # type: ignore[operator]
        folded = fold_batch_norm(network, torch.zeros(1, 3, size, size))
        after = network.forward_features(pixels)  # type: ignore[operator]
    torch.testing.assert_close(after, before, rtol=1e-3, atol=1e-4 * float(before.abs().max()))
    assert float(before.std()) > 1e-6
    return folded


# between them: plain, depthwise, "same" padding, branches, concatenation, pre-activation, attention
@pytest.mark.parametrize(
    ("name", "folded"),
    [
        ("test_resnet", 15),
        ("test_efficientnet", 13),
        ("test_byobnet", 14),
        ("mobilenetv2_035", 52),
        ("mobilenetv3_small_050", 34),
        ("resnetv2_18", 8),
        ("repvgg_a0", 44),
        ("tf_efficientnet_lite0", 49),
        ("test_convnext", 0),
        ("test_nfnet", 0),
    ],
)
def test_folding_does_not_change_the_output_of_a_timm_network(name: str, folded: int) -> None:
    network = randomise(timm.create_model(name, num_classes=0, global_pool=""))
    before = norms_of(network)
    assert fold_and_compare(network) == folded
    assert norms_of(network) == before - folded


def test_an_encoder_folds_batch_norm_with_its_epsilon_and_padding() -> None:
    encoder = build_encoder("mobilenetv2_035", "none", 64)
    encoder.fold_batch_norm()
    assert encoder.spec.folded
    assert norms_of(encoder) == 0


class Network(nn.Module):
    """A network of one trick; `self.how` says how its layers are joined."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how = how
        self.first, self.second = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)
        self.norm, self.other = nn.BatchNorm2d(8), nn.BatchNorm2d(8)
        if how == "no statistics":
            self.norm = nn.BatchNorm2d(8, track_running_stats=False)
        if how == "no weights":
            self.norm = nn.BatchNorm2d(8, affine=False)
        if how == "standardised":
            self.first = timm.layers.StdConv2d(3, 8, 3, padding=1)
        if how == "parametrised":
            self.first = nn.utils.parametrizations.weight_norm(self.first)
        if how == "two names":
            self.alias = self.norm

    def forward_features(self, x: Tensor) -> Tensor:
        y: Tensor = self.first(x)
        if self.how == "output is also added":
            return self.norm(y).relu() + y
        if self.how == "output is also sliced":
            return self.norm(y) + y[:, :1]
        if self.how == "output is also returned":
            return torch.cat([self.norm(y), y], 1)
        if self.how == "read by two norms":
            return self.norm(y) * self.other(y)
        if self.how == "changed in place":
            return self.norm(y.relu_())
        if self.how == "a norm for two convolutions":
            return self.norm(y) + self.norm(self.second(y.sigmoid()))
        if self.how == "a convolution for two norms":
            return self.norm(self.second(y)) + self.other(self.second(y * 2))
        if self.how == "a convolution used twice, normed once":
            return self.norm(self.second(y)) + self.second(y * 2)
        return self.norm(y)


ODD = [
    "output is also added",
    "output is also sliced",
    "output is also returned",
    "read by two norms",
    "changed in place",
    "a norm for two convolutions",
    "a convolution for two norms",
    "a convolution used twice, normed once",
    "standardised",
    "parametrised",
    "no statistics",
]


@pytest.mark.parametrize("how", ODD)
def test_shared_and_unusual_layers_are_not_folded(how: str) -> None:
    assert fold_and_compare(randomise(Network(how)), 16) == 0


@pytest.mark.parametrize("how", ["plain", "no weights", "two names"])
def test_plain_convolutions_are_folded(how: str) -> None:
    network = randomise(Network(how))
    assert fold_and_compare(network, 16) == 1
    assert network.first.bias is not None


def test_activation_inside_a_norm_layer_is_kept() -> None:
    network = Network("plain")
    network.norm = timm.layers.BatchNormAct2d(8, act_layer=nn.GELU)
    assert fold_and_compare(randomise(network), 16) == 1
    assert isinstance(network.norm, nn.GELU)


def test_folding_removes_its_hooks() -> None:
    network = randomise(Network("plain"))
    fold_batch_norm(network, torch.zeros(1, 3, 16, 16))
    hooks = [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in network.modules()]
    assert not any(hooks)
