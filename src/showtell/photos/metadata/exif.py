"""What a photo says of itself in its EXIF: when and where it was taken, which side is up."""

from __future__ import annotations

import contextlib
import datetime
import math
from dataclasses import dataclass
from typing import Any

from PIL import Image

_ORIENTATION, _CHANGED, _EXIF_IFD, _GPS_IFD = 0x0112, 0x0132, 0x8769, 0x8825
_TAKEN, _DIGITISED = 0x9003, 0x9004
_TIFF = (b"II*\0", b"MM\0*")


@dataclass(frozen=True, slots=True)
class Facts:
    """When (ISO, the camera's clock) and where (degrees) a photo was taken, and its orientation."""

    taken: str | None = None
    latitude: float | None = None
    longitude: float | None = None
    orientation: int = 1


def read_facts(exif: bytes | Image.Exif | None) -> Facts:
    """Read an EXIF block, with or without its `Exif` mark; what is damaged in it is left out."""
    if exif is None:
        return Facts()
    if not isinstance(exif, Image.Exif):
        exif = _parsed(exif)
    taken = place = None
    orientation = 1
    # Damaged EXIF has as many faces as there are cameras, and none of them spoils a photo.
    with contextlib.suppress(Exception):
        found = exif.get(_ORIENTATION)
        orientation = found if isinstance(found, int) and 1 <= found <= 8 else 1
    with contextlib.suppress(Exception):
        own = exif.get_ifd(_EXIF_IFD)
        moments = (own.get(_TAKEN), own.get(_DIGITISED), exif.get(_CHANGED))
        taken = next(filter(None, map(_moment, moments)), None)
    with contextlib.suppress(Exception):
        place = _place(exif.get_ifd(_GPS_IFD))
    latitude, longitude = place or (None, None)
    return Facts(taken, latitude, longitude, orientation)


def _parsed(data: bytes) -> Image.Exif:
    exif = Image.Exif()
    with contextlib.suppress(Exception):
        exif.load(data if data.startswith(b"Exif\0\0") else b"Exif\0\0" + data)
    return exif


def exif_of_tiff(data: bytes) -> bytes | None:
    """Return a TIFF-based raw photo as EXIF block, which is a small TIFF itself."""
    return data if data.startswith(_TIFF) else None


def _moment(value: Any) -> str | None:
    """Read `2024:05:31 18:30:00`; cameras whose clock was never set write zeros or spaces."""
    if not isinstance(value, str):
        return None
    try:
        moment = datetime.datetime.strptime(value.strip("\0 ")[:19], "%Y:%m:%d %H:%M:%S")
    except ValueError:
        return None
    return moment.isoformat()


def _place(gps: dict[int, Any]) -> tuple[float, float] | None:
    latitude = _degrees(gps.get(2), gps.get(1), "S", 90)
    longitude = _degrees(gps.get(4), gps.get(3), "W", 180)
    if latitude is None or longitude is None:
        return None
    return latitude, longitude


def _degrees(parts: Any, side: Any, negative: str, most: int) -> float | None:
    if parts is None:
        return None
    degrees, minutes, seconds = (float(part) for part in parts)
    value = degrees + minutes / 60 + seconds / 3600
    if not math.isfinite(value) or value > most:
        return None
    return round(-value if side == negative else value, 7)
