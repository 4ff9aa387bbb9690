"""Photoshop's image resources, in which photos store IPTC (Adobe Photoshop File Formats)."""

from __future__ import annotations

import itertools
import struct
from dataclasses import dataclass

_RESOURCE_SIGNATURES = (b"8BIM", b"PHUT", b"DCSR", b"AgHg", b"MeSa")
_IPTC_RESOURCE = 0x0404


@dataclass(frozen=True, slots=True)
class ImageResource:
    """An image resource: its content is the bytes `payload` to `payload + size`."""

    signature: bytes
    id: int
    name: bytes
    start: int
    payload: int
    size: int
    end: int

    @property
    def is_iptc(self) -> bool:
        """Whether the resource holds IPTC."""
        return (self.signature, self.id) == (b"8BIM", _IPTC_RESOURCE)

    def content(self, data: bytes) -> bytes:
        """Return the content, from the resources that `data` holds."""
        return data[self.payload : self.payload + self.size]


def parse_resources(data: bytes) -> tuple[list[ImageResource], int]:
    """Return the image resources up to the first damaged one, and where the last one ends."""
    resources: list[ImageResource] = []
    position = 0
    while data.startswith(_RESOURCE_SIGNATURES, position) and position + 8 <= len(data):
        start = position
        resource_id, name_length = struct.unpack_from(">HB", data, position + 4)
        position += 7
        name = data[position : position + name_length]
        position += name_length + (name_length + 1) % 2
        if position + 4 > len(data):
            return resources, start
        size = struct.unpack_from(">I", data, position)[0]
        payload, position = position + 4, position + 4 + size
        if position > len(data):
            return resources, start
        if size % 2 and not data.startswith(_RESOURCE_SIGNATURES, position):
            position = min(position + 1, len(data))  # some programs forget the padding
        signature = data[start : start + 4]
        resources.append(
            ImageResource(signature, resource_id, name, start, payload, size, position)
        )
    return resources, position


def encode_resource(content: bytes, old: ImageResource | None = None) -> bytes:
    """Return IPTC as an image resource, or other content as the resource `old`."""
    signature, resource_id, name = b"8BIM", _IPTC_RESOURCE, b""
    if old is not None:
        signature, resource_id, name = old.signature, old.id, old.name
    padded_name = bytes([len(name)]) + name + bytes((len(name) + 1) % 2)
    header = signature + struct.pack(">H", resource_id) + padded_name
    return header + struct.pack(">I", len(content)) + content + bytes(len(content) % 2)


def replace_bytes(parts: list[bytes], start: int, end: int, new: bytes) -> list[bytes]:
    """Replace bytes of the joined parts; a part whose bytes are all replaced becomes empty."""
    ends = list(itertools.accumulate(len(part) for part in parts))
    first = next((i for i, part_end in enumerate(ends) if start < part_end), len(parts) - 1)
    last = max(first, next((i for i, part_end in enumerate(ends) if end <= part_end), first))
    head = parts[first][: start - (ends[first] - len(parts[first]))]
    tail = parts[last][end - (ends[last] - len(parts[last])) :]
    return [*parts[:first], head + new + tail, *[b""] * (last - first), *parts[last + 1 :]]
