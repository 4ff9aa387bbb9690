"""Turn a decoded image of any mode into upright RGB: orientation, colour profile, depth, alpha."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import numpy as np
from PIL import Image

from showtell.image_formats.colour_profile import to_srgb
from showtell.image_formats.decoding_memory import ALPHA_MODES
from showtell.image_formats.sample_depth import to_8_bits

ORIENTATION_TAG = 0x0112  # of EXIF
_XMP_KEYS = ("xmp", "XML:com.adobe.xmp")  # of Pillow's `info`
TO_UPRIGHT = {  # orientation -> how to get from the stored image to the upright one
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def upright_rgb(
    image: Image.Image, *, name: str, colours_as_stored: bool, is_borrowed: bool = False
) -> Image.Image:
    """Return an image as RGB with its EXIF orientation applied, its colours converted to sRGB.

    Warnings start with `name`. `colours_as_stored` leaves out the conversion of colours. An image
    that `is_borrowed` is not changed.
    """
    orientation = None
    with _hidden_xmp(image):
        image.load()
    with _hidden_xmp(image), contextlib.suppress(Exception):  # damaged EXIF: the photo is fine
        # read after load(): some formats store it after the pixels, or apply it themselves
        orientation = image.getexif().get(ORIENTATION_TAG)
    if is_borrowed and "icc_profile" in image.info:
        image = image.copy()
    image = flat_rgb(image, None if colours_as_stored else name)
    method = TO_UPRIGHT.get(orientation) if isinstance(orientation, int) else None
    return image if method is None else image.transpose(method)


def flat_rgb(image: Image.Image, name: str | None) -> Image.Image:
    """Return the image as RGB, its colours converted to sRGB if it has a name for warnings."""
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        image = _from_high_bit_depth(image)
    if "transparency" in image.info and image.mode not in ALPHA_MODES:
        image = _with_alpha_channel(image)
    if name is not None and "icc_profile" in image.info:
        image = to_srgb(image, name)
    if image.mode in ALPHA_MODES:
        with_alpha = image.convert("RGBA")
        flat = Image.new("RGB", image.size, "white")
        flat.paste(with_alpha, mask=with_alpha)
        if "icc_profile" in image.info:
            flat.info["icc_profile"] = image.info["icc_profile"]
        return flat
    return image if image.mode == "RGB" else image.convert("RGB")


@contextlib.contextmanager
def _hidden_xmp(image: Image.Image) -> Iterator[None]:
    """Hide an image's XMP from Pillow, which would apply an orientation that is only there.

    Browsers and cameras read the orientation in EXIF only, and the one in XMP is often stale.
    """
    hidden = {key: image.info.pop(key) for key in _XMP_KEYS if key in image.info}
    try:
        yield
    finally:
        image.info.update(hidden)


def _with_alpha_channel(image: Image.Image) -> Image.Image:
    """Return the image with its transparent colour as an alpha channel."""
    transparent = image.info["transparency"]
    if isinstance(transparent, tuple) and max(transparent) > 255:
        # of a PNG with 16 bits a channel, of which Pillow keeps the upper 8
        image = image.copy()
        image.info["transparency"] = tuple(value >> 8 for value in transparent)
    return image.convert("LA" if image.mode == "L" else "RGBA")


def _from_high_bit_depth(image: Image.Image) -> Image.Image:
    """Return the image with 8 bits; Pillow's own conversion clips deeper values."""
    values = np.asarray(image)
    is_16_bit = values.dtype.itemsize == 2 or (image.mode == "I" and image.format == "PNG")
    pixels = to_8_bits(values, bits=16 if is_16_bit else None)
    transparent = image.info.get("transparency")
    if isinstance(transparent, int):
        pixels = np.where(values == transparent, np.uint8(255), pixels)
    grey = Image.fromarray(pixels)
    if "icc_profile" in image.info:
        grey.info["icc_profile"] = image.info["icc_profile"]
    return grey
