"""Where the steps find their input and put what they compute; the sets of photos.

Input: a data folder with `flickr8k/` (train and dev, as `showtell data check` reads it),
`text/flickr30k.en.txt` (five captions of a photo after another, one a line), `coco/unlabelled/`
(photos) and `coco/dev/` (photos and `captions.csv`); the weights of EfficientNet-Lite2; GloVe.

Output: nothing. `Places` gives the paths of the files that the steps write into the work folder.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch

from showtell.data import open_dataset
from showtell.data.dataset import CaptionedPhoto, Dataset
from showtell.training.malloc import keep_large_blocks

EXAMPLES = (
    "coffee",
    "raccoon",
    "rocket",
    "tiger-in-snow",
    "horses",
    "pagoda",
    "mariachi-band",
    "wine-and-drum",
)
SHIPPED_MODEL = "flickr8k"  # training starts from it
FIRST_HALF = 500  # dev photos of Flickr8k on which is chosen and fitted
COCO_FIRST_HALF = 92


@dataclass(frozen=True)
class Places:
    """The folders and files of a run; `--help` of each step describes them."""

    data: Path
    work: Path
    object_weights: Path
    glove: Path

    @cached_property
    def flickr8k(self) -> Dataset:
        """Flickr8k's train and dev splits."""
        return open_dataset(self.data / "flickr8k")

    @cached_property
    def coco_dev(self) -> list[CaptionedPhoto]:
        """The COCO photos to measure on."""
        return open_dataset(self.data / "coco" / "dev").split("dev")

    def photos(self, name: str) -> list[Path]:
        """Return a set's photos: train, dev, unlabelled, coco_dev or examples (of the tests)."""
        if name == "unlabelled":
            return sorted((self.data / "coco" / "unlabelled").glob("*.jpg"))
        if name == "examples":
            folder = Path(__file__).parents[2] / "tests" / "sample_photos"
            return [folder / f"{example}.jpg" for example in EXAMPLES]
        photos = self.coco_dev if name == "coco_dev" else self.flickr8k.split(name)
        return [photo.path for photo in photos if isinstance(photo.path, Path)]

    def texts(self) -> list[list[str]]:
        """Return the five captions of each photo of Flickr30k."""
        lines = (self.data / "text" / "flickr30k.en.txt").read_text("utf-8").splitlines()
        return [lines[i : i + 5] for i in range(0, len(lines), 5)]

    def regions(self, name: str) -> Path:
        """The encoder's features of a set: float16 [photos, 81, 1280]."""
        return self.work / f"{name}_regions.npy"

    def windows(self, name: str) -> Path:
        """The object network's features of a set: float16 [photos, 10, 1280]."""
        return self.work / f"{name}_windows.npy"


class _Formatter(argparse.RawDescriptionHelpFormatter, argparse.ArgumentDefaultsHelpFormatter):
    """Prints the text as it is, and the defaults."""


def step_parser(description: str | None) -> argparse.ArgumentParser:
    """Return a parser with the options that every step has."""
    parser = argparse.ArgumentParser(description=description, formatter_class=_Formatter)
    add = parser.add_argument
    add("--data", type=Path, default=Path("../shared"), help="folder with flickr8k, text and coco")
    add("--work", type=Path, default=Path("runs/general"), help="folder of what the steps compute")
    add(
        "--object-weights",
        type=Path,
        default=Path("runs/efficientnet-lite2.pth"),
        help="weights of EfficientNet-Lite2",
    )
    add("--glove", type=Path, default=Path("runs/glove"), help="folder of the vectors")
    return parser


def open_places(options: argparse.Namespace) -> Places:
    """Return the places of the parsed options; a step runs on one thread, as measured."""
    torch.set_num_threads(1)
    keep_large_blocks()
    options.work.mkdir(parents=True, exist_ok=True)
    return Places(options.data, options.work, options.object_weights, options.glove)
