"""Small photo libraries for tests, and helpers to scan them and to write their captions."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from showtell import Captioner
from showtell.caption import Keyword
from showtell.errors import PhotoError
from showtell.photos.catalogue.database import Catalogue
from showtell.photos.catalogue.keywords import keywords_as_json, update_current_keywords
from showtell.photos.catalogue.records import PhotoRecord, photo_records
from showtell.photos.scan import ScanCounts, ScanOptions, scan_library
from showtell.photos.undo import UndoCounts, undo_last_run
from showtell.photos.write import WriteCounts, write_captions
from showtell.photos.write_plan import WriteOptions
from support.odd_photos import encoded

KINDS = {".jpg": "JPEG", ".png": "PNG", ".webp": "WEBP", ".tif": "TIFF", ".cr2": "TIFF"}


def picture(seed: int, size: tuple[int, int] = (48, 36)) -> Image.Image:
    """Return a picture that differs for each seed."""
    draw = np.random.default_rng(seed)
    small = draw.integers(0, 255, (6, 8, 3)).astype(np.uint8)
    return Image.fromarray(small).resize(size, Image.Resampling.BICUBIC)


def photo(path: Path, seed: int, **options: object) -> Path:
    """Write a photo in the format of its suffix."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encoded(picture(seed), KINDS[path.suffix], **options))
    return path


def library(folder: Path, count: int, suffixes: Sequence[str] = (".jpg",)) -> list[Path]:
    """Write `count` different photos into subfolders, eight in each."""
    return [
        photo(folder / f"{seed // 8:03}" / f"{seed:05}{suffixes[seed % len(suffixes)]}", seed)
        for seed in range(count)
    ]


def dated_photo(path: Path, seed: int, taken: str, position: bool = False) -> Path:
    """Write a JPEG whose EXIF has a date, and a GPS position on request."""
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0x9003] = taken
    if position:
        gps = exif.get_ifd(0x8825)
        gps.update({1: "S", 2: (33.0, 51.0, 30.0), 3: "E", 4: (151.0, 12.0, 36.0)})
    return photo(path, seed, exif=exif)


def photo_with_xmp(image: Image.Image, kind: str, words: str) -> bytes:
    """Return a photo in format `kind` whose XMP packet, and EXIF if possible, contain `words`."""
    packet = f"<x:xmpmeta xmlns:x='adobe:ns:meta/'>{words}</x:xmpmeta>".encode()
    if kind == "PNG":
        info = PngInfo()
        info.add_itxt("XML:com.adobe.xmp", packet.decode(), zip=len(words) % 2 == 0)
        return encoded(image, kind, pnginfo=info)
    exif = Image.Exif()
    exif[0x010E] = words
    options = {"quality": 80} if kind == "JPEG" else {"lossless": True}
    return encoded(image, kind, xmp=packet, exif=exif, **options)


def check_errors(reported: list[PhotoError], expected: list[PhotoError] | None) -> None:
    """Append reported errors to `expected`; None means that there must be none."""
    if expected is None:
        assert reported == []
    else:
        expected += reported


def scan_fully(
    catalogue: Catalogue,
    folder: Path | Sequence[Path],
    captioner: Captioner,
    errors: list[PhotoError] | None = None,
    *,
    recaption: bool = False,
) -> ScanCounts:
    """Scan folders to the end; without a list for them, errors fail the test."""
    reported: list[PhotoError] = []
    folders = [folder] if isinstance(folder, Path) else folder
    *_, counts = scan_library(
        catalogue,
        folders,
        ScanOptions(recaption=recaption, batch_size=4),
        load_captioner=lambda: captioner,
        report=reported.append,
    )
    check_errors(reported, errors)
    return counts


def write_fully(
    catalogue: Catalogue,
    options: WriteOptions | None = None,
    errors: list[PhotoError] | None = None,
) -> WriteCounts:
    """Write captions to the end; without a list for them, errors fail the test."""
    reported: list[PhotoError] = []
    *_, counts = write_captions(catalogue, options or WriteOptions(), report=reported.append)
    check_errors(reported, errors)
    return counts


def undo_fully(catalogue: Catalogue, errors: list[PhotoError] | None = None) -> UndoCounts:
    """Undo the last run; without a list for them, errors fail the test."""
    reported: list[PhotoError] = []
    *_, counts = undo_last_run(catalogue, report=reported.append)
    check_errors(reported, errors)
    return counts


def record_of(catalogue: Catalogue, path: Path) -> PhotoRecord:
    """Return a photo's record by its path."""
    [record] = [record for record in photo_records(catalogue) if record.path == path]
    return record


def contents(folder: Path) -> dict[Path, bytes]:
    """Return the bytes of all files below a folder, by path."""
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def exiftool(*arguments: str | os.PathLike[str]) -> str:
    """Run exiftool and return its output."""
    process = subprocess.run(
        ["exiftool", "-config", "", *arguments], capture_output=True, check=True, timeout=120
    )
    return process.stdout.decode()


def pixels(path: Path) -> bytes:
    """Return a photo's decoded pixels."""
    with Image.open(path) as image:
        return image.convert("RGB").tobytes()


def give_keywords(catalogue: Catalogue, photo: Path, **probabilities: float) -> None:
    """Store keywords as if the model had given them with the photo's caption."""
    picture_id = record_of(catalogue, photo).picture_id
    keywords = [Keyword(word, probability) for word, probability in probabilities.items()]
    with catalogue.transaction():
        catalogue.execute(
            "UPDATE captions SET keywords = ? WHERE picture_id = ?",
            (keywords_as_json(keywords), picture_id),
        )
        update_current_keywords(catalogue, picture_id)
