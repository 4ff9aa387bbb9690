"""Keras weights files of every format; wrong ones are refused with the reason."""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import timm
import torch

from showtell.errors import RecipeError, ShowtellError, TrainingError
from showtell.nets.encoder import build_encoder
from showtell.nets.keras_weights import NETWORKS, read_keras_weights
from support.keras_networks import keras, save_legacy

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:keras")

SMALL = "mobilenetv2_035"


def with_drawn_weights(network: Any) -> Any:
    """Draw every array anew: Keras' ones and zeros would hide what is mixed up."""
    draw = np.random.default_rng(0)
    for layer in network.layers:
        for weight in layer.weights:
            weight.assign(draw.uniform(0.5, 1.5, weight.shape))
    return network


@pytest.fixture(scope="module")
def mobilenet() -> Any:
    return with_drawn_weights(
        keras.applications.MobileNetV2((96, 96, 3), alpha=0.35, weights=None, classes=10)
    )


def array(layer: Any, index: int) -> torch.Tensor:
    return torch.from_numpy(np.array(keras.ops.convert_to_numpy(layer.weights[index])))


def whole_model(path: Path, layers: Any) -> Path:
    """`model.save("x.h5")` puts the same into a group, beside the model's description."""
    save_legacy(layers, path)
    with h5py.File(path, "a") as file:
        group = file.create_group("model_weights")
        for name in [name for name in file if name != "model_weights"]:
            file.move(name, f"model_weights/{name}")
        for key in list(file.attrs):
            group.attrs[key] = file.attrs[key]
            del file.attrs[key]
    return path


def weights_h5(path: Path, network: Any) -> Path:
    network.save_weights(path)
    return path


FORMS: dict[str, Callable[[Path, Any], Path]] = {
    "notop.h5": lambda path, network: save_legacy(network.layers[:-2], path),
    "top.h5": lambda path, network: save_legacy(network.layers, path),
    "model.h5": lambda path, network: whole_model(path, network.layers),
    "top.weights.h5": weights_h5,
    "notop.weights.h5": lambda path, network: weights_h5(
        path, keras.Model(network.input, network.get_layer("out_relu").output)
    ),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_format_of_keras_file_gives_the_same_network(
    tmp_path: Path, mobilenet: Any, form: str
) -> None:
    state = read_keras_weights(FORMS[form](tmp_path / form, mobilenet), SMALL)
    ours = timm.create_model(SMALL, num_classes=0).state_dict()
    assert {k for k in ours if not k.endswith("num_batches_tracked")} == set(state)
    assert all(state[name].shape == ours[name].shape for name in state)
    depthwise = mobilenet.get_layer("block_3_depthwise")  # [height, width, channels, 1]
    assert torch.equal(
        state["blocks.2.0.conv_dw.weight"][:, 0], array(depthwise, 0)[..., 0].permute(2, 0, 1)
    )
    project = mobilenet.get_layer("block_16_project")  # [height, width, in, out]
    assert torch.equal(state["blocks.6.0.conv_pwl.weight"], array(project, 0).permute(3, 2, 0, 1))
    norm = mobilenet.get_layer("bn_Conv1")
    for index, name in enumerate(("weight", "bias", "running_mean", "running_var")):
        assert torch.equal(state[f"bn1.{name}"], array(norm, index))


def test_a_keras_file_gets_keras_settings(tmp_path: Path, mobilenet: Any) -> None:
    path = FORMS["notop.h5"](tmp_path / "notop.h5", mobilenet)
    spec = build_encoder(SMALL, str(path), image_size=64).spec
    assert (spec.options, spec.batch_norm_epsilon) == ({"pad_type": "same"}, 1e-3)
    assert (spec.preprocessing.mean, spec.preprocessing.resize) == ((0.5, 0.5, 0.5), "squash")
    assert spec.source == "notop.h5"


@pytest.fixture(scope="module")
def xception() -> Any:
    """Xception's layers alone: their arrays are drawn one by one as they are asked for."""
    return with_drawn_weights(
        keras.applications.Xception(weights=None, include_top=False, input_shape=(71, 71, 3))
    )


def test_xceptions_shortcuts_are_found_under_any_number(tmp_path: Path, xception: Any) -> None:
    """The published file was saved by Keras 1, which numbered from 1 and by other names."""
    shortcuts = [f"conv2d{n}" for n in ("", "_1", "_2", "_3")]
    norms = [f"batch_normalization{n}" for n in ("", "_1", "_2", "_3")]
    layers = [layer for layer in xception.layers if layer.weights]
    auto = [layer for layer in layers if not layer.name.startswith("block")]
    convolutions = [layer for layer in auto if len(layer.weights) == 1]
    assert len(convolutions) == len(shortcuts) == len(auto) - len(norms)
    old = {layer.name: f"convolution2d_{n}" for n, layer in enumerate(convolutions, 1)}
    old |= {
        layer.name: f"batchnormalization_{n}"
        for n, layer in enumerate((layer for layer in auto if layer not in convolutions), 1)
    }
    named = read_keras_weights(save_legacy(layers, tmp_path / "old.h5", old), "legacy_xception")
    counted = read_keras_weights(weights_h5(tmp_path / "x.weights.h5", xception), "legacy_xception")
    assert named.keys() == counted.keys()
    assert all(torch.equal(named[name], counted[name]) for name in named)
    ours = timm.create_model("legacy_xception", num_classes=0).state_dict()
    assert {k for k in ours if not k.endswith("num_batches_tracked")} == set(named)
    for block, layer in zip((1, 2, 3, 12), convolutions, strict=True):
        assert torch.equal(named[f"block{block}.skip.weight"], array(layer, 0).permute(3, 2, 0, 1))


def test_layers_with_other_names_are_matched_in_order_as_in_keras(
    tmp_path: Path, mobilenet: Any
) -> None:
    layers = [layer for layer in mobilenet.layers if layer.weights]
    names = {layer.name: f"mobl{number}" for number, layer in enumerate(layers)}
    renamed = read_keras_weights(save_legacy(layers, tmp_path / "old.h5", names), SMALL)
    named = read_keras_weights(FORMS["top.h5"](tmp_path / "top.h5", mobilenet), SMALL)
    assert all(torch.equal(renamed[name], named[name]) for name in named)


def small_file(path: Path, layers: dict[str, list[np.ndarray[Any, Any]]]) -> Path:
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [name.encode() for name in layers]
        for name, arrays in layers.items():
            group = file.create_group(name)
            kept = [f"{name}/{index}" for index in range(len(arrays))]
            group.attrs["weight_names"] = kept
            for key, values in zip(kept, arrays, strict=True):
                group[key] = values
    return path


def test_another_networks_keras_file_says_what_was_expected_and_found(
    tmp_path: Path, mobilenet: Any
) -> None:
    named = FORMS["top.h5"](tmp_path / "named.h5", mobilenet)
    with pytest.raises(RecipeError) as error:
        build_encoder("xception", str(named))
    assert str(error.value).startswith(f"{named}: not Keras' weights of Xception: lacks the layer ")
    assert "'block1_conv1' and 79 more; has 'Conv1' and 103 more unknown ones" in str(error.value)
    counted = FORMS["top.weights.h5"](tmp_path / "counted.weights.h5", mobilenet)
    with pytest.raises(
        RecipeError,
        match=r"expected 40 batch_normalization, 6 conv2d, 34 separable_conv2d;"
        r" found 52 batch_normalization, 35 conv2d, 17 depthwise_conv2d",
    ):
        build_encoder("xception", str(counted))


def test_another_width_of_the_network_says_both_shapes(tmp_path: Path, mobilenet: Any) -> None:
    path = FORMS["notop.h5"](tmp_path / "narrow.h5", mobilenet)
    with pytest.raises(RecipeError, match=r"narrow.h5: .*\(16, 3, 3, 3\), expected \(32, 3, 3, 3"):
        build_encoder("mobilenetv2", str(path))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda layers: layers["Conv1"].append(np.zeros(16)), "'Conv1' has 2 arrays, expected 1"),
        (
            lambda layers: layers.update(Conv1=[np.array([b"text"])]),
            r"'Conv1' holds \|S4 \(1,\)",
        ),
        (lambda layers: layers.pop("Conv_1_bn"), "lacks the layer 'Conv_1_bn' and 0 more"),
        (
            lambda layers: layers.update(mine=[np.zeros((1, 1, 2, 2))]),
            "has 'mine' and 0 more unknown ones",
        ),
    ],
)
def test_a_keras_file_with_odd_layers_names_the_layer(
    tmp_path: Path, change: Callable[[Any], Any], message: str
) -> None:
    sizes = {"conv2d": [4], "depthwise_conv2d": [4], "batch_normalization": [1] * 4}
    layers = {
        layer.name: [np.zeros([1] * dimensions, np.float32) for dimensions in sizes[layer.kind]]
        for layer in NETWORKS[SMALL].layers
    }
    change(layers)
    with pytest.raises(RecipeError, match=message) as error:
        build_encoder(SMALL, str(small_file(tmp_path / "odd.h5", layers)))
    assert "\n" not in str(error.value)


def test_arrays_in_other_files_and_huge_arrays_are_not_read(tmp_path: Path) -> None:
    secret = tmp_path / "secret.bin"
    secret.write_bytes(bytes(1000))
    other = small_file(tmp_path / "other.h5", {"Conv1": [np.zeros((1, 1, 1, 1), np.float32)]})

    def outside(group: Any) -> None:
        group.create_dataset("Conv1/0", (4,), "f4", external=[(str(secret), 0, 16)])

    def linked(group: Any) -> None:
        group["Conv1/0"] = h5py.ExternalLink(str(other), "Conv1/Conv1/0")

    def endless(group: Any) -> None:  # a terabyte, in a few hundred bytes
        group.create_dataset("Conv1/0", (2**38,), "f4", chunks=(1024,))

    sizes = {"conv2d": 1, "depthwise_conv2d": 1, "batch_normalization": 4}
    layers = {
        layer.name: [np.zeros(1, np.float32)] * sizes[layer.kind]
        for layer in NETWORKS[SMALL].layers
    }
    for put, message in (
        (outside, "'Conv1' points to another file"),
        (linked, "'Conv1' points to another file"),
        (endless, "'Conv1' holds float32 .274877906944"),
    ):
        path = small_file(tmp_path / f"{put.__name__}.h5", layers)
        with h5py.File(path, "a") as file:
            del file["Conv1/Conv1/0"]
            put(file["Conv1"])
        with pytest.raises(RecipeError, match=message):
            build_encoder(SMALL, str(path))


def test_hdf5_without_keras_weights_damaged_or_for_another_network_is_named(
    tmp_path: Path, mobilenet: Any
) -> None:
    with h5py.File(tmp_path / "table.h5", "w") as file:
        file["measurements"] = np.zeros(3)
    whole = FORMS["notop.h5"](tmp_path / "whole.h5", mobilenet).read_bytes()
    (tmp_path / "half.h5").write_bytes(whole[: len(whole) // 2])
    for name, network, message in (
        ("table.h5", "xception", "table.h5: no Keras weights: .* found measurements"),
        ("half.h5", "xception", "half.h5: not a complete Keras weights file"),
        ("whole.h5", "test_resnet", "only legacy_xception, .* can use, not 'test_resnet'"),
    ):
        with pytest.raises(RecipeError, match=message) as error:
            build_encoder(network, str(tmp_path / name))
        assert "\n" not in str(error.value)


class Bomb:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return (Path.touch, (self.mark,))


def test_pickles_are_refused_without_loading_them(tmp_path: Path) -> None:
    torch.save({"weight": torch.zeros(1)}, tmp_path / "new.pth")
    (tmp_path / "old.bin").write_bytes(pickle.dumps(Bomb(tmp_path / "ran"), protocol=4))
    for name in ("new.pth", "old.bin"):
        with pytest.raises(TrainingError, match=f"{name}: a pickle.* as safetensors"):
            build_encoder("mobilenetv2", str(tmp_path / name))
    assert not (tmp_path / "ran").exists()


def test_a_whole_keras_model_or_a_folder_is_refused_with_an_alternative(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "model.keras", "w") as archive:
        archive.writestr("config.json", "{}")
        archive.writestr("model.weights.h5", "")
    with pytest.raises(TrainingError, match=r"whole Keras model: .*save_weights"):
        build_encoder("mobilenetv2", str(tmp_path / "model.keras"))
    with pytest.raises(ShowtellError, match="cannot be read"):
        build_encoder("mobilenetv2", str(tmp_path))
