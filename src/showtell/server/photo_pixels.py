"""What decoding a photo takes, from its header, and how much a batch of photos may take."""

from __future__ import annotations

from collections.abc import Sequence

from showtell.image_formats.photo_header import picture_size

# A photo with more pixels is slow: it is captioned alone. Decoding this many takes about a quarter
# of a second to one second, depending on the format.
LIGHT_PIXELS = 25_000_000
BATCH_PIXELS = 32_000_000  # of all photos that a worker opens for one batch
_START_OF_SCAN, _END_OF_JPEG = b"\xff\xda", b"\xff\xd9"
_TRAILER = 1024  # bytes in which a whole JPEG has its end


def decoding_pixels(photo: bytes, max_pixels: int) -> int:
    """Return what decoding a photo takes, in pixels; 0 if it will be refused by its header.

    A JPEG is decoded at a fraction of its size, so that a quarter of its pixels counts. It takes
    more with more than four scans, and without its end: then it is also decoded at full size.
    """
    try:
        size = picture_size(photo)
    except Exception:  # decoding finds and reports the error
        return 0
    pixels = size.width * size.height
    if size.format == "JPEG":
        scans = max(4, photo.count(_START_OF_SCAN))
        return pixels * (scans if _END_OF_JPEG in photo[-_TRAILER:] else 4 * scans) // 16
    return 0 if pixels > max_pixels else pixels


def fits_batch(pixels: Sequence[int]) -> list[bool]:
    """Return which photos of a batch to caption now: light ones in order, as many as it may have.

    At least the first light photo is captioned.
    """
    fits, total = [], 0
    for photo_pixels in pixels:
        is_light = photo_pixels <= LIGHT_PIXELS
        total += photo_pixels if is_light else 0
        fits.append(is_light and (total <= BATCH_PIXELS))
    return fits
