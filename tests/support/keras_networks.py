"""Keras' own networks with weights that were never trained but behave as if they were."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from numpy.typing import NDArray

_HOME = tempfile.TemporaryDirectory(prefix="keras-")  # Keras writes its settings on import
os.environ.setdefault("KERAS_HOME", _HOME.name)
os.environ.setdefault("KERAS_BACKEND", "torch")
keras = pytest.importorskip("keras", reason="Keras comes with the extra dev")


@dataclass(frozen=True)
class Application:
    """A network of `keras.applications` and what showtell calls it."""

    title: str
    module: str
    preset: str
    network: str  # timm's name
    size: int
    last: str  # the layer whose output is the map

    def pixels(self, photos: Sequence[Path], interpolation: str) -> NDArray[np.float32]:
        """Read photos in Keras' own way."""
        side = (self.size, self.size)
        images = [
            keras.utils.img_to_array(
                keras.utils.load_img(path, target_size=side, interpolation=interpolation)
            )
            for path in photos
        ]
        application = getattr(keras.applications, self.module)
        return np.asarray(application.preprocess_input(np.stack(images)), np.float32)

    def build(self, **options: Any) -> Any:
        """Build the network with random weights."""
        keras.utils.set_random_seed(0)
        return getattr(keras.applications, self.title)(weights=None, **options)

    def settled(self, pixels: NDArray[np.float32]) -> Any:
        """Build the network with random weights whose batch norms fit real photos.

        One pass in training mode sets their statistics: with those that Keras begins with,
        features of random weights vanish, and any two networks agree.
        """
        network = self.build()
        draw = np.random.default_rng(0)
        for layer in network.layers:
            if isinstance(layer, keras.layers.BatchNormalization):
                layer.momentum = 0.0  # this one pass is all that counts
                layer.gamma.assign(draw.uniform(0.5, 1.5, layer.gamma.shape))
                # most channels stay open: dead ones make batch norm enlarge rounding errors
                layer.beta.assign(draw.normal(1, 0.5, layer.beta.shape))
        network(pixels, training=True)
        return network

    def map_of(self, network: Any, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the last map as [photos, channels, height, width]."""
        part = keras.Model(network.input, network.get_layer(self.last).output)
        found = keras.ops.convert_to_numpy(part(pixels, training=False))
        return np.asarray(found.transpose(0, 3, 1, 2), np.float32)


APPLICATIONS = (
    Application("Xception", "xception", "xception", "legacy_xception", 299, "block14_sepconv2_act"),
    Application("MobileNetV2", "mobilenet_v2", "mobilenetv2", "mobilenetv2_100", 224, "out_relu"),
)


def save_legacy(layers: Sequence[Any], path: Path, names: dict[str, str] | None = None) -> Path:
    """Write weights in the older .h5 form, that of the files Keras publishes.

    `names` renames layers: the published Xception was saved by a Keras that numbered otherwise.
    """
    with h5py.File(path, "w") as file:
        called = {layer.name: (names or {}).get(layer.name, layer.name) for layer in layers}
        file.attrs["layer_names"] = [name.encode() for name in called.values()]
        file.attrs["backend"] = b"tensorflow"
        for layer in layers:
            group = file.create_group(called[layer.name])
            kept = [f"{called[layer.name]}/{weight.name}:0" for weight in layer.weights]
            group.attrs["weight_names"] = [name.encode() for name in kept]
            for name, weight in zip(kept, layer.weights, strict=True):
                group[name] = keras.ops.convert_to_numpy(weight)
    return path
