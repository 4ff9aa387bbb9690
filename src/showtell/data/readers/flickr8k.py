"""Reader of Flickr8k's original layout, and of its official split lists in other layouts.

Hodosh, Young and Hockenmaier: Framing Image Description as a Ranking Task (2013).
"""

from __future__ import annotations

from pathlib import Path

from showtell.data.readers.caption_files import BrokenLineError, check_photo_name, read_lines
from showtell.data.readers.listing import DatasetFinding, DatasetLayout, DatasetListing
from showtell.errors import DatasetError

_TOKEN_FILE = "Flickr8k.token.txt"  # noqa: S105 (a file's name, not a secret)
_SPLIT_LISTS = {
    "train": "Flickr_8k.trainImages.txt",
    "dev": "Flickr_8k.devImages.txt",
    "test": "Flickr_8k.testImages.txt",
}
# The original download misspells its folder; unzipping it "into a folder" adds an outer one.
FLICKR8K_PHOTO_FOLDERS = (
    "Flicker8k_Dataset",
    "Flickr8k_Dataset",
    "Flickr8k_Dataset/Flicker8k_Dataset",
)
_TEXT_FOLDERS = ("Flickr8k_text", ".")


def _recognise(directory: Path) -> bool:
    """Return whether Flickr8k's token file is where the original download has it."""
    return _find_text_file(directory, _TOKEN_FILE) is not None


def _read(directory: Path) -> DatasetListing:
    """Read the token file and the split lists that exist.

    Raises DatasetError if the photo folder is missing.
    """
    source = _find_text_file(directory, _TOKEN_FILE)
    if source is None:
        raise DatasetError(f"{directory}: no {_TOKEN_FILE}")
    # Prefer the last folder: the one before it may only contain it.
    folders = [directory / name for name in FLICKR8K_PHOTO_FOLDERS if (directory / name).is_dir()]
    if not folders:
        raise DatasetError(
            f"{directory}: {_TOKEN_FILE} is there, the photos are missing:"
            f" unzip them into {directory / FLICKR8K_PHOTO_FOLDERS[0]}"
        )
    listing = DatasetListing(directory, FLICKR8K_LAYOUT.name, source, folders[-1])
    read_token_file(source, listing)
    apply_split_lists(listing)
    return listing


def read_token_file(source: Path, listing: DatasetListing) -> None:
    """Add the captions of a file of `photo.jpg#k<TAB>caption` lines to a listing."""
    prefix = f"{listing.photo_folder}/"
    keys: set[str] = set()
    for location, line in read_lines(source):
        key, tab, caption = line.partition("\t")
        name, _, number = key.rpartition("#")
        try:
            if not tab or not (number.isascii() and number.isdigit()):
                fault = f"not of the form photo.jpg#0<TAB>caption: {line[:60]!r}"
                raise BrokenLineError(location, fault)
            name = check_photo_name(name, location)
        except BrokenLineError as error:
            listing.note_broken(error)
            continue
        if key in keys:
            listing.note_duplicate(name, f"{location}: {key} occurs twice")
        keys.add(key)
        listing.add_caption(name, prefix + name, caption, location)


def apply_split_lists(listing: DatasetListing) -> None:
    """Apply the official split lists that exist; without any list, draw the splits.

    Photos are put into the order of the lists, so that "the first 500 of dev" are those of the
    list.
    """
    paths = {
        split: path
        for split, name in _SPLIT_LISTS.items()
        if (path := _find_text_file(listing.root, name))
    }
    if not paths:
        listing.assign_splits_by_hash()
        return
    listed = _read_split_lists(paths, listing)
    for name, (split, location) in listed.items():
        if name in listing.photos:
            listing.photos[name].split = split
        else:
            finding = DatasetFinding("without captions", name, f"{location} lists it")
            listing.findings.append(finding)
    listing.put_first([name for name in listed if name in listing.photos])


def _read_split_lists(
    paths: dict[str, Path], listing: DatasetListing
) -> dict[str, tuple[str, str]]:
    """Return the split of each listed photo, and the line that lists it."""
    listed: dict[str, tuple[str, str]] = {}
    for split, path in paths.items():
        for location, line in read_lines(path):
            try:
                name = check_photo_name(line, location)
                if name not in listed:
                    listed[name] = (split, location)
                elif listed[name][0] == split:
                    listing.note_duplicate(name, f"{location}: listed twice")
                else:
                    other = listed[name][0]
                    raise BrokenLineError(location, f"{name} is in {other} too: keep one")
            except BrokenLineError as error:
                listing.note_broken(error)
    return listed


def _find_text_file(directory: Path, name: str) -> Path | None:
    paths = (directory / folder / name for folder in _TEXT_FOLDERS)
    return next((path for path in paths if path.is_file()), None)


FLICKR8K_LAYOUT = DatasetLayout(
    "Flickr8k",
    f"Flicker8k_Dataset/ with the photos, Flickr8k_text/{_TOKEN_FILE}",
    _recognise,
    _read,
)
