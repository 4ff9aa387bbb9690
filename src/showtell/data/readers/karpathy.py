"""Reader of Karpathy's JSON: captions and the splits that papers report on, of three sets.

`dataset_flickr8k.json`, `dataset_flickr30k.json` and `dataset_coco.json` of Karpathy and Fei-Fei:
Deep Visual-Semantic Alignments for Generating Image Descriptions (2015). COCO's photos may lie as
in 2014 (`val2014/COCO_val2014_000000391895.jpg`) or as in 2017 (`val2017/000000391895.jpg`): they
are the same photos, dealt out to train and val anew.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from showtell.data.readers import flickr8k, flickr30k
from showtell.data.readers.listing import (
    BrokenLineError,
    Layout,
    Listing,
    checked_text,
    plain_name,
    read_json,
    split_named,
)
from showtell.errors import DatasetError

_TEXT_FOLDERS = ("", "annotations", "caption_datasets", "karpathy")
_COCO_FOLDERS = ("train2014", "val2014", "train2017", "val2017")
_SETS = {
    "dataset_flickr8k.json": "Flickr8k",
    "dataset_flickr30k.json": "Flickr30k",
    "dataset_coco.json": "COCO",
}
_PHOTO_FOLDERS = {
    "dataset_flickr8k.json": (*flickr8k.PHOTO_FOLDERS[::-1], "Images", "images"),
    "dataset_flickr30k.json": flickr30k.PHOTO_FOLDERS,
    "dataset_coco.json": (*_COCO_FOLDERS, *(f"images/{name}" for name in _COCO_FOLDERS)),
}


def recognise(path: Path) -> bool:
    """Say whether this is one of the three files, or a folder with at least one."""
    return path.name in _PHOTO_FOLDERS if path.is_file() else bool(_sources(path))


def read(path: Path) -> Listing:
    """Read the file, or of a folder the one whose photos are there.

    Raises DatasetError where the file is no JSON of this form, or it is not clear which one is
    meant.
    """
    source, root = (path, _root_of(path)) if path.is_file() else (_choose(path), path)
    folders = [root / name for name in _PHOTO_FOLDERS[source.name] if (root / name).is_dir()]
    name = f"{_SETS[source.name]}, Karpathy's splits"
    listing = Listing(root, name, source, folders[0] if len(folders) == 1 else None)
    # Every caption stands there twice, and split into tokens it takes four times the memory.
    data = read_json(source, object_hook=_without_tokens)
    images = data.get("images") if isinstance(data, dict) else None
    if not isinstance(images, list):
        raise DatasetError(f'{source}:1: not of the form {{"images": [{{"filename": …}}, …]}}')
    for number, image in enumerate(images):
        try:
            _add(image, f"{source}: images[{number}]", folders or [root], listing)
        except BrokenLineError as error:
            listing.note_broken(error)
    return listing


def _sources(directory: Path) -> list[Path]:
    places = [directory / folder / name for name in _PHOTO_FOLDERS for folder in _TEXT_FOLDERS]
    return [place for place in places if place.is_file()]


def _choose(directory: Path) -> Path:
    """Pick the file of the photos that are there: the download holds all three."""
    sources = _sources(directory)
    if len(sources) > 1:
        there = [
            source
            for source in sources
            if any((directory / name).is_dir() for name in _PHOTO_FOLDERS[source.name])
        ]
        if len(there) != 1:
            names = ", ".join(str(source.relative_to(directory)) for source in there or sources)
            raise DatasetError(f"{directory}: which one is meant: {names}? Give its path")
        sources = there
    return sources[0]


def _root_of(source: Path) -> Path:
    """Return the folder that holds photos and text, for a file that may lie in one of its own."""
    parent = source.absolute().parent
    inner = parent.name in _TEXT_FOLDERS
    return parent.parent if inner and source in _sources(parent.parent) else parent


def _without_tokens(entry: dict[str, Any]) -> dict[str, Any]:
    if "raw" in entry:
        entry.pop("tokens", None)
    return entry


def _add(image: object, where: str, folders: list[Path], listing: Listing) -> None:
    if not isinstance(image, dict):
        raise BrokenLineError(where, "not an object")
    filename = plain_name(checked_text(image.get("filename"), "filename", where), where)
    where = f"{where} ({filename})"
    split = split_named(checked_text(image.get("split"), "split", where), where)
    captions = list(_captions(image.get("sentences"), where))
    name, path = _find(filename, image.get("cocoid"), image.get("filepath"), folders, listing)
    if name in listing.photos:
        raise BrokenLineError(where, "the photo is there twice")
    listing.name_photo(name, path, where).split = split
    for caption in captions:
        listing.add(name, path, caption, where)


def _captions(sentences: object, where: str) -> Iterator[str]:
    if not isinstance(sentences, list):
        raise BrokenLineError(where, "sentences must be a list")
    for sentence in sentences:
        if not isinstance(sentence, dict):
            raise BrokenLineError(where, "a sentence must be an object")
        raw, tokens = sentence.get("raw"), sentence.get("tokens")
        if raw is None and isinstance(tokens, list):
            raw = " ".join(checked_text(token, "a token", where) for token in tokens)
        yield checked_text(raw, "a sentence's raw", where)


def _find(
    filename: str, coco_id: object, filepath: object, folders: list[Path], listing: Listing
) -> tuple[str, str]:
    """Return the name and path under which a photo is there; else where it would be."""
    names = [filename]
    if isinstance(coco_id, int):
        names.append(f"{coco_id:012}.jpg")
    for folder in folders:
        for name in names:
            if name in listing.folders.names(str(folder)):
                return name, f"{folder}/{name}"
    told = [folder for folder in folders if folder.name == filepath]
    return filename, f"{(told or folders)[0]}/{filename}"


LAYOUT = Layout(
    "Karpathy's splits",
    "dataset_flickr8k.json, dataset_flickr30k.json or dataset_coco.json beside the photos' folders",
    recognise,
    read,
)
