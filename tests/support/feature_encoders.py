"""A small "encoder" and photos for it, with few imports so that test processes start fast."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from showtell.data.dataset import CaptionedPhoto
from showtell.image import Preprocessing

SIZE = Preprocessing(height=8, width=8)
SHAPES = {"regions": (4, 3), "pooled": (3,)}


class Encode:
    """A frozen "encoder": the mean of each quadrant of a photo; it counts its calls."""

    def __init__(self, fail_after: int | None = None) -> None:
        self.photos, self.fail_after = 0, fail_after

    def __call__(self, pixels: Any) -> dict[str, Any]:
        if self.fail_after is not None and self.photos + len(pixels) > self.fail_after:
            raise RuntimeError("interrupted")
        self.photos += len(pixels)
        blocks = pixels.reshape(len(pixels), 3, 2, 4, 2, 4).mean(axis=(3, 5))  # (B, 3, 2, 2)
        regions = blocks.reshape(len(pixels), 3, 4).transpose(0, 2, 1)
        return {"regions": regions, "pooled": regions.mean(1), "unwanted": regions}


def photos_in(folder: Path, count: int) -> list[CaptionedPhoto]:
    folder.mkdir(parents=True, exist_ok=True)
    photos = []
    for number in range(count):
        draw = np.random.default_rng(number)
        path = folder / f"{number}.png"
        Image.fromarray(draw.integers(0, 255, (10, 12, 3), np.uint8)).save(path)
        photos.append(CaptionedPhoto(path.name, path, ("a photo",), "train"))
    return photos
