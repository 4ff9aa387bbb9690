"""What a photo loses when words are put into it, so that its old bytes can be had back.

Whatever the new file still holds (the image data, EXIF, the colour profile) is named by its
place; only the rest is kept. A patch for a photo of megabytes is a few hundred bytes.
"""

from __future__ import annotations

import struct
import zlib

from showtell.errors import MetadataError
from showtell.photos.metadata.container import read_layout
from showtell.photos.metadata.image_hash import file_hash

_COPY, _LITERAL = b"c", b"l"
_COPIED = struct.Struct(">QQ")
_LENGTH = struct.Struct(">Q")
_LEAST = 32  # bytes: to name a place takes about as many


def make_patch(old: bytes, new: bytes) -> bytes:
    """Return what makes `old` of `new`, both of them photos that `read_layout` can take apart."""
    places = {
        file_hash(new[start:end]): start for start, end in _parts(new) if end - start >= _LEAST
    }
    steps: list[tuple[int | None, bytes]] = []  # where to copy from, and the bytes
    for start, end in _parts(old):
        piece = old[start:end]
        place = places.get(file_hash(piece)) if end - start >= _LEAST else None
        if steps and place is None and steps[-1][0] is None:
            steps[-1] = (None, steps[-1][1] + piece)
        else:
            steps.append((place, piece))
    pieces = []
    for place, piece in steps:
        if place is None:
            pieces.append(_LITERAL + _LENGTH.pack(len(piece)) + piece)
        else:
            pieces.append(_COPY + _COPIED.pack(place, len(piece)))
    return zlib.compress(b"".join(pieces))


def apply_patch(patch: bytes, new: bytes) -> bytes:
    """Return the old file.

    Raises MetadataError where the patch is damaged.
    """
    pieces, position = [], 0
    try:
        steps = zlib.decompress(patch)
        while position < len(steps):
            kind = steps[position : position + 1]
            position += 1
            if kind == _COPY:
                start, length = _COPIED.unpack_from(steps, position)
                position += _COPIED.size
                pieces.append(new[start : start + length])
            else:
                (length,) = _LENGTH.unpack_from(steps, position)
                position += _LENGTH.size
                pieces.append(steps[position : position + length])
                position += length
    except (zlib.error, struct.error) as error:
        raise MetadataError(f"what was kept of it is damaged ({error})") from None
    return b"".join(pieces)


def _parts(data: bytes) -> list[tuple[int, int]]:
    layout = read_layout(data)
    return [(0, len(data))] if layout is None else [(p.start, p.end) for p in layout.parts]
