"""Encoders: shape and order of features, trainable parts, and the port of the shared weights."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import load_file

from showtell.errors import RecipeError
from showtell.image import Preprocessing, open_photo, prepare
from showtell.nets.decoder import DecoderSettings
from showtell.nets.encoder import (
    Encoder,
    EncoderSpec,
    build_encoder,
    encoder_from_spec,
)
from showtell.nets.model import CaptionModel
from support.paths import SAMPLE_PHOTOS


@pytest.mark.parametrize("name", ["test_resnet", "test_efficientnet", "test_mambaout"])
def test_regions_are_the_feature_map_in_row_order_and_pooled_is_their_mean(name: str) -> None:
    spec = replace(EncoderSpec(name), preprocessing=Preprocessing(height=64, width=96))
    encoder = encoder_from_spec(spec)
    pixels = torch.randn(2, 3, 64, 96)
    with torch.inference_mode():
        features = encoder(pixels)
        feature_map = encoder.network.forward_features(pixels)  # type: ignore[operator]
    if name == "test_mambaout":  # channels last
        feature_map = feature_map.permute(0, 3, 1, 2)
    height, width = encoder.grid
    assert (height, width) == (2, 3)
    assert features["regions"].shape == (2, height * width, encoder.channels)
    for row in range(height):
        for column in range(width):
            torch.testing.assert_close(
                features["regions"][:, row * width + column], feature_map[:, :, row, column]
            )
    torch.testing.assert_close(features["pooled"], features["regions"].mean(1))


def test_a_change_at_the_bottom_changes_the_lower_regions_most() -> None:
    torch.manual_seed(0)
    encoder = encoder_from_spec(
        EncoderSpec("test_resnet", preprocessing=Preprocessing(height=192, width=128))
    )
    one = torch.zeros(1, 3, 192, 128)
    two = one.clone()
    two[:, :, 170:, :20] = 3.0  # bottom left
    with torch.inference_mode():
        moved = (encoder(two)["regions"] - encoder(one)["regions"]).norm(dim=-1)[0]
    height, width = encoder.grid
    assert (height, width) == (6, 4)
    assert int(moved.argmax()) == (height - 1) * width


def trained_names(encoder: Encoder) -> set[str]:
    return {name for name, p in encoder.network.named_parameters() if p.requires_grad}


@pytest.mark.parametrize(
    ("name", "last", "not_last"),
    [
        ("mobilenetv2_035", {"blocks.5", "blocks.6", "conv_head"}, {"blocks.4", "conv_stem"}),
        ("test_resnet", {"layer4"}, {"layer3", "conv1"}),
        ("legacy_xception", {"conv3", "conv4"}, {"block11", "conv1"}),
    ],
)
def test_training_can_include_nothing_the_last_stage_or_all_of_an_encoder(
    name: str, last: set[str], not_last: set[str]
) -> None:
    encoder = build_encoder(name, "none", 64)
    assert trained_names(encoder) == set()
    encoder.set_trainable("all")
    everything = trained_names(encoder)
    assert everything == {name for name, _ in encoder.network.named_parameters()}
    encoder.set_trainable("last")
    some = trained_names(encoder)
    assert some < everything
    for part in last:
        assert any(f"{name}.".startswith(f"{part}.") for name in some), part
    for part in not_last:
        assert not any(name.startswith(f"{part}.") for name in some), part
    encoder.set_trainable("none")
    assert trained_names(encoder) == set()


@pytest.mark.parametrize("mode", [True, False])
def test_the_check_for_unused_parameters_keeps_the_mode(mode: bool) -> None:
    encoder = build_encoder("mobilenetv2_035", "none", 64)
    encoder.set_trainable("all")
    encoder.train(mode)
    modes = {name: module.training for name, module in encoder.named_modules()}
    assert not encoder.has_unused_parameters()
    assert {name: module.training for name, module in encoder.named_modules()} == modes


class NoStages(torch.nn.Module):
    """A network without timm's list of stages."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = torch.nn.Conv2d(3, 4, 3, stride=2)

    def forward_features(self, pixels: torch.Tensor) -> torch.Tensor:
        features: torch.Tensor = self.conv(pixels)
        return features


def test_a_network_without_a_list_of_stages_trains_as_a_whole_or_not_at_all() -> None:
    spec = EncoderSpec("plain", preprocessing=Preprocessing(height=16, width=16))
    encoder = Encoder(spec, NoStages())
    assert trained_names(encoder) == set()
    encoder.set_trainable("all")
    assert trained_names(encoder) == {"conv.weight", "conv.bias"}
    with pytest.raises(RecipeError, match=r"'plain': .* set train_encoder to all or none"):
        encoder.set_trainable("last")


def test_batch_norm_that_could_not_be_folded_stays_frozen_in_training() -> None:
    size = Preprocessing(height=64, width=64)
    encoder = encoder_from_spec(EncoderSpec("resnetv2_18", preprocessing=size))
    encoder.fold_batch_norm()
    encoder.set_trainable("all")
    encoder.train()
    norms = [m for m in encoder.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert norms
    before = [m.running_mean.clone() for m in norms if m.running_mean is not None]
    encoder(torch.randn(4, 3, 64, 64))["pooled"].sum().backward()
    after = [m.running_mean for m in norms if m.running_mean is not None]
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
    assert not any(p.requires_grad for m in norms for p in m.parameters())


def test_training_and_evaluation_mode_compute_the_same_features() -> None:
    encoder = CaptionModel(build_encoder("test_efficientnet", "none", 64), DecoderSettings(), 9)
    pixels = torch.randn(2, 3, 64, 64)
    with torch.inference_mode():
        trained = encoder.train().encoder(pixels)["regions"]
        used = encoder.eval().encoder(pixels)["regions"]
    assert torch.equal(trained, used)


@pytest.mark.shared
def test_the_shared_weights_give_the_features_of_the_plain_timm_network(shared_dir: Path) -> None:
    file = shared_dir / "weights" / "mobilenetv2_100.safetensors"
    encoder = build_encoder("mobilenetv2", str(file))
    plain = timm.create_model("mobilenetv2_100", pad_type="same").eval()
    plain.load_state_dict(load_file(file), strict=False)
    pixels = torch.from_numpy(
        np.stack(
            [
                prepare(open_photo(SAMPLE_PHOTOS / name), encoder.spec.preprocessing)
                for name in ("rocket.jpg", "horses.jpg")
            ]
        )
    )
    with torch.inference_mode():
        whole = plain.forward_features(pixels)
        regions = encoder(pixels)["regions"]
    torch.testing.assert_close(
        regions.transpose(1, 2).reshape(whole.shape), whole, rtol=1e-3, atol=2e-3
    )
    assert (encoder.grid, encoder.channels) == ((7, 7), 1280)


@pytest.mark.shared
def test_the_shared_weights_with_their_classifier_recognise_the_examples(
    shared_dir: Path,
) -> None:
    """ImageNet classes by number: the port is right, padding, mean and channel order included."""
    file = shared_dir / "weights" / "mobilenetv2_100.safetensors"
    encoder = build_encoder("mobilenetv2", str(file))
    classifier = {k: v for k, v in load_file(file).items() if k.startswith("classifier.")}
    known = {
        "german-shepherd.jpg": {235},  # German shepherd
        "rocket.jpg": {744, 657},  # projectile, missile
        "coffee.jpg": {967, 968, 504},  # espresso, cup, coffee mug
        "tiger-in-snow.jpg": {292},  # tiger
    }
    for name, classes in known.items():
        pixels = prepare(open_photo(SAMPLE_PHOTOS / name), encoder.spec.preprocessing)
        with torch.inference_mode():
            pooled = encoder(torch.from_numpy(pixels)[None])["pooled"][0]
        scores = classifier["classifier.weight"] @ pooled + classifier["classifier.bias"]
        assert int(scores.argmax()) in classes, name


def test_an_encoder_with_random_weights_also_trains_its_batch_norm() -> None:
    encoder = build_encoder("test_resnet", "none", 64)
    norms = [m for m in encoder.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert norms
    before = [m.running_mean.clone() for m in norms if m.running_mean is not None]
    for part, changes in (("last", False), ("all", True)):
        encoder.set_trainable(part)
        encoder.train()
        encoder(torch.randn(4, 3, 64, 64))
        after = [m.running_mean for m in norms if m.running_mean is not None]
        same = [torch.equal(a, b) for a, b in zip(before, after, strict=True)]
        assert not any(same) if changes else all(same)
    assert all(p.requires_grad for p in encoder.parameters())
