"""Small datasets of every layout, as files on disk."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from PIL import Image

from showtell.data import Dataset

Captions = Mapping[str, Sequence[str]]
DOGS: Captions = {
    "dog.jpg": ("A dog runs .", 'The sign says "dog", in red', "dog"),
    "cat.jpg": ("A cat, asleep", "Two cats"),
    "bird.jpg": ("A bird flies",),
    "fish.jpg": ("Fish swim",),
}


def write_photos(folder: Path, names: Iterable[str]) -> None:
    """Write one small JPEG a name, each of another colour."""
    for number, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), (number * 20 % 256, 99, 200)).save(path, "JPEG")


def token_lines(captions: Captions) -> str:
    return "".join(
        f"{name}#{number}\t{caption}\n"
        for name, texts in captions.items()
        for number, caption in enumerate(texts)
    )


def write_flickr8k(
    root: Path,
    captions: Captions = DOGS,
    lists: Mapping[str, Sequence[str]] | None = None,
    photo_folder: str = "Flicker8k_Dataset",
    text_folder: str = "Flickr8k_text",
) -> Path:
    """Write the original layout; `lists` maps train, dev or test to names."""
    write_photos(root / photo_folder, captions)
    text = root / text_folder
    text.mkdir(parents=True, exist_ok=True)
    (text / "Flickr8k.token.txt").write_text(token_lines(captions), "utf-8")
    for split, names in (lists or {}).items():
        (text / f"Flickr_8k.{split}Images.txt").write_text("".join(f"{n}\n" for n in names))
    return root


def write_kaggle(root: Path, captions: Captions = DOGS) -> Path:
    write_photos(root / "Images", captions)
    rows = [(name, text) for name, texts in captions.items() for text in texts]
    write_csv(root / "captions.txt", ["image", "caption"], rows)
    return root


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[str]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows)
    return path


def write_jsonl(path: Path, rows: Iterable[object]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return path


def write_own(root: Path, captions: Captions = DOGS) -> Path:
    """Write photos and a CSV without splits."""
    write_photos(root, captions)
    rows = [(name, text) for name, texts in captions.items() for text in texts]
    write_csv(root / "captions.csv", ["image", "caption"], rows)
    return root


def captions_of(dataset: Dataset) -> dict[str, tuple[str, ...]]:
    return {photo.name: photo.captions for photo in dataset.photos}


def splits_of(dataset: Dataset) -> dict[str, str | None]:
    return {photo.name: photo.split for photo in dataset.photos}
