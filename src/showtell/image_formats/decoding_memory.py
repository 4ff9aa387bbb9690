"""The memory that decoding a photo takes, and the limits of what is decoded."""

from __future__ import annotations

import math

from showtell.errors import PhotoError

MAX_PIXELS = 178_956_970  # the default, as Pillow's own limit
BYTES_PER_PIXEL = 16  # that a photo of `max_pixels` may take
ALPHA_MODES = ("RGBA", "LA", "PA", "RGBa", "La")  # of Pillow

_WAY_OUT = "too large to open safely; --max-pixels (in Python max_pixels) raises the limit"
_GREY = ("1", "L", "P")
_DEEP = ("I", "F")
# Peak bytes per pixel of `open_photo`: decoder, conversion to RGB and turning upright. Measured
# with Pillow 13 and pillow-heif 1.8; where the files of a format differ, the most.
_PEAK_BYTES = {"grey": 9, "RGB": 8, "alpha": 16, "other": 12, "deep": 12}
_PEAK_BYTES_OF_FORMAT = {
    "WEBP": {"RGB": 16, "alpha": 20},
    "AVIF": {"grey": 9, "RGB": 14, "alpha": 18},
    "HEIF": {"grey": 9, "RGB": 16, "alpha": 20},
}
# bytes per pixel of a JPEG whose scans are collected before decoding: two per coefficient
_COEFFICIENT_BYTES = {"L": 2, "RGB": 6, "CMYK": 8}


def decoding_memory(
    format: str,
    mode: str,
    size: tuple[int, int],
    *,
    reduced_size: tuple[int, int] | None = None,
    multi_scan: bool = False,
) -> int:
    """Return how many bytes `open_photo` takes at most for a photo, apart from the encoded file.

    `format`, `mode` and `size` are Pillow's; a photo with a transparent colour counts as `RGBA`.
    `reduced_size` is the size at which a JPEG is decoded; `multi_scan` says that it is progressive,
    or has its colours one after another: then all coefficients of the full size are held as well.
    """
    if mode in _GREY:
        kind = "grey"
    elif mode in ALPHA_MODES:
        kind = "alpha"
    elif mode in _DEEP or mode.startswith("I;16"):
        kind = "deep"
    else:
        kind = "RGB" if mode == "RGB" else "other"
    decoded = math.prod(reduced_size or size)
    peak = decoded * {**_PEAK_BYTES, **_PEAK_BYTES_OF_FORMAT.get(format, {})}[kind]
    if not multi_scan:
        return peak
    return max(peak, math.prod(size) * _COEFFICIENT_BYTES.get(mode, 8) + decoded * 4)


def refuse_too_large(
    format: str,
    mode: str,
    size: tuple[int, int],
    max_pixels: int,
    *,
    reduced_size: tuple[int, int] | None = None,
    multi_scan: bool = False,
) -> None:
    """Raise PhotoError for a photo of more than `max_pixels`, or `BYTES_PER_PIXEL` times that.

    A JPEG counts as it is decoded, reduced. The arguments are those of `decoding_memory`.
    """
    width, height = size
    if math.prod(reduced_size or size) > max_pixels:
        raise PhotoError(f"{width} x {height} pixels are more than {max_pixels:,}: {_WAY_OUT}")
    memory = decoding_memory(format, mode, size, reduced_size=reduced_size, multi_scan=multi_scan)
    refuse_too_much_memory(size, memory, max_pixels)


def refuse_too_much_memory(size: tuple[int, int], memory: int, max_pixels: int) -> None:
    """Raise PhotoError for a photo that takes more than `BYTES_PER_PIXEL` for each `max_pixels`."""
    width, height = size
    limit = BYTES_PER_PIXEL * max_pixels
    if memory > limit:
        raise PhotoError(
            f"{width} x {height} pixels take {memory / 1e6:,.0f} MB to decode, more than"
            f" {limit / 1e6:,.0f} MB: {_WAY_OUT}"
        )
