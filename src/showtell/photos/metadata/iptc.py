"""Read and set the caption in a JPEG's IPTC (IIM version 4.2, in Photoshop's image resources).

Programs disagree on the character set of IPTC without a marker (1:90). So a value is read by the
marker if there is one, else as UTF-8 if it is valid UTF-8, else as Latin-1. Setting the caption
changes no other value: others keep their bytes, or are converted if the caption needs the marker
for UTF-8 and they are Latin-1.
"""

from __future__ import annotations

import hashlib
import re
import struct
from collections.abc import Sequence
from dataclasses import dataclass

from showtell.errors import MetadataError
from showtell.photos.metadata.image_resources import (
    encode_resource,
    parse_resources,
    replace_bytes,
)

MAX_CAPTION_BYTES = 2000  # the longest Caption-Abstract (2:120) that IIM allows
_UTF8_MARKER = b"\x1b%G"
_UTF8_MARKERS = {_UTF8_MARKER, b"\x1b%/G", b"\x1b%/H", b"\x1b%/I"}
_ISO_8859_MARKER = re.compile(rb"\x1b[,\-./]([ABCDFGHLMb])")  # ISO 2022
_ISO_8859_PARTS = dict(zip(b"ABCDFGHLMb", (1, 2, 3, 4, 7, 6, 8, 5, 9, 15), strict=True))
_DIGEST_RESOURCE = 0x0425
_ENVELOPE_VERSION, _CHARACTER_SET = (1, 0), (1, 90)
_RECORD_VERSION, _CAPTION = (2, 0), (2, 120)
_DATE_CREATED, _TIME_CREATED = (2, 55), (2, 60)
_DATE_SIZE = len("20230531")
_VERSION = b"\0\4"
_EXTENDED_SIZE = 0x8000
# datasets of record 2 that contain text; IIM's, then those of ExifTool's documentation
_TEXT_DATASETS = {
    *(3, 4, 5, 7, 8, 10, 12, 15, 20, 22, 25, 26, 27, 30, 35, 37, 38, 40, 42, 45, 47, 50, 55, 60),
    *(62, 63, 65, 70, 75, 80, 85, 90, 92, 95, 100, 101, 103, 105, 110, 115, 116, 118, 120, 121),
    *(122, 130, 131, 135, 150, 151, 152, 153, 154),
    *(184, 185, 186, 187, 188, 221, 225, 228, 230, 231, 232),
}


@dataclass(frozen=True, slots=True)
class Iptc:
    """A JPEG's caption in IPTC (may be empty), and whether IPTC is present."""

    caption: str = ""
    present: bool = False


@dataclass(frozen=True, slots=True)
class _DataSet:
    """A dataset of IIM: its key (record, number), its value, and its bytes with the header."""

    key: tuple[int, int]
    value: bytes
    encoded: bytes


def read_iptc(resources: bytes) -> Iptc:
    """Read Photoshop's image resources, up to the first one that is damaged."""
    captions, present = [], False
    for resource in parse_resources(resources)[0]:
        if resource.is_iptc:
            present = True
            datasets = _parse_datasets(resource.content(resources))[0]
            encoding = _marked_encoding(datasets)
            captions += [_decode(d.value, encoding) for d in datasets if d.key == _CAPTION]
    texts = dict.fromkeys(caption for caption in captions if caption.strip())
    return Iptc("\n".join(texts), present)


def read_date_created(resources: bytes) -> str:
    """Return the date (2:55) and time (2:60) at which the content was made; empty if unknown.

    IIM writes an unknown month or day as zeros, which are left out.
    """
    values: dict[tuple[int, int], str] = {}
    for resource in parse_resources(resources)[0]:
        if resource.is_iptc:
            for dataset in _parse_datasets(resource.content(resources))[0]:
                values.setdefault(dataset.key, dataset.value.decode("latin-1"))
    date, time = values.get(_DATE_CREATED, "").strip(), values.get(_TIME_CREATED, "").strip()
    if len(date) == _DATE_SIZE and date.endswith("00"):
        return date[:4] if date.endswith("0000") else f"{date[:4]}-{date[4:6]}"
    return f"{date} {time}".strip() if date else ""


def set_caption(segments: Sequence[bytes], caption: str) -> list[bytes]:
    """Return the contents of a JPEG's Photoshop segments with a caption in IPTC.

    Resources may continue in the next segment. The result has a content for each segment, which
    may be empty or too long for one; without a segment, it has one. All other resources stay
    byte for byte, and a checksum that Photoshop keeps of IPTC is updated if it was right.

    Raises MetadataError if the resources are damaged, or their characters cannot be kept.
    """
    data = b"".join(segments)
    resources, end = parse_resources(data)
    if data[end:].strip(b"\0"):
        raise MetadataError("its Photoshop resources are damaged")
    blocks = [resource for resource in resources if resource.is_iptc]
    parts = list(segments) or [b""]
    if not blocks:
        return replace_bytes(parts, end, end, encode_resource(_new_block(caption)))
    old_blocks = [resource.content(data) for resource in blocks]
    new_blocks = [_set_in_block(old_blocks[0], caption)]
    new_blocks += [_set_in_block(block, None) for block in old_blocks[1:]]
    new_contents = {id(r): content for r, content in zip(blocks, new_blocks, strict=True)}
    for resource in resources:
        if resource.id == _DIGEST_RESOURCE and resource.content(data) == _digest(old_blocks[0]):
            new_contents[id(resource)] = _digest(new_blocks[0])
    for resource in reversed(resources):
        if id(resource) in new_contents:
            new = encode_resource(new_contents[id(resource)], resource)
            parts = replace_bytes(parts, resource.start, resource.end, new)
    return parts


def same_apart_from_caption(old: bytes, new: bytes) -> bool:
    """Return whether two image resources differ in nothing but the caption of IPTC.

    Texts are compared decoded. The character set and the checksum of IPTC are ignored, as they
    follow from the texts, and so are the version numbers of IPTC that is new.
    """
    ignored = {_CHARACTER_SET, _CAPTION}
    if not read_iptc(old).present:
        ignored |= {_ENVELOPE_VERSION, _RECORD_VERSION}
    return _other_content(old, ignored) == _other_content(new, ignored)


def truncate_caption(text: str) -> str:
    """Shorten a text to what Caption-Abstract can hold, at a word boundary, ending in `…`."""
    data = text.encode()
    if len(data) <= MAX_CAPTION_BYTES:
        return text
    cut = data[: MAX_CAPTION_BYTES - 3].decode("utf-8", "ignore")
    return cut[: cut.rfind(" ") if " " in cut else len(cut)].rstrip() + "…"


def _other_content(
    resources: bytes, ignored: set[tuple[int, int]]
) -> list[tuple[object, str | bytes]]:
    content: list[tuple[object, str | bytes]] = []
    for resource in parse_resources(resources)[0]:
        data = resource.content(resources)
        if not resource.is_iptc:
            if resource.id != _DIGEST_RESOURCE:
                content.append(((resource.signature, resource.id, resource.name), data))
            continue
        datasets = _parse_datasets(data)[0]
        encoding = _marked_encoding(datasets)
        for dataset in datasets:
            if dataset.key not in ignored:
                value = dataset.value
                text = _decode(value, encoding) if _is_text(dataset) else value
                content.append((dataset.key, text))
    return content


def _parse_datasets(block: bytes) -> tuple[list[_DataSet], bytes]:
    """Return the datasets of an IPTC block, and the bytes after the last one that is whole."""
    datasets: list[_DataSet] = []
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
        datasets.append(_DataSet((record, number), value, block[start:position]))
    return datasets, block[position:]


def _set_in_block(block: bytes, caption: str | None) -> bytes:
    """Return an IPTC block with one caption, or with none."""
    datasets, rest = _parse_datasets(block)
    if rest.strip(b"\0"):
        raise MetadataError("its IPTC is damaged")
    encoded_caption = b""
    if caption is not None:
        encoding = _marked_encoding(datasets)
        try:
            encoded_caption = caption.encode(encoding or "ascii")
        except UnicodeEncodeError:
            datasets = _convert_to_utf8(datasets)
            encoded_caption = caption.encode()
        encoded_caption = _encode_dataset(_CAPTION, encoded_caption)
    # the caption keeps its position; a new one follows the other datasets of its record
    index = next((i for i, d in enumerate(datasets) if d.key == _CAPTION), None)
    if index is None:
        index = max((i + 1 for i, d in enumerate(datasets) if d.key[0] <= _CAPTION[0]), default=0)
    before = b"".join(d.encoded for d in datasets[:index])
    after = b"".join(d.encoded for d in datasets[index:] if d.key != _CAPTION)
    return before + encoded_caption + after + rest


def _convert_to_utf8(datasets: list[_DataSet]) -> list[_DataSet]:
    """Return the datasets with the marker for UTF-8 and the same values."""
    if any(
        dataset.key == _CHARACTER_SET
        and dataset.value.startswith(b"\x1b%")
        and dataset.value not in _UTF8_MARKERS
        for dataset in datasets
    ):
        raise MetadataError("its IPTC is in a character set that is not read")
    encoding = _marked_encoding(datasets)
    converted = []
    for dataset in datasets:
        value = dataset.value
        if _is_text(dataset):
            value = _decode(value, encoding).encode()
        if dataset.key != _CHARACTER_SET:
            same = value == dataset.value
            converted.append(dataset if same else _new_dataset(dataset.key, value))
    index = 1 if converted and converted[0].key == _ENVELOPE_VERSION else 0
    converted.insert(index, _new_dataset(_CHARACTER_SET, _UTF8_MARKER))
    return converted


def _marked_encoding(datasets: list[_DataSet]) -> str | None:
    """Return the character set of the marker; None if there is none, or an unknown one."""
    for dataset in datasets:
        if dataset.key == _CHARACTER_SET:
            if dataset.value in _UTF8_MARKERS:
                return "utf-8"
            if match := _ISO_8859_MARKER.search(dataset.value):
                return f"iso-8859-{_ISO_8859_PARTS[match[1][0]]}"
    return None


def _decode(value: bytes, encoding: str | None) -> str:
    for candidate in (encoding or "utf-8", "cp1252"):  # Windows' Latin-1
        try:
            return value.decode(candidate)
        except UnicodeDecodeError:
            continue
    return value.decode("latin-1")


def _is_text(dataset: _DataSet) -> bool:
    record, number = dataset.key
    return record == _CAPTION[0] and number in _TEXT_DATASETS


def _new_block(caption: str) -> bytes:
    return b"".join(
        _encode_dataset(key, value)
        for key, value in (
            (_ENVELOPE_VERSION, _VERSION),
            (_CHARACTER_SET, _UTF8_MARKER),
            (_RECORD_VERSION, _VERSION),
            (_CAPTION, caption.encode()),
        )
    )


def _new_dataset(key: tuple[int, int], value: bytes) -> _DataSet:
    return _DataSet(key, value, _encode_dataset(key, value))


def _encode_dataset(key: tuple[int, int], value: bytes) -> bytes:
    if len(value) < _EXTENDED_SIZE:
        size = struct.pack(">H", len(value))
    else:
        size = struct.pack(">HI", _EXTENDED_SIZE | 4, len(value))
    return bytes([0x1C, *key]) + size + value


def _digest(block: bytes) -> bytes:
    return hashlib.md5(block, usedforsecurity=False).digest()
