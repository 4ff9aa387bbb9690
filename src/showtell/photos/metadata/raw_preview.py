"""Extract the preview that the camera stored in a raw photo.

showtell never decodes a raw photo's sensor data. It captions the largest baseline or progressive
JPEG in the file: raw formats of all camera makers contain one.
"""

from __future__ import annotations

from showtell.errors import PhotoError
from showtell.image_formats.jpeg_markers import END
from showtell.image_formats.upright_rgb import ORIENTATION_TAG
from showtell.photos.metadata.container import parse_jpeg
from showtell.photos.metadata.exif import parse_exif

NO_PREVIEW = "this raw photo has no readable preview: give it a caption with showtell photos edit"
_MIN_SIDE = 160  # pixels of the longer side: anything smaller is a thumbnail
_LOSSLESS_MARKERS = (0xC3, 0xC7, 0xCB, 0xCF)
_QUARTER_TURNS = (5, 6, 7, 8)
_JPEG_SIGNATURE = b"\xff\xd8\xff"


def extract_preview(data: bytes) -> bytes:
    """Return the largest JPEG preview in a raw photo.

    Raises PhotoError if there is none.
    """
    largest: tuple[int, int, int] | None = None  # pixels, start, end
    position = data.find(_JPEG_SIGNATURE)
    while position >= 0:
        preview = _preview_at(data, position)
        if preview is not None:
            largest = max(largest or preview, preview)
        position = data.find(_JPEG_SIGNATURE, position + 3 if preview is None else preview[2])
    if largest is None:
        raise PhotoError(NO_PREVIEW)
    return data[largest[1] : largest[2]]


def remaining_orientation(preview: bytes, raw_orientation: int) -> int:
    """Return the EXIF orientation by which a preview is to be turned after its own.

    A preview with an orientation of its own needs no other. One without has that of the raw photo,
    unless its shape says that the camera has turned it already: sensors are wider than high.
    """
    jpeg = parse_jpeg(preview)
    orientation = parse_exif(next(jpeg.payloads("exif", preview), None)).get(ORIENTATION_TAG)
    if isinstance(orientation, int) and 1 <= orientation <= 8:
        return 1
    width, height = jpeg.size or (0, 0)
    return 1 if raw_orientation in _QUARTER_TURNS and height > width else raw_orientation


def _preview_at(data: bytes, start: int) -> tuple[int, int, int] | None:
    """Return pixels, start and end of the JPEG at `start`; None for thumbnails and sensor data."""
    try:
        jpeg = parse_jpeg(data, start)
    except PhotoError:
        return None
    segments = [segment for segment in jpeg.segments if segment.kind == "image"]
    markers = {data[segment.start + 1] for segment in segments}
    if END not in markers or markers.intersection(_LOSSLESS_MARKERS) or jpeg.size is None:
        return None
    if max(jpeg.size) < _MIN_SIDE:
        return None
    return jpeg.size[0] * jpeg.size[1], start, segments[-1].end
