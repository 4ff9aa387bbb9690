"""A photo, from file, bytes or array, to the model's input: the one `prepare` for all."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Resize = Literal["squash", "crop", "pad"]
Interpolation = Literal["bilinear", "bicubic", "nearest", "lanczos"]


@dataclass(frozen=True)
class Preprocessing:
    """How a photo becomes a model's input; it belongs to the weights and travels with them.

    `resize`: `squash` ignores the photo's shape, `crop` scales the shorter side to
    size / `crop_fraction` and cuts the centre, `pad` scales the longer side and fills with the
    mean. `mean` and `std` are per channel, RGB, for values in 0 to 1.
    """

    height: int = 224
    width: int = 224
    resize: Resize = "squash"
    crop_fraction: float = 1.0
    interpolation: Interpolation = "bilinear"
    mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    std: tuple[float, float, float] = (0.5, 0.5, 0.5)

    def to_dict(self) -> dict[str, Any]:
        """Return the settings as plain JSON data."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Preprocessing:
        """Read what `to_dict` returned."""
        return cls(**{**data, "mean": tuple(data["mean"]), "std": tuple(data["std"])})


_RESAMPLING = {
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "nearest": Image.Resampling.NEAREST,
    "lanczos": Image.Resampling.LANCZOS,
}


def prepare(image: Image.Image, preprocessing: Preprocessing) -> NDArray[np.float32]:
    """Turn an upright RGB image into model input, float32 [3, height, width]."""
    size = (preprocessing.width, preprocessing.height)
    if image.size != size:
        image = image.resize(size, _RESAMPLING[preprocessing.interpolation])
    pixels = np.asarray(image, dtype=np.float32) / 255.0  # (H, W, 3)
    pixels = (pixels - np.float32(preprocessing.mean)) / np.float32(preprocessing.std)
    return np.ascontiguousarray(pixels.transpose(2, 0, 1), dtype=np.float32)
