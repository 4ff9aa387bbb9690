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
    """Write one small JPEG per name, each in a different colour."""
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


def write_flickr30k(root: Path, captions: Captions = DOGS) -> Path:
    """Write the layout of the authors' two archives, unpacked into one folder."""
    write_photos(root / "flickr30k-images", captions)
    (root / "results_20130124.token").write_text(token_lines(captions), "utf-8")
    return root


def write_flickr30k_table(root: Path, captions: Captions = DOGS, inner: bool = True) -> Path:
    """Write the layout of Kaggle's zip; `inner` puts it into a folder named like the photos'."""
    top = root / "flickr30k_images" if inner else root
    write_photos(top / "flickr30k_images", captions)
    rows = [
        f"{name}| {number}| {text}\n"
        for name, texts in captions.items()
        for number, text in enumerate(texts)
    ]
    (top / "results.csv").write_text(
        "image_name| comment_number| comment\n" + "".join(rows), "utf-8"
    )
    return root


def karpathy_images(captions: Captions, splits: Mapping[str, str] | None = None) -> list[dict]:
    """Return entries of Karpathy's files; photos without a split are in train."""
    images = []
    for number, (name, texts) in enumerate(captions.items()):
        sentences = [
            {"tokens": text.lower().split(), "raw": text, "imgid": number, "sentid": 5 * number + k}
            for k, text in enumerate(texts)
        ]
        entry = {
            "sentids": [sentence["sentid"] for sentence in sentences],
            "imgid": number,
            "sentences": sentences,
            "split": (splits or {}).get(name, "train"),
            "filename": name,
        }
        images.append(entry)
    return images


def write_karpathy(
    root: Path,
    captions: Captions = DOGS,
    splits: Mapping[str, str] | None = None,
    dataset: str = "flickr30k",
    photo_folder: str = "flickr30k-images",
) -> Path:
    write_photos(root / photo_folder, captions)
    data = {"images": karpathy_images(captions, splits), "dataset": dataset}
    (root / f"dataset_{dataset}.json").write_text(json.dumps(data), "utf-8")
    return root


def coco_name(number: int) -> str:
    return f"{number:012}.jpg"


def write_coco(root: Path, splits: Mapping[str, Captions], year: int = 2017) -> Path:
    """Write COCO's own layout; `splits` maps train or val to captions by photo name."""
    (root / "annotations").mkdir(parents=True, exist_ok=True)
    identity = 100
    for split, captions in splits.items():
        write_photos(root / f"{split}{year}", captions)
        images, annotations = [], []
        for name, texts in captions.items():
            identity += 1
            images.append(
                {
                    "license": 3,
                    "file_name": name,
                    "coco_url": f"http://images.cocodataset.org/{split}{year}/{name}",
                    "height": 8,
                    "width": 8,
                    "id": identity,
                }
            )
            annotations += [
                {"image_id": identity, "id": 10 * identity + k, "caption": text}
                for k, text in enumerate(texts)
            ]
        data = {
            "info": {"description": f"COCO {year} Dataset", "year": year},
            "images": images,
            "licenses": [{"id": 3, "name": "Attribution-NonCommercial-NoDerivs License"}],
            "annotations": annotations[::-1],  # they stand in no order of photos
        }
        file = root / "annotations" / f"captions_{split}{year}.json"
        file.write_text(json.dumps(data), "utf-8")
    return root


def write_beside(root: Path, captions: Captions = DOGS) -> Path:
    """Write photos, each with a text file of one caption per line."""
    write_photos(root, captions)
    for name, texts in captions.items():
        (root / name).with_suffix(".txt").write_text("".join(f"{text}\n" for text in texts))
    return root
