"""Find the path of a photo's XMP sidecar."""

from __future__ import annotations

import os
from pathlib import Path

from showtell.photos.photo_names import is_photo_name, is_raw_name

SIDECAR_SUFFIX = ".xmp"
_MAX_NAME_BYTES = 255  # bytes, on nearly every file system


def sidecar_path(photo: Path) -> Path:
    """Return the path of a photo's sidecar, which may not exist yet.

    An existing sidecar is used: `IMG_1.jpg.xmp` (darktable, digiKam) or `IMG_1.xmp` (Adobe). A new
    one is `IMG_1.jpg.xmp`, or `IMG_1.xmp` for a raw photo, where Adobe's programs look for it. If
    both IMG_1.jpg and a raw IMG_1 exist, `IMG_1.xmp` belongs to the raw photo.
    """
    full = photo.with_name(photo.name + SIDECAR_SUFFIX)
    short = photo.with_suffix(SIDECAR_SUFFIX)
    if os.path.lexists(full):
        return full
    if is_raw_name(photo.name) or len(os.fsencode(full.name)) > _MAX_NAME_BYTES:
        return short
    if os.path.lexists(short) and not _shares_stem(photo):
        return short
    return full


def _shares_stem(photo: Path) -> bool:
    """Return whether another photo has the same name with a different suffix."""
    stem = os.fsencode(photo.stem) + b"."
    photo_name = os.fsencode(photo.name)
    with os.scandir(os.fsencode(photo.parent)) as listing:
        return any(
            entry.name.startswith(stem) and entry.name != photo_name and is_photo_name(entry.name)
            for entry in listing
        )
