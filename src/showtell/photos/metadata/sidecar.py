"""Find the XMP sidecars of a photo."""

from __future__ import annotations

import functools
import os
import time
from collections import Counter
from collections.abc import Container
from dataclasses import dataclass
from pathlib import Path

from showtell.photos.photo_names import is_photo_name, is_raw_name

SIDECAR_SUFFIX = ".xmp"
MAX_SIDECAR_BYTES = 64 << 20
_MAX_NAME_BYTES = 255  # bytes, on nearly every file system
_CLOCK_TICK_NS = 100_000_000  # a folder may change again without a new date for that long


def sidecar_path(photo: Path) -> Path:
    """Return the path of the sidecar to write for a photo, which may not exist yet.

    An existing sidecar is used, the first of `sidecar_paths`. A new one is `IMG_1.jpg.xmp`, or
    `IMG_1.xmp` for a raw photo, where Adobe's programs look for it.
    """
    existing = sidecar_paths(photo)
    if existing:
        return existing[0]
    full = photo.with_name(photo.name + SIDECAR_SUFFIX)
    if is_raw_name(photo.name) or len(os.fsencode(full.name)) > _MAX_NAME_BYTES:
        return photo.with_suffix(SIDECAR_SUFFIX)
    return full


def sidecar_paths(photo: Path) -> list[Path]:
    """Return a photo's sidecars: `IMG_1.jpg.xmp` (darktable, digiKam), then `IMG_1.xmp` (Adobe).

    Their names may be in any case, as in `IMG_1.XMP`; the photo's own case comes first. A sidecar
    belongs to another photo if that one's name agrees with it in case and this one's does not. If
    both IMG_1.jpg and a raw IMG_1 exist, `IMG_1.xmp` belongs to the raw photo.
    """
    names = _folder_names(photo.parent)
    sidecars = names.sidecars_of(photo.name, names.photos)
    if is_raw_name(photo.name) or not names.has_other(photo):
        sidecars += names.sidecars_of(photo.stem, names.stems)
    return [photo.parent / name for name in sidecars]


def shared_sidecars(photo: Path) -> list[Path]:
    """Return `IMG_1.xmp` if a photo shares it with others, none of which is raw, or nothing.

    It may belong to any of them, so that it is read for all and written for none.
    """
    names = _folder_names(photo.parent)
    if names.has_other(photo) and photo.stem not in names.raw_stems:
        return [photo.parent / name for name in names.sidecars_of(photo.stem, names.stems)]
    return []


@dataclass(frozen=True, slots=True)
class _FolderNames:
    """The names in a folder: sidecars by their lower case, photos, and the photos' stems."""

    sidecars: dict[str, list[str]]
    photos: set[str]
    stems: Counter[str]
    raw_stems: set[str]

    def sidecars_of(self, name: str, taken: Container[str]) -> list[str]:
        """Return the sidecars `name`.xmp in any case, without those that belong to `taken`."""
        named_alike = self.sidecars.get(name.lower() + SIDECAR_SUFFIX, [])
        mine = [sidecar for sidecar in named_alike if sidecar[: -len(SIDECAR_SUFFIX)] == name]
        others = [
            sidecar for sidecar in named_alike if sidecar[: -len(SIDECAR_SUFFIX)] not in taken
        ]
        exact = name + SIDECAR_SUFFIX
        return sorted({*mine, *others}, key=lambda s: (s != exact, s not in mine, s))

    def has_other(self, photo: Path) -> bool:
        """Return whether another photo has the same stem."""
        return self.stems[photo.stem] > (photo.name in self.photos)


def _folder_names(folder: Path) -> _FolderNames:
    """Return the names in a folder, listed again only if it has changed.

    Raises OSError if the folder cannot be listed.
    """
    changed = folder.stat().st_mtime_ns
    if time.time_ns() - changed < _CLOCK_TICK_NS:
        return _list_names(folder)
    return _unchanged_names(folder, changed)


@functools.lru_cache(maxsize=8)
def _unchanged_names(folder: Path, _changed: int) -> _FolderNames:
    return _list_names(folder)


def _list_names(folder: Path) -> _FolderNames:
    names = _FolderNames({}, set(), Counter(), set())
    for name in os.listdir(folder):  # noqa: PTH208
        if name.lower().endswith(SIDECAR_SUFFIX):
            names.sidecars.setdefault(name.lower(), []).append(name)
        elif is_photo_name(name):
            names.photos.add(name)
            names.stems[Path(name).stem] += 1
            if is_raw_name(name):
                names.raw_stems.add(Path(name).stem)
    return names
