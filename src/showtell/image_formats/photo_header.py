"""Read what precedes a photo's pixels, without decoding them."""

from __future__ import annotations

import io
from dataclasses import dataclass

from PIL import Image

from showtell.image_formats.essential_parts import essential_parts
from showtell.image_formats.jpeg_scans import read_jpeg_header
from showtell.image_formats.photo_format import HEAD_BYTES, photo_format
from showtell.image_formats.pillow_plugins import load_plugin, opener
from showtell.image_formats.png_chunks import refuse_too_many_chunks


@dataclass(frozen=True, slots=True)
class PictureSize:
    """The format of an encoded picture, as Pillow names it, and its size in pixels.

    A TIFF in tiles counts as whole tiles, as it is decoded.
    """

    format: str
    width: int
    height: int


def open_header(data: bytes) -> Image.Image:
    """Open an encoded photo without decoding its pixels, to read its metadata.

    Raises PhotoError, MissingExtraError or any of Pillow's exceptions if it cannot be read.
    """
    kind = photo_format(data[:HEAD_BYTES])
    load_plugin(kind)
    return Image.open(io.BytesIO(data), formats=[kind])


def picture_size(data: bytes) -> PictureSize:
    """Read the size of the picture that `open_photo` would decode, without decoding it.

    Raises PhotoError, MissingExtraError or any of Pillow's exceptions if it cannot be read.
    """
    kind = photo_format(data[:HEAD_BYTES])
    load_plugin(kind)
    if kind == "TIFF":
        from showtell.image_formats.tiff_layout import read_layout

        layout = read_layout(io.BytesIO(data))
        return PictureSize(kind, *layout.decoded_size)
    if kind == "JPEG":
        read_jpeg_header(io.BytesIO(data))  # Pillow would take long for one of many parts
    elif kind == "PNG":
        refuse_too_many_chunks(io.BytesIO(data))
    try:
        image = opener(kind)(io.BytesIO(data), "")
    except Exception:  # perhaps because of its metadata
        image = opener(kind)(io.BytesIO(essential_parts(kind, data).data), "")
    with image:
        return PictureSize(kind, image.width, image.height)
