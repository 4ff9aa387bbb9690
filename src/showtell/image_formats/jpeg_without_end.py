"""Tell a JPEG that lacks only its end marker from one whose picture is cut off."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import BinaryIO

from PIL import Image

_END = b"\xff\xd9"
_FILLER = b"\x55\xaa\x33\xcc" * 16


def with_end(data: bytes, decode: Callable[[BinaryIO], Image.Image]) -> bytes | None:
    """Return a JPEG that lacks its end marker with one; None if its picture is cut off as well.

    The picture is decoded twice, by `decode`, with different bytes at the end. They make no
    difference to a picture whose last scan is complete.
    """
    ended = data.rstrip(b"\xff") + _END
    filled = ended[:-2] + _FILLER + _END
    pictures = [decode(io.BytesIO(variant)) for variant in (ended, filled)]
    return ended if pictures[0].tobytes() == pictures[1].tobytes() else None
