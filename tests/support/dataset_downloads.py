"""Small archives of published datasets, and their sources with addresses of a local server."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from PIL import Image

from showtell.data.download.fetch import FetchOptions, fetch_dataset, plan_fetch
from showtell.data.download.sources import FLICKR8K, DatasetSource
from support.dataset_folders import karpathy_images, token_lines
from support.file_server import FileServer

QUICK = FetchOptions(timeout=60, pause=0.01, attempts=2, progress=False)
CAPTIONS = {f"{n}_abcdef012{n}.jpg": (f"A dog {n}", "A cat") for n in range(100_001, 100_007)}
SPLITS = {"train": list(CAPTIONS)[:4], "dev": list(CAPTIONS)[4:5], "test": list(CAPTIONS)[5:]}


def jpeg(number: int) -> bytes:
    buffer = io.BytesIO()
    noise = Image.effect_noise((64, 64), 60).convert("RGB")  # so that all photos differ
    noise.putpixel((0, 0), (number % 256, 0, 0))
    noise.save(buffer, "JPEG")
    return buffer.getvalue()


def flickr8k_files() -> dict[str, dict[str, bytes]]:
    """Return the content of small archives of Flickr8k, with the extra files of macOS."""
    text = {
        "Flickr8k.token.txt": token_lines(CAPTIONS).encode(),
        "readme.txt": b"If you use this corpus",
        "__MACOSX/._readme.txt": b"\0\5\x16\7",
    }
    for split, names in SPLITS.items():
        text[f"Flickr_8k.{split}Images.txt"] = "".join(f"{name}\n" for name in names).encode()
    photos = {f"Flicker8k_Dataset/{name}": jpeg(n) for n, name in enumerate(CAPTIONS)}
    mac = {f"__MACOSX/Flicker8k_Dataset/._{name}": b"\0\5\x16\7" for name in CAPTIONS}
    return {"Flickr8k_text.zip": text, "Flickr8k_Dataset.zip": photos | mac}


def pointed_at(
    server: FileServer, source: DatasetSource = FLICKR8K, places: str = "ab", limit: int = 1_000_000
) -> DatasetSource:
    """Return a source with the addresses and hashes of the archives on a local server."""
    archives = []
    for archive in source.archives:
        body = server.files.get(f"/a/{archive.name}")
        algorithm = "sha256" if archive.sha256 else "md5"
        hashes = {algorithm: hashlib.new(algorithm, body).hexdigest()} if body is not None else {}
        urls = tuple(f"{server.url}/{place}/{archive.name}" for place in places)
        archives.append(
            replace(
                archive,
                urls=urls if archive.urls else (),
                bytes=limit,
                unpacked=limit,
                **hashes,
            )
        )
    return replace(source, archives=tuple(archives))


def flickr30k_photos(make: Callable[[Path, dict[str, bytes]], Path], path: Path) -> Path:
    """Write photos as in Kaggle's archive: the folder twice, and a table."""
    photos = {f"{n}.jpg": jpeg(n) for n in range(36979, 36983)}
    files = {f"flickr30k_images/flickr30k_images/{name}": data for name, data in photos.items()}
    files |= {f"flickr30k_images/{name}": data for name, data in files.items()}
    files["flickr30k_images/results.csv"] = b"image_name| comment_number| comment\n"
    return make(path, files)


def karpathy_files() -> dict[str, bytes]:
    """Return Karpathy's three files, one of them for four photos of Flickr30k."""
    captions = {f"{n}.jpg": ("A dog",) for n in range(36979, 36983)}
    splits = {"36980.jpg": "val", "36981.jpg": "test"}
    data = json.dumps({"images": karpathy_images(captions, splits), "dataset": "flickr30k"})
    files = {f"dataset_{name}.json": b"{}" for name in ("coco", "flickr8k")}
    return files | {"dataset_flickr30k.json": data.encode()}


def coco_files() -> dict[str, dict[str, bytes]]:
    """Return COCO's archives of 2017 with three photos, and Karpathy's file with names of 2014."""
    images = karpathy_images({f"COCO_val2014_{n:012}.jpg": ("A dog",) for n in (1, 2, 3)})
    for image, split, number in zip(images, ("restval", "val", "test"), (1, 2, 3), strict=True):
        image |= {"split": split, "filepath": "val2014", "cocoid": number}
    annotations = {
        f"annotations/{kind}_{split}2017.json": b'{"images": [], "annotations": []}'
        for kind in ("captions", "instances", "person_keypoints")
        for split in ("train", "val")
    }
    return {
        "caption_datasets.zip": {"dataset_coco.json": json.dumps({"images": images}).encode()},
        "annotations_trainval2017.zip": annotations,
        "val2017.zip": {"val2017/000000000001.jpg": jpeg(1)},
        "train2017.zip": {f"train2017/{n:012}.jpg": jpeg(n) for n in (2, 3)},
    }


def fetch(source: DatasetSource, directory: Path, *given: str, **options: object) -> None:
    fetch_dataset(plan_fetch(source, directory, given), replace(QUICK, **options))


def asked(server: FileServer) -> list[str]:
    return [path for path, _ in server.requests]


def names_in(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
