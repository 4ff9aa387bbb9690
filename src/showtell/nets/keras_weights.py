"""Reads weights of `keras.applications` from Keras' HDF5 files, for timm's networks.

There are two formats: the older `.h5` that Keras publishes, with or without the classifier, whose
layers have names; and `.weights.h5` of Keras 3, which numbers the layers of each class. Only
arrays are read; nothing in a file is executed.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from showtell.errors import MissingExtraError, RecipeError

MAGIC = b"\x89HDF\r\n\x1a\n"
MAX_ARRAY_BYTES = 2**28  # of one array; the largest of these networks has 12 MB
CLASSIFIER = "dense"

Array = NDArray[np.float32]


@dataclass(frozen=True)
class Layer:
    """A layer: its name and class in Keras, and the prefix of its parameters in timm."""

    name: str  # in brackets where Keras numbers the layer automatically
    kind: str
    target: str


@dataclass(frozen=True)
class KerasNetwork:
    """A network of `keras.applications`: its layers that have weights, in Keras' order."""

    title: str
    layers: tuple[Layer, ...]


# for each class: timm's parameters in the order of the arrays, and the arrays' dimensions
_PARAMETERS = {
    "conv2d": ("weight",),
    "depthwise_conv2d": ("weight",),
    "separable_conv2d": ("conv1.weight", "pointwise.weight"),
    "batch_normalization": ("weight", "bias", "running_mean", "running_var"),
}

_DIMENSIONS = {
    "conv2d": (4,),
    "depthwise_conv2d": (4,),
    "separable_conv2d": (4, 4),
    "batch_normalization": (1, 1, 1, 1),
    CLASSIFIER: (2, 1),
}


def _xception() -> tuple[Layer, ...]:
    """List Xception's layers (Chollet, Xception, 2017): Keras counts the stem as block 1."""
    layers: list[Layer] = []

    def add(name: str, kind: str, convolution: str, norm: str) -> None:
        layers.append(Layer(name, kind, convolution))
        bn = f"{name[:-1]} norm)" if name.startswith("(") else f"{name}_bn"
        layers.append(Layer(bn, "batch_normalization", norm))

    add("block1_conv1", "conv2d", "conv1", "bn1")
    add("block1_conv2", "conv2d", "conv2", "bn2")
    for block in range(2, 14):
        shrinks = block in (2, 3, 4, 13)
        first = 0 if block == 2 else 1  # timm's blocks start with a ReLU, except the first
        for number in range(2 if shrinks else 3):
            convolution = f"block{block - 1}.rep.{first + 3 * number}"
            norm = f"block{block - 1}.rep.{first + 3 * number + 1}"
            add(f"block{block}_sepconv{number + 1}", "separable_conv2d", convolution, norm)
        if shrinks:
            skip = f"block{block - 1}.skip"
            add(f"(block {block}'s shortcut)", "conv2d", skip, f"{skip}bn")
    add("block14_sepconv1", "separable_conv2d", "conv3", "bn3")
    add("block14_sepconv2", "separable_conv2d", "conv4", "bn4")
    return tuple(layers)


def _mobilenet_v2() -> tuple[Layer, ...]:
    """List MobileNetV2's layers (Sandler et al., MobileNetV2, 2018), of any width."""
    layers: list[Layer] = []

    def add(name: str, kind: str, convolution: str, norm_name: str, norm: str) -> None:
        layers.append(Layer(name, kind, convolution))
        layers.append(Layer(norm_name, "batch_normalization", norm))

    add("Conv1", "conv2d", "conv_stem", "bn_Conv1", "bn1")
    name, prefix = "expanded_conv", "blocks.0.0"
    add(
        f"{name}_depthwise",
        "depthwise_conv2d",
        f"{prefix}.conv_dw",
        f"{name}_depthwise_BN",
        f"{prefix}.bn1",
    )
    add(f"{name}_project", "conv2d", f"{prefix}.conv_pw", f"{name}_project_BN", f"{prefix}.bn2")
    block = 0
    for stage, repeats in enumerate((2, 3, 4, 3, 3, 1), start=1):
        for number in range(repeats):
            block += 1
            name, prefix = f"block_{block}", f"blocks.{stage}.{number}"
            for part, kind, convolution, norm in (
                ("expand", "conv2d", "conv_pw", "bn1"),
                ("depthwise", "depthwise_conv2d", "conv_dw", "bn2"),
                ("project", "conv2d", "conv_pwl", "bn3"),
            ):
                add(
                    f"{name}_{part}",
                    kind,
                    f"{prefix}.{convolution}",
                    f"{name}_{part}_BN",
                    f"{prefix}.{norm}",
                )
    add("Conv_1", "conv2d", "conv_head", "Conv_1_bn", "bn2")
    return tuple(layers)


NETWORKS = {
    "legacy_xception": KerasNetwork("Xception", _xception()),
    **{
        f"mobilenetv2_{width}": KerasNetwork("MobileNetV2", _mobilenet_v2())
        for width in ("035", "050", "075", "100", "140")
    },
}


def read_keras_weights(path: Path, network: str) -> dict[str, Tensor]:
    """Read Keras' weights from the HDF5 file `path` as the parameters of timm's `network`.

    Raises RecipeError where the file is damaged or holds another network's weights, and
    MissingExtraError without h5py.
    """
    try:
        import h5py
    except ImportError:
        raise MissingExtraError(f"{path}: Keras' weights", "train") from None
    if network not in NETWORKS:
        raise RecipeError(
            f"{path}: a Keras file, which only {', '.join(NETWORKS)} can use, not '{network}'"
        )
    keras = NETWORKS[network]
    try:
        with h5py.File(path, "r") as file:
            arrays_of_layers = _Reader(path, file, keras).arrays()
    except (OSError, KeyError, ValueError, TypeError, AttributeError, RuntimeError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise RecipeError(f"{path}: not a complete Keras weights file ({reason})") from None
    state: dict[str, Tensor] = {}
    for layer, arrays in zip(keras.layers, arrays_of_layers, strict=True):
        for name, array in zip(_PARAMETERS[layer.kind], arrays, strict=True):
            state[f"{layer.target}.{name}"] = torch.from_numpy(_in_torch_order(array, layer, name))
    return state


def _in_torch_order(array: Array, layer: Layer, name: str) -> Array:
    """Turn a kernel [height, width, in, out] into [out, in, height, width]; vectors stay."""
    if array.ndim != 4:
        return array
    depthwise = layer.kind == "depthwise_conv2d" or name == "conv1.weight"
    # a depthwise kernel is [height, width, channels, 1]
    order = (2, 3, 0, 1) if depthwise else (3, 2, 0, 1)
    return np.ascontiguousarray(array.transpose(order))


class _Reader:
    """Finds a network's arrays in an open HDF5 file of either format."""

    def __init__(self, path: Path, file: Any, network: KerasNetwork) -> None:
        self.path, self.file, self.network = path, file, network

    def arrays(self) -> list[list[Array]]:
        """Return the arrays of each layer, in the order of the network's layers."""
        group = self.file.get("model_weights", self.file)  # a whole model saved as .h5
        if "layer_names" in group.attrs:
            chosen = self._by_name(group)
        elif "layers" in group:
            chosen = self._by_number(group["layers"])
        else:
            raise RecipeError(
                f"{self.path}: no Keras weights: expected layer_names (.h5) or layers (.weights.h5)"
                f", found {', '.join(sorted(group)[:3]) or 'nothing'}"
            )
        return [
            [self._read(dataset, layer) for dataset in self._counted(layer, datasets)]
            for layer, datasets in zip(self.network.layers, chosen, strict=True)
        ]

    def _by_name(self, group: Any) -> list[list[Any]]:
        """Match layers of the older format by their names, and the rest by their order.

        Keras itself matches by order. It numbers some layers automatically, and published files
        come from versions with other numbers.
        """
        stored: dict[str, list[Any]] = {}
        for name in map(_text, group.attrs["layer_names"]):
            arrays = [group[name][_text(array)] for array in group[name].attrs["weight_names"]]
            if arrays:
                stored[name] = arrays
        names = {layer: layer.name for layer in self.network.layers}
        known = set(names.values())
        for dimensions in set(_DIMENSIONS.values()):
            nameless = [
                layer
                for layer in self.network.layers
                if layer.name not in stored and _DIMENSIONS[layer.kind] == dimensions
            ]
            others = [
                name
                for name, arrays in stored.items()
                if name not in known and _dimensions(arrays) == dimensions
            ]
            if len(nameless) == len(others):
                names |= dict(zip(nameless, others, strict=True))
        missing = [layer.name for layer, name in names.items() if name not in stored]
        used = set(names.values())
        unknown = [
            name
            for name, arrays in stored.items()
            if name not in used and _dimensions(arrays) != _DIMENSIONS[CLASSIFIER]
        ]
        problems = []
        if missing:
            problems.append(f"lacks the layer '{missing[0]}' and {len(missing) - 1} more")
        if unknown:
            problems.append(f"has '{unknown[0]}' and {len(unknown) - 1} more unknown ones")
        if problems:
            raise self._wrong("; ".join(problems))
        return [stored[name] for name in names.values()]

    def _by_number(self, group: Any) -> list[list[Any]]:
        """Match layers of Keras 3: `conv2d`, `conv2d_1`, … are the layers of a class, in order."""
        stored: dict[str, list[tuple[int, str]]] = defaultdict(list)
        for name in group:
            kind, _, number = name.rpartition("_")
            kind, index = (kind, int(number)) if kind and number.isdecimal() else (name, 0)
            if "vars" in group[name] and len(group[name]["vars"]):
                stored[kind].append((index, name))
        expected = Counter(layer.kind for layer in self.network.layers)
        counts = {kind: len(names) for kind, names in stored.items() if kind != CLASSIFIER}
        if counts != expected:
            raise self._wrong(f"expected {_counts(expected)}; found {_counts(counts)}")
        queues = {kind: iter(sorted(names)) for kind, names in stored.items()}
        chosen = []
        for layer in self.network.layers:
            arrays = group[next(queues[layer.kind])[1]]["vars"]
            chosen.append([arrays[key] for key in sorted(arrays, key=int)])
        return chosen

    def _counted(self, layer: Layer, datasets: list[Any]) -> list[Any]:
        expected = len(_PARAMETERS[layer.kind])
        if len(datasets) != expected:
            raise self._wrong(f"'{layer.name}' has {len(datasets)} arrays, expected {expected}")
        return datasets

    def _read(self, dataset: Any, layer: Layer) -> Array:
        """Read one array as float32; refuse arrays in other files and huge ones."""
        in_other_file = dataset.external or dataset.is_virtual
        if in_other_file or dataset.file.filename != self.file.filename:
            raise RecipeError(
                f"{self.path}: '{layer.name}' points to another file, which is not read"
            )
        if dataset.dtype.kind != "f" or dataset.size * 4 > MAX_ARRAY_BYTES:
            raise self._wrong(f"'{layer.name}' holds {dataset.dtype} {dataset.shape}")
        return np.asarray(dataset[()], np.float32)

    def _wrong(self, what: str) -> RecipeError:
        return RecipeError(f"{self.path}: not Keras' weights of {self.network.title}: {what}")


def _text(name: str | bytes) -> str:
    return name.decode() if isinstance(name, bytes) else str(name)


def _dimensions(arrays: Sequence[Any]) -> tuple[int, ...]:
    return tuple(len(array.shape) for array in arrays)


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{number} {kind}" for kind, number in sorted(counts.items())) or "no layers"
