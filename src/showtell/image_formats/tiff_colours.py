"""Turns the samples of a TIFF into an image: colour space, palette, alpha."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from showtell.image_formats import tiff_layout as tiff
from showtell.image_formats.sample_depth import to_8_bits
from showtell.image_formats.tiff_layout import TiffLayout


def image_of_samples(samples: NDArray[Any], layout: TiffLayout) -> Image.Image:
    """Return samples, [height, width, samples], as an 8-bit image that shows their colours."""
    colour = samples[:, :, : layout.colour_samples]
    if layout.colour == tiff.PALETTE:
        colour_map = np.array(layout.colour_map, np.uint16).reshape(3, -1)
        colour_map = (colour_map >> (0 if layout.has_8_bit_palette else 8)).astype(np.uint8)
        pixels = colour_map.T[colour[:, :, 0]]
        return _with_alpha(pixels, _alpha(samples, layout), layout)
    if layout.colour == tiff.CIELAB:
        return _from_lab(colour)
    is_unsigned = colour.dtype.kind == "u"
    bits = layout.bits[0] if is_unsigned and layout.bits[0] <= 16 else None
    pixels = to_8_bits(colour, bits=bits)
    if layout.colour == tiff.GREY_MIN_IS_WHITE:
        pixels = 255 - pixels
    if layout.colour == tiff.CMYK:
        return _from_bytes("CMYK", _on_paper(pixels, _alpha(samples, layout), layout))
    if layout.colour == tiff.YCBCR:
        return _from_bytes("YCbCr", pixels)
    return _with_alpha(pixels, _alpha(samples, layout), layout)


def _alpha(samples: NDArray[Any], layout: TiffLayout) -> NDArray[np.uint8] | None:
    """Return the opacity, 0 to 255, or None if the extra channel is not alpha."""
    if samples.shape[2] == layout.colour_samples:
        return None
    # a fourth channel whose meaning is not stated is usually alpha
    assumed = tiff.UNASSOCIATED_ALPHA if layout.colour == tiff.RGB and layout.samples == 4 else 0
    meaning = layout.extra_samples[0] if layout.extra_samples else assumed
    if meaning not in (tiff.ASSOCIATED_ALPHA, tiff.UNASSOCIATED_ALPHA):
        return None
    alpha = samples[:, :, layout.colour_samples]
    kind = alpha.dtype.kind
    if not layout.extra_samples and not alpha.any():
        return None  # padding: no picture is wholly transparent
    if kind == "u":
        return to_8_bits(alpha, bits=layout.bits[0])
    if kind == "f" and alpha.min() >= 0 and alpha.max() <= 1:
        return to_8_bits(alpha * alpha.dtype.type(255), bits=8)
    return None


def _with_alpha(
    pixels: NDArray[np.uint8], alpha: NDArray[np.uint8] | None, layout: TiffLayout
) -> Image.Image:
    if alpha is None:
        return _from_bytes("L" if pixels.shape[2] == 1 else "RGB", pixels)
    if layout.extra_samples and layout.extra_samples[0] == tiff.ASSOCIATED_ALPHA:
        white = (255 - alpha)[:, :, None]
        flat = np.where(pixels > 255 - white, 255, pixels + white).astype(np.uint8)
        return _from_bytes("L" if pixels.shape[2] == 1 else "RGB", flat)
    stacked = np.concatenate([pixels, alpha[:, :, None]], axis=2)
    return _from_bytes("LA" if pixels.shape[2] == 1 else "RGBA", stacked)


def _on_paper(
    inks: NDArray[np.uint8], alpha: NDArray[np.uint8] | None, layout: TiffLayout
) -> NDArray[np.uint8]:
    """Return CMYK without alpha: where it is transparent there is less ink."""
    if alpha is None or layout.extra_samples[0] == tiff.ASSOCIATED_ALPHA:
        return inks
    return (inks.astype(np.uint16) * alpha[:, :, None] // 255).astype(np.uint8)


def _from_lab(colour: NDArray[Any]) -> Image.Image:
    """Return a LAB image; a and b are signed bytes here as in the file."""
    if colour.dtype.itemsize == 2:
        lightness = to_8_bits(colour[:, :, :1], bits=16)
        colour = np.concatenate([lightness, (colour[:, :, 1:] >> 8).astype(np.uint8)], axis=2)
    return _from_bytes("LAB", colour)


def _from_bytes(mode: str, pixels: NDArray[np.uint8]) -> Image.Image:
    height, width = pixels.shape[:2]
    return Image.frombytes(mode, (width, height), np.ascontiguousarray(pixels).tobytes())
