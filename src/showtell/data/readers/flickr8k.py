"""Reader of Flickr8k's original layout, and of its official split lists wherever they lie.

Hodosh, Young and Hockenmaier: Framing Image Description as a Ranking Task (2013).
"""

from __future__ import annotations

from pathlib import Path

from showtell.data.readers.listing import (
    BrokenLineError,
    Finding,
    Layout,
    Listing,
    plain_name,
    read_lines,
)
from showtell.errors import DatasetError

TOKEN_FILE = "Flickr8k.token.txt"  # noqa: S105 (a file's name, not a secret)
SPLIT_LISTS = {
    "train": "Flickr_8k.trainImages.txt",
    "dev": "Flickr_8k.devImages.txt",
    "test": "Flickr_8k.testImages.txt",
}
# The original download misspells its folder; unzipped "into a folder", it lies in another one.
PHOTO_FOLDERS = ("Flicker8k_Dataset", "Flickr8k_Dataset", "Flickr8k_Dataset/Flicker8k_Dataset")
_TEXT_FOLDERS = ("Flickr8k_text", ".")


def recognise(directory: Path) -> bool:
    """Say whether Flickr8k's token file lies where the original download has it."""
    return _find(directory, _TEXT_FOLDERS, TOKEN_FILE) is not None


def read(directory: Path) -> Listing:
    """Read the token file and the split lists that are there.

    Raises DatasetError where the photo folder is missing.
    """
    source = _find(directory, _TEXT_FOLDERS, TOKEN_FILE)
    if source is None:
        raise DatasetError(f"{directory}: {TOKEN_FILE} is not there")
    # The last that is a folder of photos wins over an outer one that only holds it.
    folders = [directory / name for name in PHOTO_FOLDERS if (directory / name).is_dir()]
    if not folders:
        raise DatasetError(
            f"{directory}: {TOKEN_FILE} is there, the photos are not:"
            f" unzip them into {directory / PHOTO_FOLDERS[0]}"
        )
    listing = Listing(directory, LAYOUT.name, source, folders[-1])
    read_token_file(source, listing)
    apply_split_lists(listing)
    return listing


def read_token_file(source: Path, listing: Listing) -> None:
    """Add the captions of a file of `photo.jpg#k<TAB>caption` lines to a listing."""
    prefix = f"{listing.photo_folder}/"
    seen: set[str] = set()
    for where, line in read_lines(source):
        key, tab, caption = line.partition("\t")
        name, _, number = key.rpartition("#")
        try:
            if not tab or not (number.isascii() and number.isdigit()):
                fault = f"not of the form photo.jpg#0<TAB>caption: {line[:60]!r}"
                raise BrokenLineError(where, fault)
            name = plain_name(name, where)
        except BrokenLineError as error:
            listing.note_broken(error)
            continue
        if key in seen:
            listing.note_duplicate(name, f"{where}: {key} is there twice")
        seen.add(key)
        listing.add(name, prefix + name, caption, where)


def apply_split_lists(listing: Listing) -> bool:
    """Apply the official split lists that are there; with none at all, draw splits by hash.

    Photos are put into the lists' order, so that "the first 500 of dev" are those of the list.
    """
    found = {
        split: path
        for split, name in SPLIT_LISTS.items()
        if (path := _find(listing.root, _TEXT_FOLDERS, name))
    }
    if not found:
        listing.draw_splits()
        return False
    listed: dict[str, tuple[str, str]] = {}  # name -> split and the line that says so
    for split, path in found.items():
        for where, line in read_lines(path):
            try:
                name = plain_name(line, where)
                if name not in listed:
                    listed[name] = (split, where)
                elif listed[name][0] == split:
                    listing.note_duplicate(name, f"{where}: listed twice")
                else:
                    raise BrokenLineError(where, f"{name} is in {listed[name][0]} too: keep one")
            except BrokenLineError as error:
                listing.note_broken(error)
    for name, (split, where) in listed.items():
        if name in listing.photos:
            listing.photos[name].split = split
        else:
            listing.findings.append(Finding("without captions", name, f"{where} lists it"))
    listing.put_first([name for name in listed if name in listing.photos])
    return True


def _find(directory: Path, folders: tuple[str, ...], name: str) -> Path | None:
    return next((p for f in folders if (p := directory / f / name).is_file()), None)


LAYOUT = Layout(
    "Flickr8k",
    f"Flicker8k_Dataset/ with the photos, Flickr8k_text/{TOKEN_FILE}",
    recognise,
    read,
)
