"""Raw photos: which they are, and the preview that the camera put into them.

A raw file is never written to, and its sensor data never read: it is captioned from the largest
baseline or progressive JPEG that lies in it, as every maker's format has one.
"""

from __future__ import annotations

import os
import struct

from showtell.errors import PhotoError
from showtell.photos.metadata.container import jpeg_layout

SUFFIXES = frozenset(
    {".3fr", ".arw", ".cr2", ".cr3", ".crw", ".dcr", ".dng", ".erf", ".fff", ".iiq", ".k25"}
    | {".kdc", ".mef", ".mos", ".mrw", ".nef", ".nrw", ".orf", ".pef", ".raf", ".raw", ".rw2"}
    | {".rwl", ".sr2", ".srf", ".srw", ".x3f"}
)
NO_PREVIEW = "a raw photo without a preview that can be read: give it words by showtell photos edit"
_LEAST = 160  # pixels of the longer side: below, it is a thumbnail
_LOSSLESS = (0xC3, 0xC7, 0xCB, 0xCF)
_START = b"\xff\xd8\xff"


def is_raw(name: str | bytes) -> bool:
    """Tell by its suffix whether a file is a raw photo."""
    return os.path.splitext(os.fsdecode(name))[1].lower() in SUFFIXES  # noqa: PTH122


def preview(data: bytes) -> bytes:
    """Return the largest JPEG preview inside a raw photo.

    Raises PhotoError where there is none.
    """
    best: tuple[int, int, int] | None = None  # pixels, start, end
    position = data.find(_START)
    while position >= 0:
        found = _jpeg_at(data, position)
        if found is not None:
            best = max(best or found, found)
        position = data.find(_START, position + 3 if found is None else found[2])
    if best is None:
        raise PhotoError(NO_PREVIEW)
    return data[best[1] : best[2]]


def _jpeg_at(data: bytes, start: int) -> tuple[int, int, int] | None:
    """Return pixels, start and end of the JPEG at `start`; None for thumbnails and sensor data."""
    try:
        layout = jpeg_layout(data, start)
    except (PhotoError, struct.error, IndexError):
        return None
    own = [part for part in layout.parts if part.kind == "image"]
    markers = {data[part.start + 1] for part in own}
    if 0xD9 not in markers or markers.intersection(_LOSSLESS) or layout.size is None:
        return None
    if max(layout.size) < _LEAST:
        return None
    return layout.size[0] * layout.size[1], start, own[-1].end
