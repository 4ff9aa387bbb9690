"""Draw a synthetic captioned dataset, to test training without a download."""

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
from showtell.data.synthetic.wordings import WORDINGS
from showtell.errors import DatasetError

MIN_SIZE = 32  # pixels: in smaller photos, a small triangle looks like a small square
_SUPERSAMPLING = 4  # photos are drawn this many times larger and reduced, for smooth edges
_RGB = {
    "red": (220, 40, 40),
    "green": (45, 175, 65),
    "blue": (60, 95, 230),
    "yellow": (240, 215, 50),
}


def draw_shapes(
    directory: Path, count: int, seed: int = 0, size: int = 96, language: str = "en"
) -> Dataset:
    """Draw `count` photos of shapes, `size` pixels wide and high, with five captions each.

    The first caption of a photo is the canonical one, such as "a small red circle above a blue
    square". Dev and test are a tenth of the photos each (at least one photo, from three photos on),
    and none of their scenes is in train. The same seed draws the same photos, also in another
    `language` (en, ja or zh). `captions.jsonl` also contains each photo's scene, and the language
    if it is not English. The folder appears when it is complete.

    Raises DatasetError if the folder is not empty or there are no words of that language.
    """
    if language not in WORDINGS:
        raise DatasetError(
            f"shapes have no words in {language!r}: choose one of {', '.join(WORDINGS)}"
        )
    if count < 1 or size < MIN_SIZE:
        raise DatasetError(
            f"shapes need at least 1 photo of {MIN_SIZE} pixels, not {count} of {size}"
        )
    directory = Path(directory)
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise DatasetError(f"{directory}: not empty: choose another folder for the shapes")
    target = directory.resolve()
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.name}.{os.getpid()}.partial")
    try:
        (partial / "photos").mkdir(parents=True)
        _draw_into(partial, count, seed, size, language)
        if target.exists():  # keep the empty folder: a shell may be in it
            (partial / "photos").rename(target / "photos")
            (partial / "captions.jsonl").rename(target / "captions.jsonl")
        else:
            partial.rename(target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return open_dataset(directory)


def draw_photo(scene: Scene, size: int, background: int = 50, light: float = 1.0) -> Image.Image:
    """Draw a scene as an RGB image; `background` is a grey, `light` scales the shapes' colours."""
    side = size * _SUPERSAMPLING
    image = Image.new("RGB", (side, side), (background, background, background))
    pen = ImageDraw.Draw(image)
    for shape in reversed(scene.shapes):  # draw the inner shape last
        red, green, blue = (min(255, round(value * light)) for value in _RGB[shape.colour])
        _draw_shape(pen, shape, side, (red, green, blue))
    return image.reduce(_SUPERSAMPLING)


def _draw_into(folder: Path, count: int, seed: int, size: int, language: str) -> None:
    held_out = max(1, count // 10) if count >= 3 else 0
    lines = []
    for index in range(count):
        # One generator per photo, so that a scene does not depend on the photos before it.
        rng = random.Random(f"{seed}/{index}")  # noqa: S311 (not for cryptography)
        left = count - index
        split = "test" if left <= held_out else "dev" if left <= 2 * held_out else "train"
        scene = draw_scene(rng, split)
        photo = draw_photo(scene, size, rng.randint(20, 80), rng.uniform(0.85, 1.1))
        name = f"photos/{index:05d}.png"
        photo.save(folder / name)
        captions = draw_captions(rng, scene, language)
        row = {"image": name, "captions": captions, "split": split, "scene": scene.to_dict()}
        if language != "en":
            row["language"] = language
        lines.append(json.dumps(row, ensure_ascii=False) + "\n")
    (folder / "captions.jsonl").write_text("".join(lines), "utf-8")


def _draw_shape(
    pen: ImageDraw.ImageDraw, shape: Shape, side: int, colour: tuple[int, int, int]
) -> None:
    x, y, radius = shape.x * side, shape.y * side, shape.radius * side
    if shape.kind == "circle":
        pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)
    elif shape.kind == "square":
        half = 0.88 * radius  # looks about as large as the circle
        pen.rectangle((x - half, y - half, x + half, y + half), fill=colour)
    else:
        base, width = y + 0.75 * radius, 0.95 * radius
        pen.polygon([(x, y - radius), (x - width, base), (x + width, base)], fill=colour)
