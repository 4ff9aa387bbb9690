"""Small files of photos with many pixels, which take long to decode."""

from __future__ import annotations

import functools
import io

from PIL import Image

HUGE = (8100, 6100)


@functools.cache
def pixel_bomb(kind: str = "WEBP", size: tuple[int, int] = HUGE, mode: str = "RGB") -> bytes:
    """Return a photo of one colour in a few kilobytes or less."""
    options: dict[str, object] = {
        "WEBP": {"lossless": True, "quality": 0, "method": 0},
        "PNG": {"compress_level": 9},
        "TIFF": {"compression": "tiff_adobe_deflate"},
        "JPEG": {"quality": 10},
    }.get(kind, {})
    buffer = io.BytesIO()
    Image.new(mode, size, 0).save(buffer, kind, **options)
    return buffer.getvalue()
