"""Reader of Hugging Face's image folders: `metadata.csv` or `metadata.jsonl` beside the photos.

A row has a photo's `file_name`, relative to the metadata's folder, and its caption as `text` or
`caption`. There is one metadata file at the root, or one in each split's folder.
https://huggingface.co/docs/datasets/image_dataset#imagefolder
"""

from __future__ import annotations

from pathlib import Path

from showtell.data.readers.caption_files import BrokenLineError, check_inner_path, read_text_file
from showtell.data.readers.listing import DatasetLayout, DatasetListing
from showtell.data.readers.splits import parse_split
from showtell.data.readers.table_file import add_row, has_captions, table_rows
from showtell.errors import DatasetError

_METADATA = ("metadata.csv", "metadata.jsonl")
_FOLDERS = ("", "data")  # of the photos or of the split folders


def _recognise(path: Path) -> bool:
    """Return whether this is a metadata file with captions, or a folder that contains one."""
    return bool(_sources(path))


def _read(path: Path) -> DatasetListing:
    """Read all metadata files.

    A split is the row's, or the name of the photo's outermost folder. Otherwise splits are drawn.
    """
    sources = _sources(path)
    if not sources:
        raise DatasetError(f"{path}: no metadata.csv or metadata.jsonl with captions")
    root = path.parent if path.is_file() else path
    if (root / _FOLDERS[1]) in (sources[0].parent, sources[0].parent.parent):
        root = root / _FOLDERS[1]
    listing = DatasetListing(root, HUGGING_FACE_LAYOUT.name, sources[0])
    for source in sources:
        _read_metadata(source, listing)
    if all(photo.split is None for photo in listing.photos.values()) and (
        not listing.assign_splits_by_folder()
    ):
        listing.assign_splits_by_hash()
    return listing


def _sources(path: Path) -> list[Path]:
    """Return the metadata files of a folder: its own one, or those of its split folders."""
    if path.is_file():
        return [path] if path.name in _METADATA and _is_metadata(path) else []
    for root in (path / folder for folder in _FOLDERS):
        for folders in ([root], _split_folders(root)):
            files = [folder / name for folder in folders for name in _METADATA]
            sources = [file for file in files if file.is_file() and _is_metadata(file)]
            if sources:
                return sources
    return []


def _is_metadata(path: Path) -> bool:
    """Return whether a file names its photos as `file_name` and has captions."""
    try:
        first_lines = read_text_file(path).split("\n", 2)[:2]  # the first may be for Excel
    except DatasetError:
        return False
    return any("file_name" in line for line in first_lines) and has_captions(path)


def _split_folders(root: Path) -> list[Path]:
    if not root.is_dir():
        return []
    return sorted(folder for folder in root.iterdir() if folder.is_dir() and _is_split(folder.name))


def _is_split(name: str) -> bool:
    try:
        parse_split(name, "")
    except BrokenLineError:
        return False
    return True


def _read_metadata(source: Path, listing: DatasetListing) -> None:
    prefix = source.parent.relative_to(listing.root).as_posix()
    prefix = "" if prefix == "." else f"{prefix}/"
    for row in table_rows(source, listing):
        try:
            image = check_inner_path(row.image.replace("\\", "/"), row.location)
            add_row(row, prefix + image, listing)
        except BrokenLineError as error:
            listing.note_broken(error)


HUGGING_FACE_LAYOUT = DatasetLayout(
    "Hugging Face image folder",
    "metadata.csv or metadata.jsonl of file_name and text, photos beside it or in train/, test/",
    _recognise,
    _read,
)
