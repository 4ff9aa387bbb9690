"""Reader of Karpathy's JSON files: captions and the splits that papers report on.

`dataset_flickr8k.json`, `dataset_flickr30k.json` and `dataset_coco.json` by Karpathy and Fei-Fei:
Deep Visual-Semantic Alignments for Generating Image Descriptions (2015). COCO's photos may be in
the layout of 2014 (`val2014/COCO_val2014_000000391895.jpg`) or 2017 (`val2017/000000391895.jpg`):
they are the same photos, divided into train and val differently.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from showtell.data.readers.caption_files import (
    BrokenLineError,
    check_photo_name,
    check_text,
    read_json,
)
from showtell.data.readers.flickr8k import FLICKR8K_PHOTO_FOLDERS
from showtell.data.readers.flickr30k import FLICKR30K_PHOTO_FOLDERS
from showtell.data.readers.listing import DatasetLayout, DatasetListing
from showtell.data.readers.splits import parse_split
from showtell.errors import DatasetError

_TEXT_FOLDERS = ("", "annotations", "caption_datasets", "karpathy")
_COCO_FOLDERS = ("train2014", "val2014", "train2017", "val2017")
_DATASETS = {
    "dataset_flickr8k.json": "Flickr8k",
    "dataset_flickr30k.json": "Flickr30k",
    "dataset_coco.json": "COCO",
}
_PHOTO_FOLDERS = {
    "dataset_flickr8k.json": (*FLICKR8K_PHOTO_FOLDERS[::-1], "Images", "images"),
    "dataset_flickr30k.json": FLICKR30K_PHOTO_FOLDERS,
    "dataset_coco.json": (*_COCO_FOLDERS, *(f"images/{name}" for name in _COCO_FOLDERS)),
}


def _recognise(path: Path) -> bool:
    """Return whether this is one of the three files, or a folder that contains one."""
    return path.name in _PHOTO_FOLDERS if path.is_file() else bool(_find_sources(path))


def _read(path: Path) -> DatasetListing:
    """Read the file, or the file of a folder whose photos exist.

    Raises DatasetError if the file has another form, or if it is unclear which file is meant.
    """
    source, root = (path, _root_of(path)) if path.is_file() else (_choose_source(path), path)
    folders = [root / name for name in _PHOTO_FOLDERS[source.name] if (root / name).is_dir()]
    name = f"{_DATASETS[source.name]}, Karpathy's splits"
    listing = DatasetListing(root, name, source, folders[0] if len(folders) == 1 else None)
    # Every caption occurs twice, and the copy in tokens takes four times the memory.
    data = read_json(source, object_hook=_without_tokens)
    images = data.get("images") if isinstance(data, dict) else None
    if not isinstance(images, list):
        raise DatasetError(f'{source}:1: not of the form {{"images": [{{"filename": …}}, …]}}')
    for number, image in enumerate(images):
        try:
            _add_image(image, f"{source}: images[{number}]", folders or [root], listing)
        except BrokenLineError as error:
            listing.note_broken(error)
    return listing


def _find_sources(directory: Path) -> list[Path]:
    paths = [directory / folder / name for name in _PHOTO_FOLDERS for folder in _TEXT_FOLDERS]
    return [path for path in paths if path.is_file()]


def _choose_source(directory: Path) -> Path:
    """Return the file whose photos exist: the download contains all three files."""
    sources = _find_sources(directory)
    if len(sources) == 1:
        return sources[0]
    with_photos = [
        source
        for source in sources
        if any((directory / name).is_dir() for name in _PHOTO_FOLDERS[source.name])
    ]
    if len(with_photos) != 1:
        names = ", ".join(str(source.relative_to(directory)) for source in with_photos or sources)
        raise DatasetError(f"{directory}: which file is meant: {names}? Give its path")
    return with_photos[0]


def _root_of(source: Path) -> Path:
    """Return the folder with photos and text, for a file that may be in a subfolder of it."""
    parent = source.absolute().parent
    is_text_folder = parent.name in _TEXT_FOLDERS and source in _find_sources(parent.parent)
    return parent.parent if is_text_folder else parent


def _without_tokens(entry: dict[str, Any]) -> dict[str, Any]:
    if "raw" in entry:
        entry.pop("tokens", None)
    return entry


def _add_image(image: object, location: str, folders: list[Path], listing: DatasetListing) -> None:
    if not isinstance(image, dict):
        raise BrokenLineError(location, "not an object")
    filename = check_photo_name(check_text(image.get("filename"), "filename", location), location)
    location = f"{location} ({filename})"
    split = parse_split(check_text(image.get("split"), "split", location), location)
    captions = list(_captions(image.get("sentences"), location))
    name, path = _find_photo(filename, image, folders, listing)
    if name in listing.photos:
        raise BrokenLineError(location, "the photo occurs twice")
    listing.get_or_add_photo(name, path, location).split = split
    for caption in captions:
        listing.add_caption(name, path, caption, location)


def _captions(sentences: object, location: str) -> Iterator[str]:
    if not isinstance(sentences, list):
        raise BrokenLineError(location, "sentences must be a list")
    for sentence in sentences:
        if not isinstance(sentence, dict):
            raise BrokenLineError(location, "a sentence must be an object")
        raw, tokens = sentence.get("raw"), sentence.get("tokens")
        if raw is None and isinstance(tokens, list):
            raw = " ".join(check_text(token, "a token", location) for token in tokens)
        yield check_text(raw, "a sentence's raw", location)


def _find_photo(
    filename: str, image: dict[str, Any], folders: list[Path], listing: DatasetListing
) -> tuple[str, str]:
    """Return a photo's name and path where it exists, else where it should be."""
    names = [filename]
    coco_id = image.get("cocoid")
    if isinstance(coco_id, int):
        names.append(f"{coco_id:012}.jpg")
    for folder in folders:
        for name in names:
            if name in listing.folders.names(str(folder)):
                return name, f"{folder}/{name}"
    named = [folder for folder in folders if folder.name == image.get("filepath")]
    return filename, f"{(named or folders)[0]}/{filename}"


KARPATHY_LAYOUT = DatasetLayout(
    "Karpathy's splits",
    "dataset_flickr8k.json, dataset_flickr30k.json or dataset_coco.json beside the photos' folders",
    _recognise,
    _read,
)
