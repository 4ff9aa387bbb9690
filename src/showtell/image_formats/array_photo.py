"""Turn a numpy array into an RGB image."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from showtell.errors import PhotoError
from showtell.image_formats.sample_depth import to_8_bits
from showtell.image_formats.upright_rgb import flat_rgb


def image_from_array(array: NDArray[Any]) -> Image.Image:
    """Return an array as an RGB image, alpha on white.

    `array` is [height, width] or [height, width, 1, 3 or 4]: uint8, uint16, bool, or float in 0
    to 1. Raises PhotoError for another shape, type or range.
    """
    shape = array.shape
    if len(shape) == 3 and shape[2] == 1:
        array = array[:, :, 0]
    if array.ndim not in (2, 3) or array.size == 0 or (array.ndim == 3 and shape[2] not in (3, 4)):
        raise PhotoError(
            f"shape {list(shape)} is not a photo: give [height, width] or [height, width, 3 or 4]"
        )
    if array.dtype == np.uint16:
        array = to_8_bits(array, bits=16)
    elif array.dtype == np.bool_:
        array = array.astype(np.uint8) * np.uint8(255)
    elif array.dtype.kind == "f":
        if not (np.isfinite(array).all() and array.min() >= 0 and array.max() <= 1):
            raise PhotoError("floats outside of 0 to 1: divide by the largest value, or give uint8")
        array = to_8_bits(array * array.dtype.type(255), bits=8)
    elif array.dtype != np.uint8:
        raise PhotoError(f"unsupported dtype {array.dtype}: give uint8, uint16, bool or float")
    return flat_rgb(Image.fromarray(np.ascontiguousarray(array)), None)
