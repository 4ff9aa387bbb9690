"""The datasets of IPTC (IIM version 4.2) and their character sets.

Programs disagree on the character set of IPTC without a marker (1:90). So a value is read by the
marker if there is one, else as UTF-8 if it is valid UTF-8, else as Latin-1.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass

from showtell.errors import MetadataError

ENVELOPE_VERSION, CHARACTER_SET = (1, 0), (1, 90)
_APPLICATION_RECORD = 2
UTF8_MARKER = b"\x1b%G"
_UTF8_MARKERS = {UTF8_MARKER, b"\x1b%/G", b"\x1b%/H", b"\x1b%/I"}
_ISO_8859_MARKER = re.compile(rb"\x1b[,\-./]([ABCDFGHLMb])")  # ISO 2022
_ISO_8859_PARTS = dict(zip(b"ABCDFGHLMb", (1, 2, 3, 4, 7, 6, 8, 5, 9, 15), strict=True))
_EXTENDED_SIZE = 0x8000
# datasets of record 2 that contain text; IIM's, then those of ExifTool's documentation
_TEXT_DATASETS = {
    *(3, 4, 5, 7, 8, 10, 12, 15, 20, 22, 25, 26, 27, 30, 35, 37, 38, 40, 42, 45, 47, 50, 55, 60),
    *(62, 63, 65, 70, 75, 80, 85, 90, 92, 95, 100, 101, 103, 105, 110, 115, 116, 118, 120, 121),
    *(122, 130, 131, 135, 150, 151, 152, 153, 154),
    *(184, 185, 186, 187, 188, 221, 225, 228, 230, 231, 232),
}


@dataclass(frozen=True, slots=True)
class DataSet:
    """A dataset of IIM: its key (record, number), its value, and its bytes with the header."""

    key: tuple[int, int]
    value: bytes
    encoded: bytes


def parse_datasets(block: bytes) -> tuple[list[DataSet], bytes]:
    """Return the datasets of an IPTC block, and the bytes after the last one that is whole."""
    datasets: list[DataSet] = []
    position = 0
    while position + 5 <= len(block) and block[position] == 0x1C:
        start = position
        record, number, size = struct.unpack_from(">BBH", block, position + 1)
        position += 5
        if size & _EXTENDED_SIZE:  # the size itself has that many bytes
            length = size & ~_EXTENDED_SIZE
            size = int.from_bytes(block[position : position + length])
            position += length
        if position + size > len(block):
            return datasets, block[start:]
        value = block[position : position + size]
        position += size
        datasets.append(DataSet((record, number), value, block[start:position]))
    return datasets, block[position:]


def convert_to_utf8(datasets: list[DataSet]) -> list[DataSet]:
    """Return the datasets with the marker for UTF-8 and the same values."""
    if any(
        dataset.key == CHARACTER_SET
        and dataset.value.startswith(b"\x1b%")
        and dataset.value not in _UTF8_MARKERS
        for dataset in datasets
    ):
        raise MetadataError("its IPTC is in a character set that is not read")
    encoding = marked_encoding(datasets)
    converted = []
    for dataset in datasets:
        value = dataset.value
        if is_text(dataset):
            value = decode(value, encoding).encode()
        if dataset.key != CHARACTER_SET:
            same = value == dataset.value
            converted.append(dataset if same else new_dataset(dataset.key, value))
    index = 1 if converted and converted[0].key == ENVELOPE_VERSION else 0
    converted.insert(index, new_dataset(CHARACTER_SET, UTF8_MARKER))
    return converted


def marked_encoding(datasets: list[DataSet]) -> str | None:
    """Return the character set of the marker; None if there is none, or an unknown one."""
    for dataset in datasets:
        if dataset.key == CHARACTER_SET:
            if dataset.value in _UTF8_MARKERS:
                return "utf-8"
            if match := _ISO_8859_MARKER.search(dataset.value):
                return f"iso-8859-{_ISO_8859_PARTS[match[1][0]]}"
    return None


def decode(value: bytes, encoding: str | None) -> str:
    """Return a value as text; `encoding` is the one that the marker names."""
    for candidate in (encoding or "utf-8", "cp1252"):  # Windows' Latin-1
        try:
            return value.decode(candidate)
        except UnicodeDecodeError:
            continue
    return value.decode("latin-1")


def is_text(dataset: DataSet) -> bool:
    """Return whether a dataset's value is text."""
    record, number = dataset.key
    return record == _APPLICATION_RECORD and number in _TEXT_DATASETS


def new_dataset(key: tuple[int, int], value: bytes) -> DataSet:
    """Return a dataset with a value."""
    return DataSet(key, value, _encode_dataset(key, value))


def _encode_dataset(key: tuple[int, int], value: bytes) -> bytes:
    if len(value) < _EXTENDED_SIZE:
        size = struct.pack(">H", len(value))
    else:
        size = struct.pack(">HI", _EXTENDED_SIZE | 4, len(value))
    return bytes([0x1C, *key]) + size + value
