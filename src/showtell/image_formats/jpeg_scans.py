"""What a JPEG's header says about decoding it, and how many scans the file has.

A JPEG with several scans (progressive, or one for each colour) is decoded scan by scan over the
whole picture, so that a small file with hundreds of scans takes minutes. The format is described
in ITU-T T.81, Annex B.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import BinaryIO

from showtell.errors import PhotoError
from showtell.image_formats.jpeg_markers import END, FRAMES, START_OF_SCAN

MAX_SCANS = 100  # progressive JPEGs have about ten
MAX_HEADER_PARTS = 10_000  # segments and fill bytes before the first scan, read one by one
SCANNED_PIXELS = 30  # of all scans together, times the pixels of the largest photo that is decoded

_STANDALONE = {0x01, *range(0xD0, 0xD9)}
_SEQUENTIAL = {0xC0, 0xC1, 0xC3, 0xC9, 0xCB}
_MARKER_AFTER_SCAN = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]", re.DOTALL)
_BLOCK = 1 << 20  # bytes


@dataclass(frozen=True, slots=True)
class JpegHeader:
    """What precedes a JPEG's first scan: bits of a sample, and whether more scans may follow."""

    bits: int
    multi_scan: bool


def read_jpeg_header(file: BinaryIO) -> JpegHeader:
    """Read the header of the JPEG at the beginning of `file`, as far as it is whole.

    Raises PhotoError if it has too many parts.
    """
    bits, components, sequential = 8, 0, False
    position = 2
    for _ in range(MAX_HEADER_PARTS):
        file.seek(position)
        start = file.read(10)
        if len(start) < 10 or start[0] != 0xFF:
            return JpegHeader(bits, multi_scan=True)
        marker = start[1]
        if marker == 0xFF:  # a fill byte
            position += 1
        elif marker in _STANDALONE:
            position += 2
        elif marker == START_OF_SCAN:
            return JpegHeader(bits, not (sequential and start[4] == components))
        else:
            if marker in FRAMES:
                bits, components, sequential = start[4], start[9], marker in _SEQUENTIAL
            position += 2 + int.from_bytes(start[2:4], "big")
    raise PhotoError(f"a JPEG of more than {MAX_HEADER_PARTS:,} segments: save it again")


def refuse_too_many_scans(file: BinaryIO, size: tuple[int, int], max_pixels: int) -> None:
    """Raise PhotoError for a JPEG of several scans that would take minutes to decode."""
    limit = min(MAX_SCANS, SCANNED_PIXELS * max_pixels // math.prod(size))
    if has_more_scans(file, limit):
        raise PhotoError(
            f"a JPEG of {size[0]} x {size[1]} pixels in more than {limit} scans, which take too"
            " long to decode: save it again as a baseline JPEG"
        )


def has_more_scans(file: BinaryIO, limit: int) -> bool:
    """Return whether the JPEG at the beginning of `file` has more than `limit` scans."""
    if _count_start_markers(file) <= limit:
        return False
    file.seek(0)
    data = file.read()
    position, scans = 2, 0
    while scans <= limit:  # the markers in metadata and in further pictures do not count
        next_marker = _MARKER_AFTER_SCAN.search(data, position)
        if next_marker is None or data[next_marker.end() - 1] == END:
            return False
        marker, position = data[next_marker.end() - 1], next_marker.end()
        scans += marker == START_OF_SCAN
        if marker not in _STANDALONE:
            position += int.from_bytes(data[position : position + 2], "big")
    return True


def _count_start_markers(file: BinaryIO) -> int:
    """Return how often the two bytes of a start of scan occur in `file`, anywhere."""
    file.seek(0)
    count, last = 0, b""
    while block := file.read(_BLOCK):
        count += (last + block).count(b"\xff\xda")
        last = block[-1:] if block[-1:] == b"\xff" else b""
    return count
