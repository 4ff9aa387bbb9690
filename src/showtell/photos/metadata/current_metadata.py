"""Read the captions and keywords that a photo and its sidecar contain now."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from showtell.errors import MetadataError, PhotoError
from showtell.files.os_errors import error_reason
from showtell.files.printable_names import printable
from showtell.files.regular_files import open_regular, read_at_most, read_regular
from showtell.image import MAX_FILE_BYTES
from showtell.photos.metadata.blocks import find_blocks
from showtell.photos.metadata.boilerplate import is_boilerplate
from showtell.photos.metadata.container import Container, parse_container
from showtell.photos.metadata.exif_text import exif_texts
from showtell.photos.metadata.field_values import IPTC, IPTC_KEYWORDS, KEYWORDS, FieldValue
from showtell.photos.metadata.iptc import Iptc, read_iptc
from showtell.photos.metadata.sidecar import MAX_SIDECAR_BYTES
from showtell.photos.metadata.xmp import read_fields, read_keywords
from showtell.photos.metadata.xmp_occurrences import DEFAULT_LANGUAGE, TextByLanguage
from showtell.photos.metadata.xmp_properties import read_properties
from showtell.photos.photo_names import is_raw_name

_UNWRITTEN_PROPERTIES = {
    "description": (
        *("tiff:ImageDescription", "exif:UserComment", "acdsee:notes", "acdsee:caption"),
    ),
    "alt": ("Iptc4xmpCore:ExtDescrAccessibility",),
}
# a packet that is not decoded and has none of these names has neither, but maybe a depth map
_FIELD_NAMES = re.compile(
    rb"description|usercomment|accessibility|acdsee|\bsubject\b", re.IGNORECASE
)
_HEAD_SIZE = 1 << 20  # bytes: a JPEG's metadata precedes its pixels and is smaller than this


@dataclass(frozen=True, slots=True)
class CurrentMetadata:
    """The texts in a photo or sidecar: XMP fields by name and language, IPTC, and keywords of XMP.

    `other_texts` are texts by field that showtell never writes, such as EXIF's ImageDescription.
    `other_keywords` are those of further XMP packets, which are not written either.
    `unread` says why XMP that may contain texts is not read; it is empty if all is read.
    """

    xmp: dict[str, TextByLanguage]
    iptc: Iptc
    other_texts: dict[str, tuple[str, ...]] = field(default_factory=dict)
    unread: str = ""
    keywords: tuple[str, ...] = ()
    other_keywords: tuple[str, ...] = ()

    def texts(self, fields: tuple[str, ...]) -> set[str]:
        """Return the texts of some fields in all languages, without those by cameras."""
        texts = {text for field in fields for text in self.xmp.get(field, {}).values()}
        texts.update(text for field in fields for text in self.other_texts.get(field, ()))
        if IPTC in fields:
            texts.add(self.iptc.caption)
        words = (text.replace("\0", " ").split() for text in texts if not is_boilerplate(text))
        return {" ".join(parts) for parts in words}

    def value(self, field: str) -> FieldValue | None:
        """Return a field's text in the default language, or None; or its keywords."""
        if field == KEYWORDS:
            return self.keywords
        if field == IPTC_KEYWORDS:
            return self.iptc.keywords
        if field == IPTC:
            return self.iptc.caption if self.iptc.present else None
        return self.xmp.get(field, {}).get(DEFAULT_LANGUAGE)


_NO_METADATA = CurrentMetadata({}, Iptc())


def read_photo_metadata(
    data: bytes, container: Container | None, *, is_raw: bool = False
) -> CurrentMetadata:
    """Return the texts in a photo's bytes; damaged metadata other than XMP counts as none."""
    blocks = find_blocks(data, container, is_raw=is_raw)
    fields: dict[str, TextByLanguage] = {}
    descriptions = list(blocks.comments)
    for exif in (blocks.exif, *blocks.further_exif):
        descriptions += exif_texts(exif)
    other_texts = {"alt": list[str](), "description": descriptions}
    unread = ""
    keywords: list[tuple[str, ...]] = []  # of each packet; the first packet is the main one
    for packet in blocks.xmp:
        in_packet: dict[str, TextByLanguage] = {}
        try:
            in_packet = read_fields(packet)
            keywords.append(read_keywords(packet))
        except MetadataError as error:
            if _FIELD_NAMES.search(packet.replace(b"\0", b"")):  # also in UTF-16
                unread = str(error)
        for key, texts in in_packet.items():
            other_texts[key] += texts.values()
        fields = {**in_packet, **fields}
        for key, extra in _unwritten_texts(packet).items():
            other_texts[key] += extra
    iptc = read_iptc(blocks.iptc)
    return CurrentMetadata(
        fields,
        iptc,
        {key: tuple(texts) for key, texts in other_texts.items() if texts},
        unread,
        next(iter(keywords), ()),
        tuple(word for words in keywords[1:] for word in words),
    )


def _unwritten_texts(packet: bytes) -> dict[str, tuple[str, ...]]:
    """Return the texts by field of the properties in a packet that showtell never writes."""
    properties = read_properties(packet)
    return {
        field: tuple(text for name in names for text in properties.get(name, ()))
        for field, names in _UNWRITTEN_PROPERTIES.items()
    }


def read_file_metadata(path: Path) -> tuple[CurrentMetadata, Container | None]:
    """Return the texts in a photo and its container, reading as little of the file as possible.

    Raises PhotoError if the file cannot be read.
    """
    display_path = printable(os.fspath(path))
    try:
        with open_regular(path) as file:
            data = file.read(_HEAD_SIZE)
            if not data.startswith(b"\xff\xd8"):  # other formats may store metadata at the end
                size = os.fstat(file.fileno()).st_size
                if size > 4 * _HEAD_SIZE and is_raw_name(path.name):
                    file.seek(-_HEAD_SIZE, os.SEEK_END)
                data += read_at_most(file, MAX_FILE_BYTES)
            container = None if is_raw_name(path.name) else _parse_head(data, file)
        is_raw = is_raw_name(path.name)
        return read_photo_metadata(data, container, is_raw=is_raw), container
    except OSError as error:
        raise PhotoError(f"{display_path}: cannot be read ({error_reason(error)})") from None
    except PhotoError as error:
        raise PhotoError(f"{display_path}: {error}") from None


def _parse_head(data: bytes, file: BinaryIO) -> Container | None:
    try:
        return parse_container(data)
    except PhotoError:
        rest = read_at_most(file, MAX_FILE_BYTES)  # the metadata is larger than usual
        if not rest:
            raise
        return parse_container(data + rest)


def read_sidecar_metadata(path: Path) -> CurrentMetadata:
    """Return the texts in a sidecar; a missing sidecar has none.

    Raises MetadataError if the sidecar is damaged or cannot be read.
    """
    try:
        packet = read_regular(path, MAX_SIDECAR_BYTES)
    except FileNotFoundError:
        return _NO_METADATA
    except OSError as error:
        display_path = printable(os.fspath(path))
        raise MetadataError(f"{display_path}: cannot be read ({error_reason(error)})") from None
    try:
        return CurrentMetadata(
            read_fields(packet),
            Iptc(),
            _unwritten_texts(packet),
            keywords=read_keywords(packet),
        )
    except MetadataError as error:
        raise MetadataError(f"{printable(os.fspath(path))}: {error}: left unchanged") from None
