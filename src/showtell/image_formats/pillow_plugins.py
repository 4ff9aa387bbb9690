"""Pillow's decoders, each imported when a photo needs it."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import BinaryIO

from PIL import Image, ImageFile, JpegImagePlugin

from showtell.errors import MissingExtraError, PhotoError


@functools.cache
def load_plugin(kind: str) -> None:
    """Register the decoder of `kind`; otherwise Pillow would import all its plugins.

    Raises MissingExtraError or PhotoError if there is none.
    """
    Image.preinit()
    if kind == "HEIF":
        try:
            import pillow_heif
        except ImportError:
            raise MissingExtraError("HEIC", "heif") from None
        pillow_heif.register_heif_opener()
    elif kind == "AVIF":
        try:
            from PIL import AvifImagePlugin
        except ImportError:  # Pillow before 11.3
            raise PhotoError("AVIF needs a newer Pillow: pip install -U pillow") from None
        if not AvifImagePlugin.SUPPORTED:
            raise PhotoError("this build of Pillow cannot read AVIF: pip install -U pillow")
    elif kind == "WEBP":
        from PIL import WebPImagePlugin  # noqa: F401
    elif kind == "TIFF":
        from PIL import TiffImagePlugin  # noqa: F401

        from showtell.image_formats.quiet_libtiff import silence_libtiff

        silence_libtiff()


def opener(kind: str) -> Callable[[BinaryIO, str], ImageFile.ImageFile]:
    """Return the class that opens a file; `Image.open` also refuses what `max_pixels` allows."""
    if kind == "JPEG":  # not the factory, which reads the list of further pictures
        return JpegImagePlugin.JpegImageFile
    return Image.OPEN[kind][0]
