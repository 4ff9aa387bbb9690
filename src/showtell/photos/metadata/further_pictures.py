"""Find the further pictures in a JPEG, and keep their positions right when it changes.

The Multi-Picture Format (CIPA DC-007) appends pictures after the end of a JPEG. An application
segment lists them, with offsets from a byte in that segment.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from showtell.errors import MetadataError
from showtell.photos.metadata.container import Container, Segment
from showtell.photos.metadata.file_edits import FileEdits

_SIGNATURE = b"MPF\0"
_BYTE_ORDERS = {b"II*\0": "<", b"MM\0*": ">"}
_ENTRIES_TAG = 0xB002
_ENTRY_SIZE = 16  # bytes


@dataclass(frozen=True, slots=True)
class _Entry:
    """A picture's entry: where its size and offset are, and the byte that offsets count from.

    The offset of the first picture is 0 and means the start of the file.
    """

    position: int
    byte_order: str
    base: int
    size: int
    offset: int

    @property
    def start(self) -> int:
        return self.base + self.offset if self.offset else 0


def is_picture_list(segment: Segment, data: bytes) -> bool:
    """Return whether a JPEG's segment lists further pictures."""
    return (
        segment.kind == "other"
        and segment.payload > segment.start + 2
        and data[segment.payload - 3] == 0xE2
        and data.startswith(_SIGNATURE, segment.payload)
    )


def further_pictures(container: Container, data: bytes) -> list[bytes]:
    """Return the bytes of the further pictures.

    Raises MetadataError if their list is damaged.
    """
    return [data[e.start : e.start + e.size] for e in _entries(container, data) if e.offset]


def keep_further_pictures(container: Container, edits: FileEdits) -> None:
    """Add the edits that make the list of further pictures fit the other edits.

    Raises MetadataError if the list is damaged.
    """
    for entry in list(_entries(container, edits.data)):
        size, offset = entry.size, entry.offset
        if entry.offset:
            offset = edits.new_position(entry.start) - edits.new_position(entry.base)
        else:  # the first picture is what is edited
            size = edits.new_position(entry.size)
        if not 0 <= offset < 1 << 32 or size >= 1 << 32:
            raise MetadataError("its list of further pictures (MPF) cannot be kept right")
        new = struct.pack(f"{entry.byte_order}II", size, offset)
        edits.replace(entry.position, entry.position + len(new), new)


def _entries(container: Container, data: bytes) -> Iterator[_Entry]:
    for segment in container.segments:
        if is_picture_list(segment, data):
            try:
                yield from _segment_entries(data[: segment.end], segment.payload + len(_SIGNATURE))
            except (struct.error, KeyError):
                raise MetadataError("its list of further pictures (MPF) is damaged") from None


def _segment_entries(data: bytes, base: int) -> Iterator[_Entry]:
    byte_order = _BYTE_ORDERS[data[base : base + 4]]
    directory = base + struct.unpack_from(f"{byte_order}I", data, base + 4)[0]
    count = struct.unpack_from(f"{byte_order}H", data, directory)[0]
    for index in range(count):
        tag, _, length, value = struct.unpack_from(
            f"{byte_order}HHII", data, directory + 2 + 12 * index
        )
        if tag == _ENTRIES_TAG:
            for position in range(base + value, base + value + length, _ENTRY_SIZE):
                size, offset = struct.unpack_from(f"{byte_order}4xII4x", data, position)
                yield _Entry(position + 4, byte_order, base, size, offset)
