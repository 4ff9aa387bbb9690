"""The words that a photo and its sidecar hold already, read without exiftool."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from showtell.errors import MetadataError, PhotoError
from showtell.files.printable_names import printable
from showtell.photos.metadata import raw_preview
from showtell.photos.metadata.container import Layout, read_layout
from showtell.photos.metadata.iptc import Iptc, read_iptc
from showtell.photos.metadata.xmp import DEFAULT, Languages, find_packet, read_words
from showtell.photos.walk import is_photo_name

SUFFIX = ".xmp"
_LONGEST_NAME = 255  # bytes, on nearly every file system
_HEAD = 1 << 20  # bytes: what stands before a JPEG's pixels is less


@dataclass(frozen=True, slots=True)
class Held:
    """Words by field: in XMP by language, in IPTC the caption."""

    xmp: dict[str, Languages]
    iptc: Iptc

    def texts(self, fields: tuple[str, ...]) -> set[str]:
        """Return all texts in some fields, blank ones left out."""
        found = {text for key in fields for text in self.xmp.get(key, {}).values()}
        if "iptc" in fields:
            found.add(self.iptc.caption)
        return {" ".join(text.split()) for text in found} - {""}

    def value(self, key: str) -> str | None:
        """Return what a program shows of a field."""
        if key == "iptc":
            return self.iptc.caption if self.iptc.present else None
        return self.xmp.get(key, {}).get(DEFAULT)


NOTHING = Held({}, Iptc())


def held_in_photo(data: bytes, layout: Layout | None) -> Held:
    """Return the words inside a photo; metadata that is damaged holds none that one could read."""
    packet = layout.xmp(data) if layout is not None else find_packet(data)
    words: dict[str, Languages] = {}
    if packet is not None:
        try:
            words = read_words(packet)
        except MetadataError:
            words = {}
    resources = b""
    if layout is not None and layout.format == "JPEG":
        resources = b"".join(layout.payloads("iptc", data))
    return Held(words, read_iptc(resources))


def held_in_file(path: Path) -> tuple[Held, Layout | None]:
    """Return the words in a photo and its layout, reading no more of the file than need be.

    Raises PhotoError where it cannot be read.
    """
    shown = printable(os.fspath(path))
    try:
        with path.open("rb") as file:
            data = file.read(_HEAD)
            if not data.startswith(b"\xff\xd8"):  # elsewhere words may stand behind the pixels
                size = os.fstat(file.fileno()).st_size
                if size > 4 * _HEAD and raw_preview.is_raw(path.name):
                    file.seek(-_HEAD, os.SEEK_END)
                data += file.read()
            layout = None if raw_preview.is_raw(path.name) else _layout(data, file)
        return held_in_photo(data, layout), layout
    except OSError as error:
        raise PhotoError(f"{shown}: cannot be read ({_why(error)})") from None
    except PhotoError as error:
        raise PhotoError(f"{shown}: {error}") from None


def _layout(data: bytes, file: BinaryIO) -> Layout | None:
    try:
        return read_layout(data)
    except PhotoError:
        rest = file.read()  # a head of unusual size
        if not rest:
            raise
        return read_layout(data + rest)


def held_in_sidecar(path: Path) -> Held:
    """Return the words in a sidecar, which may not exist.

    Raises MetadataError, one line that names it, where it is damaged or cannot be read.
    """
    try:
        packet = path.read_bytes()
    except FileNotFoundError:
        return NOTHING
    except OSError as error:
        shown = printable(os.fspath(path))
        raise MetadataError(f"{shown}: cannot be read ({_why(error)})") from None
    try:
        return Held(read_words(packet), Iptc())
    except MetadataError as error:
        raise MetadataError(f"{printable(os.fspath(path))}: {error}: left as it is") from None


def sidecar_of(photo: Path) -> Path:
    """Return where a photo's sidecar is or should be.

    `IMG_1.jpg.xmp` (darktable, digiKam) or `IMG_1.xmp` (Adobe), whichever is there; a new one is
    `IMG_1.jpg.xmp`, and for raw photos `IMG_1.xmp`, where Adobe's programs look. `IMG_1.xmp`
    beside both IMG_1.jpg and a raw IMG_1 belongs to the raw photo.
    """
    full = photo.with_name(photo.name + SUFFIX)
    short = photo.with_suffix(SUFFIX)
    if os.path.lexists(full):
        return full
    if raw_preview.is_raw(photo.name) or len(os.fsencode(full.name)) > _LONGEST_NAME:
        return short
    if os.path.lexists(short) and not _shared(photo):
        return short
    return full


def _shared(photo: Path) -> bool:
    """Tell whether another photo has the same name but for its suffix."""
    start = os.fsencode(photo.stem) + b"."
    own = os.fsencode(photo.name)
    with os.scandir(os.fsencode(photo.parent)) as listing:
        return any(
            entry.name.startswith(start) and entry.name != own and is_photo_name(entry.name)
            for entry in listing
        )


def _why(error: OSError) -> str:
    return (error.strerror or str(error)).lower()
