"""A small library of photos, each a picture of its own, and a model that captions them at once."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from showtell import Captioner
from showtell.errors import PhotoError
from showtell.photos.catalogue.database import Catalogue
from showtell.photos.catalogue.search import Filter, PhotoRecord, records
from showtell.photos.scan import Scanned, scan
from showtell.photos.write import Written, write
from showtell.photos.write_plan import Writing
from support.odd_photos import encoded

KINDS = {".jpg": "JPEG", ".png": "PNG", ".webp": "WEBP", ".tif": "TIFF", ".cr2": "TIFF"}


def picture(seed: int, size: tuple[int, int] = (48, 36)) -> Image.Image:
    """A picture that no other seed makes."""
    draw = np.random.default_rng(seed)
    small = draw.integers(0, 255, (6, 8, 3)).astype(np.uint8)
    return Image.fromarray(small).resize(size, Image.Resampling.BICUBIC)


def photo(path: Path, seed: int, **options: object) -> Path:
    """Write a photo of the format that its suffix names."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encoded(picture(seed), KINDS[path.suffix], **options))
    return path


def library(folder: Path, count: int, suffixes: Sequence[str] = (".jpg",)) -> list[Path]:
    """Write photos that all differ, some to a folder."""
    return [
        photo(folder / f"{place // 8:03}" / f"{place:05}{suffixes[place % len(suffixes)]}", place)
        for place in range(count)
    ]


def dated(path: Path, seed: int, taken: str, place: bool = False) -> Path:
    """Write a JPEG that says when it was taken, and where."""
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0x9003] = taken
    if place:
        gps = exif.get_ifd(0x8825)
        gps.update({1: "S", 2: (33.0, 51.0, 30.0), 3: "E", 4: (151.0, 12.0, 36.0)})
    return photo(path, seed, exif=exif)


def settle(found: list[PhotoError], errors: list[PhotoError] | None) -> None:
    """Hand errors to who asked for them; where no one did, there must be none."""
    if errors is None:
        assert found == []
    else:
        errors += found


def scanned(
    catalogue: Catalogue,
    folder: Path | Sequence[Path],
    captioner: Captioner,
    errors: list[PhotoError] | None = None,
    **options: bool,
) -> Scanned:
    """Scan folders to the end; errors that no one asked for fail the test."""
    found: list[PhotoError] = []
    folders = [folder] if isinstance(folder, Path) else folder
    *_, counts = scan(
        catalogue,
        folders,
        captioner=lambda: captioner,
        report=found.append,
        batch_size=4,
        **options,
    )
    settle(found, errors)
    return counts


def written(
    catalogue: Catalogue, writing: Writing | None = None, errors: list[PhotoError] | None = None
) -> Written:
    """Write to the end; errors that no one asked for fail the test."""
    found: list[PhotoError] = []
    *_, counts = write(catalogue, writing or Writing(), report=found.append)
    settle(found, errors)
    return counts


def record_of(catalogue: Catalogue, path: Path) -> PhotoRecord:
    [found] = [item for item in records(catalogue, Filter()) if item.path == path]
    return found


def contents(folder: Path) -> dict[Path, bytes]:
    """All files below a folder."""
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def exiftool(*arguments: str | os.PathLike[str]) -> str:
    done = subprocess.run(
        ["exiftool", "-config", "", *arguments], capture_output=True, check=True, timeout=120
    )
    return done.stdout.decode()


def pixels(path: Path) -> bytes:
    with Image.open(path) as image:
        return image.convert("RGB").tobytes()
