"""Recognise photos and raw photos by the suffixes of their names."""

from __future__ import annotations

import os

from showtell.files.photo_files import SUFFIXES

_RAW_SUFFIXES = frozenset(
    {".3fr", ".arw", ".cr2", ".cr3", ".crw", ".dcr", ".dng", ".erf", ".fff", ".iiq", ".k25"}
    | {".kdc", ".mef", ".mos", ".mrw", ".nef", ".nrw", ".orf", ".pef", ".raf", ".raw", ".rw2"}
    | {".rwl", ".sr2", ".srf", ".srw", ".x3f"}
)


def is_photo_name(name: str | bytes) -> bool:
    """Return whether a file is a photo, raw or not."""
    suffix = _suffix(name)
    return suffix in SUFFIXES or suffix in _RAW_SUFFIXES


def is_raw_name(name: str | bytes) -> bool:
    """Return whether a file is a raw photo."""
    return _suffix(name) in _RAW_SUFFIXES


def _suffix(name: str | bytes) -> str:
    return os.path.splitext(os.fsdecode(name))[1].lower()  # noqa: PTH122
