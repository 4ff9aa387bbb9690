"""A bound on the chunks of a PNG, which Pillow reads one by one (W3C PNG, third edition)."""

from __future__ import annotations

import io
from typing import BinaryIO

from showtell.errors import PhotoError

MAX_CHUNKS = 100_000  # one of 50 megapixels has about ten thousand

_SIGNATURE_BYTES = 8
_OVERHEAD = 12  # bytes of a chunk beside its content


def refuse_too_many_chunks(file: BinaryIO) -> None:
    """Raise PhotoError if the PNG at the beginning of `file` has more than `MAX_CHUNKS`."""
    size = file.seek(0, io.SEEK_END)
    position = _SIGNATURE_BYTES
    for _ in range(MAX_CHUNKS):
        file.seek(position)
        position += _OVERHEAD + int.from_bytes(file.read(4), "big")
        if position >= size:
            return
    raise PhotoError(f"a PNG of more than {MAX_CHUNKS:,} chunks: save it again")
