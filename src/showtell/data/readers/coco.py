"""Reader of COCO's own caption files: `annotations/captions_train2017.json` and its like.

Chen et al.: Microsoft COCO Captions (2015). Train is train, val is dev; the captions of COCO's test
photos are not public. Papers train and report on Karpathy's splits of the same photos instead:
with his `dataset_coco.json` in the folder these count (see `karpathy`).
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from showtell.data.readers.listing import (
    BrokenLineError,
    Layout,
    Listing,
    checked_text,
    first_folder,
    plain_name,
    read_json,
)
from showtell.errors import DatasetError

_TEXT_FOLDER = "annotations"
_FILE = re.compile(r"captions_((train|val)?.*)\.json")
_SPLITS = {"train": "train", "val": "dev", None: None}


def recognise(path: Path) -> bool:
    """Say whether this is a `captions_*.json`, or a folder with at least one."""
    if path.is_file():
        return _FILE.fullmatch(path.name) is not None
    return bool(_sources(path))


def read(path: Path) -> Listing:
    """Read a folder's caption files, or the one file given.

    A file whose name begins neither with `captions_train` nor `captions_val` has no split: if all
    are of that kind, splits are drawn.
    Raises DatasetError where a file is no JSON of this form, or files of several years lie there.
    """
    if path.is_file():
        parent = path.absolute().parent
        root = parent.parent if parent.name == _TEXT_FOLDER else parent
        sources = [path]
    else:
        root, sources = path, _one_year(path, _sources(path))
    listing = Listing(root, LAYOUT.name, sources[0])
    for source in sources:
        _read_file(source, listing)
    if all(photo.split is None for photo in listing.photos.values()):
        listing.draw_splits()
    return listing


def _sources(directory: Path) -> list[Path]:
    """Return the caption files of a folder, train before val."""
    for folder in (directory / _TEXT_FOLDER, directory):
        found = sorted(file for file in folder.glob("captions_*.json") if file.is_file())
        if found:
            return found
    return []


def _one_year(root: Path, sources: list[Path]) -> list[Path]:
    """Leave out the files whose photos are not there, where files of several years lie there."""
    years = {year[0]: year for s in sources if (year := re.findall("20[0-9][0-9]", s.stem))}
    if len(years) < 2:
        return sources
    there = [source for source in sources if _photo_folder(root, source) is not None]
    if len({re.sub("train|val", "", source.stem) for source in there}) != 1:
        names = ", ".join(source.name for source in there or sources)
        raise DatasetError(f"{root}: which year is meant: {names}? Give one file's path")
    return there


def _photo_folder(root: Path, source: Path) -> Path | None:
    match = _FILE.fullmatch(source.name)
    name = match[1] if match else ""
    return first_folder(root, (name, f"images/{name}")) if name else None


def _read_file(source: Path, listing: Listing) -> None:
    data = read_json(source)
    images, annotations = (
        (data.get("images"), data.get("annotations")) if isinstance(data, dict) else (None, None)
    )
    if not isinstance(images, list) or not isinstance(annotations, list):
        raise DatasetError(f'{source}:1: not of the form {{"images": […], "annotations": […]}}')
    match = _FILE.fullmatch(source.name)
    split = _SPLITS[match[2]] if match else None
    root = listing.root
    folder = _photo_folder(root, source) or first_folder(root, ("images", "Images")) or root
    names: dict[int, str] = {}
    for number, image in enumerate(images):
        where = f"{source}: images[{number}]"
        try:
            identity, name = _image(image, where)
            if identity in names or name in listing.photos:
                raise BrokenLineError(where, f"{name} (id {identity}) is there twice")
        except BrokenLineError as error:
            listing.note_broken(error)
        else:
            names[identity] = name
            listing.name_photo(name, f"{folder}/{name}", where).split = split
    for number, annotation in enumerate(annotations):
        where = f"{source}: annotations[{number}]"
        try:
            name, caption = _annotation(annotation, names, where)
        except BrokenLineError as error:
            listing.note_broken(error)
        else:
            listing.add(name, listing.photos[name].path, caption, where)


def _image(image: Any, where: str) -> tuple[int, str]:
    identity = _identity(image, "id", where)
    return identity, plain_name(checked_text(image.get("file_name"), "file_name", where), where)


def _annotation(annotation: Any, names: dict[int, str], where: str) -> tuple[str, str]:
    identity = _identity(annotation, "image_id", where)
    if identity not in names:
        raise BrokenLineError(where, f"image_id {identity} is not among the images")
    return names[identity], checked_text(annotation.get("caption"), "caption", where)


def _identity(entry: Any, key: str, where: str) -> int:
    identity = entry.get(key) if isinstance(entry, dict) else None
    if not isinstance(identity, int):
        raise BrokenLineError(where, f"{key} must be a whole number, not {str(identity)[:40]!r}")
    return identity


LAYOUT = Layout(
    "COCO",
    "annotations/captions_train2017.json and captions_val2017.json, train2017/ and val2017/",
    recognise,
    read,
)
