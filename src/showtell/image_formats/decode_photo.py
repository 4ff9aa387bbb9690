"""Decode an encoded photo: choose the decoder, check the limits, and repair what can be."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import BinaryIO

from PIL import Image, JpegImagePlugin

from showtell.errors import PhotoError
from showtell.files.regular_files import read_at_most
from showtell.image_formats.colour_profile import jpeg_profile
from showtell.image_formats.decoding_memory import refuse_too_large
from showtell.image_formats.essential_parts import (
    FORMATS_WITH_PARTS,
    EssentialParts,
    essential_parts,
)
from showtell.image_formats.jpeg_scans import read_jpeg_header, refuse_too_many_scans
from showtell.image_formats.jpeg_without_end import with_end
from showtell.image_formats.photo_format import HEAD_BYTES, photo_format
from showtell.image_formats.pillow_plugins import load_plugin, opener
from showtell.image_formats.png_chunks import refuse_too_many_chunks

MAX_STREAM_BYTES = 256 << 20  # of a photo from standard input or a pipe, which memory holds
_OPENED_AS_TEXT = "opened as text: open it in binary mode ('rb')"


@dataclass(frozen=True)
class DecodeSettings:
    """How a photo is decoded: the limit, and what makes the decoded image upright sRGB.

    A JPEG may be decoded at a fraction of its size that has at least `least_side` pixels in both
    directions.
    """

    max_pixels: int
    to_rgb: Callable[[Image.Image], Image.Image]
    least_side: int | None = None


def decode_photo(file: BinaryIO, settings: DecodeSettings) -> Image.Image:
    """Decode the first picture of an encoded photo.

    A photo that cannot be decoded because of its metadata or a missing end marker is repaired in
    memory. Raises PhotoError, MissingExtraError or any of Pillow's exceptions if it cannot be read.
    """
    if not file.seekable():  # a pipe: Pillow needs to seek
        file = _read_stream(file)
    start = file.tell()
    head: object = file.read(HEAD_BYTES)
    if not isinstance(head, bytes):
        raise PhotoError(_OPENED_AS_TEXT)
    file.seek(start)
    if start:  # Pillow reads from position 0
        file = io.BytesIO(file.read())
    kind = photo_format(head)
    load_plugin(kind)
    try:
        return _decode_as(kind, file, settings)
    except (PhotoError, MemoryError, Image.DecompressionBombError):
        raise
    except Exception as error:
        if kind not in FORMATS_WITH_PARTS:  # a second attempt would fail too
            raise
        file.seek(0)
        return _decode_repaired(kind, file.read(), settings, error)


def _decode_repaired(
    kind: str,
    data: bytes,
    settings: DecodeSettings,
    error: Exception,
) -> Image.Image:
    """Decode a photo whose metadata or missing end caused `error`; otherwise raise it."""
    parts = essential_parts(kind, data)
    if parts != EssentialParts(data):
        try:
            file = io.BytesIO(parts.data)
            return _decode_as(kind, file, settings, parts.icc_profile)
        except OSError as remaining:
            error = remaining
    if kind == "JPEG" and "truncated" in str(error):
        with contextlib.suppress(PhotoError):  # too large to compare in full
            in_full = replace(settings, least_side=None)
            ended = with_end(parts.data, lambda file: _decode_as("JPEG", file, in_full))
            if ended is not None:
                return _decode_as("JPEG", io.BytesIO(ended), settings)
    raise error


def _decode_as(
    kind: str,
    file: BinaryIO,
    settings: DecodeSettings,
    icc_profile: bytes | None = None,
) -> Image.Image:
    """Decode a file of a known format; `icc_profile` is one that the file does not contain."""
    if kind == "JPEG":
        return _decode_jpeg(file, settings)
    if kind == "TIFF":
        return _decode_tiff(file, settings)
    if kind == "PNG":
        refuse_too_many_chunks(file)
    file.seek(0)
    with opener(kind)(file, "") as image:
        if icc_profile is not None:
            image.info["icc_profile"] = icc_profile
        mode = "RGBA" if "transparency" in image.info else image.mode
        refuse_too_large(kind, mode, image.size, settings.max_pixels)
        return settings.to_rgb(image)


def _decode_jpeg(file: BinaryIO, settings: DecodeSettings) -> Image.Image:
    header = read_jpeg_header(file)
    if header.bits != 8:
        raise PhotoError(f"a {header.bits}-bit JPEG, which is not read: convert it to 8 bits")
    file.seek(0)
    with JpegImagePlugin.JpegImageFile(file, "") as image:
        size = image.size
        if image.info.get("icc_profile") is None:  # or its pieces are odd
            profile = jpeg_profile(data for name, data in image.applist if name == "APP2")
            if profile is not None:
                image.info["icc_profile"] = profile
        if settings.least_side is not None:
            least_size = (settings.least_side, settings.least_side)
            image.draft("RGB" if image.mode == "RGB" else None, least_size)
        refuse_too_large(
            "JPEG",
            image.mode,
            size,
            settings.max_pixels,
            reduced_size=image.size,
            multi_scan=header.multi_scan,
        )
        if header.multi_scan:
            refuse_too_many_scans(file, size, settings.max_pixels)
        return settings.to_rgb(image)


def _decode_tiff(file: BinaryIO, settings: DecodeSettings) -> Image.Image:
    from showtell.image_formats.tiff_layout import read_layout
    from showtell.image_formats.tiff_samples import read_tiff

    layout = read_layout(file)
    if not layout.is_read_by_pillow():
        return settings.to_rgb(read_tiff(file, layout, max_pixels=settings.max_pixels))
    if len(layout.offsets) < layout.chunks:  # Pillow leaves the rest black
        raise OSError("truncated: strips or tiles are missing")
    file.seek(0)
    with opener("TIFF")(file, "") as image:
        refuse_too_large("TIFF", image.mode, layout.decoded_size, settings.max_pixels)
        image.seek(layout.page)
        return settings.to_rgb(image)


def _read_stream(stream: BinaryIO) -> BinaryIO:
    """Read a photo from a pipe: at most `MAX_STREAM_BYTES`, and nothing else to its end."""
    head: object = stream.read(HEAD_BYTES)
    if not isinstance(head, bytes):
        raise PhotoError(_OPENED_AS_TEXT)
    photo_format(head)
    return io.BytesIO(read_at_most(stream, MAX_STREAM_BYTES, head))
