"""Compares squash, crop and pad as preprocessing of full-size photos.

The shipped model was trained on photos squashed to a square. This copy of Flickr8k has photos
squashed to 224 x 224, so each dev photo is stretched to 4:3 at 1600 x 1200 (the shape of most
originals) and, as a portrait, to 3:4. It is saved as JPEG and captioned with each preprocessing.
Captions are scored against the photo's references; `same` counts captions equal to those of the
224-pixel copy. The photos of `examples/`, which were never squashed, are captioned too.

    python benchmarks/full_size.py --data ../shared/flickr8k [--photos 500] [--model M]
"""

from __future__ import annotations

import argparse
import io
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from PIL import Image

from showtell import Captioner
from showtell.bundle import load_bundle
from showtell.bundle.registry import find_bundle
from showtell.data import CaptionedPhoto, open_dataset
from showtell.image import Resize, open_photo
from showtell.scoring.metrics import score_captions

RESIZES: tuple[Resize, ...] = ("squash", "crop", "pad")
SHAPES = {"landscape 4:3": (1600, 1200), "portrait 3:4": (1200, 1600)}


def captioner_with(model: str | None, resize: Resize) -> Captioner:
    """Load a model with another `resize` in its preprocessing."""
    bundle = load_bundle(find_bundle(model))
    preprocessing = replace(bundle.manifest.preprocessing, resize=resize)
    manifest = replace(bundle.manifest, preprocessing=preprocessing)
    return Captioner(replace(bundle, manifest=manifest))


def stretched(photos: list[CaptionedPhoto], size: tuple[int, int]) -> Iterator[bytes]:
    """Yield each photo stretched to `size`, as JPEG bytes."""
    for photo in photos:
        buffer = io.BytesIO()
        large = open_photo(photo.path).resize(size, Image.Resampling.BICUBIC)
        large.save(buffer, "JPEG", quality=90)
        yield buffer.getvalue()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--photos", type=int, default=500, help="number of dev photos")
    parser.add_argument("--model")
    parser.add_argument("--examples", type=Path, default=Path("examples"))
    options = parser.parse_args()

    photos = open_dataset(options.data).split("dev")[: options.photos]
    references = [photo.captions for photo in photos]
    captioners = {resize: captioner_with(options.model, resize) for resize in RESIZES}
    small = [c.text for c in captioners["squash"].caption(photo.path for photo in photos)]
    scores = score_captions(small, references)
    print("| photos | resize | BLEU-4 | METEOR | CIDEr | same |")
    print("|---|---|---|---|---|---|")
    print(
        f"| 224-pixel copies | none | {scores.bleu_4:.1f} | {scores.meteor or 0:.1f} |"
        f" {scores.cider:.1f} | {len(small)} of {len(small)} |"
    )
    for shape, size in SHAPES.items():
        for resize, captioner in captioners.items():
            texts = [c.text for c in captioner.caption(stretched(photos, size))]
            scores = score_captions(texts, references)
            same = sum(a == b for a, b in zip(texts, small, strict=True))
            print(
                f"| {shape}, {size[0]} x {size[1]} | {resize} | {scores.bleu_4:.1f} |"
                f" {scores.meteor or 0:.1f} | {scores.cider:.1f} | {same} of {len(texts)} |",
                flush=True,
            )
    for path in sorted(options.examples.glob("*.jpg")):
        for resize, captioner in captioners.items():
            print(f"{path.name} {resize}: {captioner.caption(path).text}")


if __name__ == "__main__":
    main()
