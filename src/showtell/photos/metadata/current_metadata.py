"""Read the captions that a photo and its sidecar contain now."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from showtell.errors import MetadataError, PhotoError
from showtell.files.os_errors import error_reason
from showtell.files.printable_names import printable
from showtell.photos.metadata.container import Container, parse_container
from showtell.photos.metadata.iptc import Iptc, read_iptc
from showtell.photos.metadata.xmp import DEFAULT_LANGUAGE, TextByLanguage, find_packet, read_fields
from showtell.photos.photo_names import is_raw_name

_HEAD_SIZE = 1 << 20  # bytes: a JPEG's metadata precedes its pixels and is smaller than this


@dataclass(frozen=True, slots=True)
class CurrentMetadata:
    """The texts in a photo or sidecar: XMP fields by name and language, and the IPTC caption."""

    xmp: dict[str, TextByLanguage]
    iptc: Iptc

    def texts(self, fields: tuple[str, ...]) -> set[str]:
        """Return the texts of some fields in all languages, without blank ones."""
        texts = {text for field in fields for text in self.xmp.get(field, {}).values()}
        if "iptc" in fields:
            texts.add(self.iptc.caption)
        return {" ".join(text.split()) for text in texts} - {""}

    def value(self, field: str) -> str | None:
        """Return a field's text in the default language, or None."""
        if field == "iptc":
            return self.iptc.caption if self.iptc.present else None
        return self.xmp.get(field, {}).get(DEFAULT_LANGUAGE)


_NO_METADATA = CurrentMetadata({}, Iptc())


def read_photo_metadata(data: bytes, container: Container | None) -> CurrentMetadata:
    """Return the texts in a photo's bytes; damaged XMP counts as none."""
    packet = container.xmp(data) if container is not None else find_packet(data)
    fields: dict[str, TextByLanguage] = {}
    if packet is not None:
        try:
            fields = read_fields(packet)
        except MetadataError:
            fields = {}
    resources = b""
    if container is not None and container.format == "JPEG":
        resources = b"".join(container.payloads("iptc", data))
    return CurrentMetadata(fields, read_iptc(resources))


def read_file_metadata(path: Path) -> tuple[CurrentMetadata, Container | None]:
    """Return the texts in a photo and its container, reading as little of the file as possible.

    Raises PhotoError if the file cannot be read.
    """
    display_path = printable(os.fspath(path))
    try:
        with path.open("rb") as file:
            data = file.read(_HEAD_SIZE)
            if not data.startswith(b"\xff\xd8"):  # other formats may store metadata at the end
                size = os.fstat(file.fileno()).st_size
                if size > 4 * _HEAD_SIZE and is_raw_name(path.name):
                    file.seek(-_HEAD_SIZE, os.SEEK_END)
                data += file.read()
            container = None if is_raw_name(path.name) else _parse_head(data, file)
        return read_photo_metadata(data, container), container
    except OSError as error:
        raise PhotoError(f"{display_path}: cannot be read ({error_reason(error)})") from None
    except PhotoError as error:
        raise PhotoError(f"{display_path}: {error}") from None


def _parse_head(data: bytes, file: BinaryIO) -> Container | None:
    try:
        return parse_container(data)
    except PhotoError:
        rest = file.read()  # the metadata is larger than usual
        if not rest:
            raise
        return parse_container(data + rest)


def read_sidecar_metadata(path: Path) -> CurrentMetadata:
    """Return the texts in a sidecar; a missing sidecar has none.

    Raises MetadataError if the sidecar is damaged or cannot be read.
    """
    try:
        packet = path.read_bytes()
    except FileNotFoundError:
        return _NO_METADATA
    except OSError as error:
        display_path = printable(os.fspath(path))
        raise MetadataError(f"{display_path}: cannot be read ({error_reason(error)})") from None
    try:
        return CurrentMetadata(read_fields(packet), Iptc())
    except MetadataError as error:
        raise MetadataError(f"{printable(os.fspath(path))}: {error}: left unchanged") from None
