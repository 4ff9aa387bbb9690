"""Reader of COCO's caption files, such as `annotations/captions_train2017.json`.

Chen et al.: Microsoft COCO Captions (2015). COCO's train is read as train and its val as dev; the
captions of its test photos are not public. Papers train and report on Karpathy's splits of the same
photos: if his `dataset_coco.json` is in the folder, `karpathy` reads that file instead.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from showtell.data.readers.caption_files import (
    BrokenLineError,
    check_inner_path,
    check_text,
    first_folder,
    read_json,
)
from showtell.data.readers.listing import DatasetLayout, DatasetListing
from showtell.errors import DatasetError

_TEXT_FOLDER = "annotations"
_FILE = re.compile(r"captions_((train|val)?.*)\.json")
_SPLITS = {"train": "train", "val": "dev", None: None}


def _recognise(path: Path) -> bool:
    """Return whether this is a `captions_*.json`, or a folder that contains one."""
    if path.is_file():
        return _FILE.fullmatch(path.name) is not None
    return bool(_caption_files(path))


def _read(path: Path) -> DatasetListing:
    """Read a folder's caption files, or one given file.

    A file whose name begins with neither `captions_train` nor `captions_val` has no split. If all
    files are of that kind, splits are drawn.

    Raises DatasetError if a file has another form, or if it is unclear which year is meant.
    """
    if path.is_file():
        parent = path.absolute().parent
        root = parent.parent if parent.name == _TEXT_FOLDER else parent
        sources = [path]
    else:
        root, sources = path, _one_year(path, _caption_files(path))
    listing = DatasetListing(root, COCO_LAYOUT.name, sources[0])
    for source in sources:
        _read_file(source, listing)
    if all(photo.split is None for photo in listing.photos.values()):
        listing.assign_splits_by_hash()
    return listing


def _caption_files(directory: Path) -> list[Path]:
    """Return the caption files of a folder, train before val."""
    for folder in (directory / _TEXT_FOLDER, directory):
        files = sorted(file for file in folder.glob("captions_*.json") if file.is_file())
        if files:
            return files
    return []


def _one_year(root: Path, sources: list[Path]) -> list[Path]:
    """Return the files of the year whose photos exist; all files if there is only one year."""
    years = {year[0] for source in sources if (year := re.findall("20[0-9][0-9]", source.stem))}
    if len(years) < 2:
        return sources
    with_photos = [source for source in sources if _photo_folder(root, source) is not None]
    if len({re.sub("train|val", "", source.stem) for source in with_photos}) != 1:
        names = ", ".join(source.name for source in with_photos or sources)
        raise DatasetError(f"{root}: which year is meant: {names}? Give the path of one file")
    return with_photos


def _photo_folder(root: Path, source: Path) -> Path | None:
    match = _FILE.fullmatch(source.name)
    name = match[1] if match else ""
    return first_folder(root, (name, f"images/{name}")) if name else None


def _read_file(source: Path, listing: DatasetListing) -> None:
    data = read_json(source)
    images, annotations = (
        (data.get("images"), data.get("annotations")) if isinstance(data, dict) else (None, None)
    )
    if not isinstance(images, list) or not isinstance(annotations, list):
        raise DatasetError(f'{source}:1: not of the form {{"images": […], "annotations": […]}}')
    names = _add_images(source, images, listing)
    for number, annotation in enumerate(annotations):
        location = f"{source}: annotations[{number}]"
        try:
            name, caption = _parse_annotation(annotation, names, location)
        except BrokenLineError as error:
            listing.note_broken(error)
        else:
            listing.add_caption(name, listing.photos[name].path, caption, location)


def _add_images(source: Path, images: list[Any], listing: DatasetListing) -> dict[str, str]:
    """Add the photos of a file to the listing and return their names by id."""
    match = _FILE.fullmatch(source.name)
    split = _SPLITS[match[2]] if match else None
    root = listing.root
    folder = _photo_folder(root, source) or first_folder(root, ("images", "Images")) or root
    names: dict[str, str] = {}
    prefix = f"{root.absolute()}/"
    for number, image in enumerate(images):
        location = f"{source}: images[{number}]"
        try:
            image_id, name = _parse_image(image, prefix, location)
            name, path = _find_photo(name, folder, location, listing)
            if image_id in names or name in listing.photos:
                raise BrokenLineError(location, f"{name} (id {image_id}) occurs twice")
        except BrokenLineError as error:
            listing.note_broken(error)
        else:
            names[image_id] = name
            listing.get_or_add_photo(name, path, location).split = split
    return names


def _parse_image(image: Any, prefix: str, location: str) -> tuple[str, str]:
    """Return a photo's id and name; an absolute path may begin with the root's, `prefix`."""
    image_id = _parse_id(image, "id", location)
    file_name = check_text(image.get("file_name"), "file_name", location)
    return image_id, check_inner_path(file_name.removeprefix(prefix), location)


def _find_photo(name: str, folder: Path, location: str, listing: DatasetListing) -> tuple[str, str]:
    """Return a photo's name and path where it exists, else where it should be.

    A name with folders begins at the photo folder or at the root, and Windows writes backslashes.
    """
    path = f"{folder}/{name}"
    if ("/" not in name and "\\" not in name) or listing.folders.has(path):
        return name, path
    if "\\" in name:
        name = check_inner_path(name.replace("\\", "/"), location)
    places = (f"{folder}/{name}", f"{listing.root}/{name}", f"{listing.root}/images/{name}")
    return name, next((place for place in places if listing.folders.has(place)), places[0])


def _parse_annotation(annotation: Any, names: dict[str, str], location: str) -> tuple[str, str]:
    image_id = _parse_id(annotation, "image_id", location)
    if image_id not in names:
        raise BrokenLineError(location, f"image_id {image_id} is not among the images")
    return names[image_id], check_text(annotation.get("caption"), "caption", location)


def _parse_id(entry: Any, key: str, location: str) -> str:
    """Return an id as text: some tools write numbers as text, in one of the two places or both."""
    value = entry.get(key) if isinstance(entry, dict) else None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int | str) or value == "":
        fault = f"{key} must be a whole number or text, not {str(value)[:40]!r}"
        raise BrokenLineError(location, fault)
    return str(value).strip()


COCO_LAYOUT = DatasetLayout(
    "COCO",
    "annotations/captions_train2017.json and captions_val2017.json, train2017/ and val2017/",
    _recognise,
    _read,
)
