"""A synthetic captioned set, drawn: to test a training kit without downloading anything."""

from __future__ import annotations

import json
import os
import random
import shutil
from pathlib import Path

from PIL import Image, ImageDraw

from showtell.data.dataset import Dataset
from showtell.data.readers.registry import open_dataset
from showtell.data.synthetic.scenes import Scene, Shape, draw_captions, draw_scene
from showtell.errors import DatasetError

SMALLEST = 32  # pixels: below this, a small triangle is a small square
_SHARPNESS = 4  # drawn so many times larger, then reduced: edges without steps
_RGB = {
    "red": (220, 40, 40),
    "green": (45, 175, 65),
    "blue": (60, 95, 230),
    "yellow": (240, 215, 50),
}


def draw_shapes(directory: Path, count: int, seed: int = 0, size: int = 96) -> Dataset:
    """Draw `count` photos of shapes, `size` pixels wide and high, with five captions each.

    The first caption of a photo is its canonical one, "a small red circle above a blue square".
    A tenth of the photos each is dev and test (at least one, from three photos on), and no scene
    of these is in train. The same seed draws the same set. `captions.jsonl` also holds each
    photo's scene. The folder is there whole or not at all.
    Raises DatasetError where the folder holds anything already.
    """
    if count < 1 or size < SMALLEST:
        raise DatasetError(
            f"shapes need at least 1 photo of {SMALLEST} pixels, not {count} of {size}"
        )
    directory = Path(directory)
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise DatasetError(f"{directory}: not empty: choose another folder for the shapes")
    target = directory.resolve()
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.name}.{os.getpid()}.partial")
    try:
        (partial / "photos").mkdir(parents=True)
        _draw_into(partial, count, seed, size)
        if target.exists():  # empty, and perhaps where somebody's shell is: fill, not replace it
            (partial / "photos").rename(target / "photos")
            (partial / "captions.jsonl").rename(target / "captions.jsonl")
        else:
            partial.rename(target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return open_dataset(directory)


def draw_photo(scene: Scene, size: int, background: int = 50, light: float = 1.0) -> Image.Image:
    """Draw a scene as an RGB image; `background` is a grey, `light` scales the shapes' colours."""
    side = size * _SHARPNESS
    image = Image.new("RGB", (side, side), (background, background, background))
    pen = ImageDraw.Draw(image)
    for shape in reversed(scene.shapes):  # what is inside comes on top
        red, green, blue = (min(255, round(value * light)) for value in _RGB[shape.colour])
        _draw_shape(pen, shape, side, (red, green, blue))
    return image.reduce(_SHARPNESS)


def _draw_into(folder: Path, count: int, seed: int, size: int) -> None:
    held_out = max(1, count // 10) if count >= 3 else 0
    lines = []
    for index in range(count):
        # A stream of chance for each photo: its scene does not hang on what came before it.
        chance = random.Random(f"{seed}/{index}")  # noqa: S311 (nothing is secret here)
        left = count - index
        split = "test" if left <= held_out else "dev" if left <= 2 * held_out else "train"
        scene = draw_scene(chance, split)
        photo = draw_photo(scene, size, chance.randint(20, 80), chance.uniform(0.85, 1.1))
        name = f"photos/{index:05d}.png"
        photo.save(folder / name)
        captions = draw_captions(chance, scene)
        row = {"image": name, "captions": captions, "split": split, "scene": scene.to_dict()}
        lines.append(json.dumps(row) + "\n")
    (folder / "captions.jsonl").write_text("".join(lines), "utf-8")


def _draw_shape(
    pen: ImageDraw.ImageDraw, shape: Shape, side: int, colour: tuple[int, int, int]
) -> None:
    x, y, radius = shape.x * side, shape.y * side, shape.radius * side
    if shape.kind == "circle":
        pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)
    elif shape.kind == "square":
        half = 0.88 * radius  # about as large to the eye as the circle
        pen.rectangle((x - half, y - half, x + half, y + half), fill=colour)
    else:
        base, width = y + 0.75 * radius, 0.95 * radius
        pen.polygon([(x, y - radius), (x - width, base), (x + width, base)], fill=colour)
