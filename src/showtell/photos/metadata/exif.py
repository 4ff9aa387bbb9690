"""Read a photo's EXIF block: when and where it was taken, and its orientation."""

from __future__ import annotations

import contextlib
import math
import re
from dataclasses import dataclass
from typing import Any, NamedTuple

from PIL import Image

from showtell.image_formats.upright_rgb import ORIENTATION_TAG
from showtell.photos.metadata.dates import iso_date

_DATE_TIME, _EXIF_IFD, _GPS_IFD = 0x0132, 0x8769, 0x8825
_DATE_TIME_ORIGINAL, _DATE_TIME_DIGITIZED = 0x9003, 0x9004
_LATITUDE_REF, _LATITUDE, _LONGITUDE_REF, _LONGITUDE = 1, 2, 3, 4
_EXIF_HEADER = b"Exif\0\0"
# entries of ImageDescription, Make, Model and Software in UTF-8, type 129 of EXIF 3: Pillow skips
# them, and reads them as ASCII, type 2
_UTF8_TEXT = re.compile(rb"([\x0e-\x10\x31]\x01)\x81\0|(\x01[\x0e-\x10\x31])\0\x81")
_TIFF_SIGNATURES = (b"II*\0", b"MM\0*")
# of ORF and RW2 -> that of a TIFF of the same byte order
_RAW_SIGNATURES = {(b"IIRO", b"IIRS", b"IIU\0"): b"II*\0", (b"MMOR",): b"MM\0*"}
_CR3_HEADER, _RAF_HEADER, _MAX_SEGMENT = 1 << 16, 1 << 12, 1 << 16  # bytes


class ExifDates(NamedTuple):
    """When a photo was taken, digitized and last changed, as EXIF says it; empty if it does not."""

    original: str
    digitized: str
    changed: str


@dataclass(frozen=True, slots=True)
class ExifInfo:
    """When (ISO, by the camera's clock) and where (degrees) a photo was taken; its orientation.

    `orientation` is EXIF's code, 1 to 8.
    """

    taken: str | None = None
    latitude: float | None = None
    longitude: float | None = None
    orientation: int = 1


def read_exif(exif: bytes | Image.Exif | None) -> ExifInfo:
    """Read an EXIF block, with or without its `Exif` mark; ignore the fields that are damaged."""
    exif = parse_exif(exif)
    position = None
    taken = next(filter(None, map(iso_date, exif_dates(exif))), None)
    orientation = 1
    # Pillow raises many exception types for damaged EXIF, and the rest of the photo is still good.
    with contextlib.suppress(Exception):
        code = exif.get(ORIENTATION_TAG)
        orientation = code if isinstance(code, int) and 1 <= code <= 8 else 1
    with contextlib.suppress(Exception):
        position = _gps_position(exif.get_ifd(_GPS_IFD))
    latitude, longitude = position or (None, None)
    return ExifInfo(taken, latitude, longitude, orientation)


def exif_dates(exif: Image.Exif) -> ExifDates:
    """Return the dates of an EXIF block; some programs store them in the first directory."""
    details: dict[int, Any] = {}
    with contextlib.suppress(Exception):
        details = exif.get_ifd(_EXIF_IFD)

    def text(tag: int) -> str:
        with contextlib.suppress(Exception):
            value = details.get(tag) or exif.get(tag)
            return value if isinstance(value, str) else ""
        return ""

    return ExifDates(text(_DATE_TIME_ORIGINAL), text(_DATE_TIME_DIGITIZED), text(_DATE_TIME))


def exif_of_raw(data: bytes) -> bytes | None:
    """Return the EXIF block of a raw photo, which is itself a small TIFF; None if it has none.

    Most raw photos are TIFFs; ORF and RW2 have a number of their own in the header. A CR3 has the
    TIFF in a box, and a RAF in its preview.
    """
    if data.startswith(_TIFF_SIGNATURES):
        return data
    for signatures, signature in _RAW_SIGNATURES.items():
        if data.startswith(signatures):
            return signature + data[4:]
    if data[4:12] == b"ftypcrx ":
        start = data.find(b"CMT1", 0, _CR3_HEADER)
        size = int.from_bytes(data[start - 4 : start], "big") if start >= 4 else 0
        return data[start + 4 : start - 4 + size] or None
    if data.startswith(b"FUJIFILM"):
        start = data.find(_EXIF_HEADER, 0, _RAF_HEADER)
        return data[start : start + _MAX_SEGMENT] if start >= 0 else None
    return None


def parse_exif(block: bytes | Image.Exif | None) -> Image.Exif:
    """Parse an EXIF block, with or without its `Exif` mark; a damaged one is empty."""
    if isinstance(block, Image.Exif):
        return block
    exif = Image.Exif()
    if block is not None:
        with contextlib.suppress(Exception):
            head = _UTF8_TEXT.sub(_as_ascii_type, block[:_MAX_SEGMENT])
            if not block.startswith(head):  # a raw photo is large
                block = head + block[_MAX_SEGMENT:]
            exif.load(block if block.startswith(_EXIF_HEADER) else _EXIF_HEADER + block)
    return exif


def _as_ascii_type(entry: re.Match[bytes]) -> bytes:
    little_endian, big_endian = entry.groups()
    return big_endian + b"\0\2" if little_endian is None else little_endian + b"\2\0"


def _gps_position(gps: dict[int, Any]) -> tuple[float, float] | None:
    latitude = _degrees(gps.get(_LATITUDE), gps.get(_LATITUDE_REF) == "S", 90)
    longitude = _degrees(gps.get(_LONGITUDE), gps.get(_LONGITUDE_REF) == "W", 180)
    if latitude is None or longitude is None:
        return None
    return latitude, longitude


def _degrees(parts: Any, negative: bool, largest: int) -> float | None:
    """Convert degrees, minutes and seconds to degrees; None if missing or out of range."""
    if parts is None:
        return None
    degrees, minutes, seconds = (float(part) for part in parts)
    value = degrees + minutes / 60 + seconds / 3600
    if not math.isfinite(value) or value > largest:
        return None
    return round(-value if negative else value, 7)
