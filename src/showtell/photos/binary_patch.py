"""Binary patches that restore a photo's old bytes from its new ones.

Segments that both files contain (image data, EXIF, colour profile) are referenced by their
position in the new file; only the rest is stored. So a patch for a photo of several megabytes has
a few hundred bytes.
"""

from __future__ import annotations

import struct
import zlib

from showtell.errors import MetadataError
from showtell.photos.metadata.container import parse_container
from showtell.photos.metadata.image_hash import hash_bytes

_COPY, _LITERAL = b"c", b"l"
_COPY_RANGE = struct.Struct(">QQ")  # start, length
_LITERAL_LENGTH = struct.Struct(">Q")
_MIN_COPY_LENGTH = 32  # bytes: a reference takes about as many


def make_patch(old: bytes, new: bytes) -> bytes:
    """Return a patch that restores `old` from `new`, both photos for `parse_container`."""
    new_starts = {
        hash_bytes(new[start:end]): start
        for start, end in _spans(new)
        if end - start >= _MIN_COPY_LENGTH
    }
    steps: list[tuple[int | None, bytes]] = []  # start in `new` (None: literal bytes), bytes
    for start, end in _spans(old):
        data = old[start:end]
        copy_start = new_starts.get(hash_bytes(data)) if end - start >= _MIN_COPY_LENGTH else None
        if steps and copy_start is None and steps[-1][0] is None:
            steps[-1] = (None, steps[-1][1] + data)
        else:
            steps.append((copy_start, data))
    encoded = []
    for copy_start, data in steps:
        if copy_start is None:
            encoded.append(_LITERAL + _LITERAL_LENGTH.pack(len(data)) + data)
        else:
            encoded.append(_COPY + _COPY_RANGE.pack(copy_start, len(data)))
    return zlib.compress(b"".join(encoded))


def apply_patch(patch: bytes, new: bytes) -> bytes:
    """Return the old file.

    Raises MetadataError if the patch is damaged.
    """
    pieces, position = [], 0
    try:
        steps = zlib.decompress(patch)
        while position < len(steps):
            kind = steps[position : position + 1]
            position += 1
            if kind == _COPY:
                start, length = _COPY_RANGE.unpack_from(steps, position)
                position += _COPY_RANGE.size
                pieces.append(new[start : start + length])
            else:
                (length,) = _LITERAL_LENGTH.unpack_from(steps, position)
                position += _LITERAL_LENGTH.size
                pieces.append(steps[position : position + length])
                position += length
    except (zlib.error, struct.error) as error:
        raise MetadataError(f"the patch that restores it is damaged ({error})") from None
    return b"".join(pieces)


def _spans(data: bytes) -> list[tuple[int, int]]:
    container = parse_container(data)
    if container is None:
        return [(0, len(data))]
    return [(segment.start, segment.end) for segment in container.segments]
