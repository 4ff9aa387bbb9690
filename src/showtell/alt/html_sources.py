"""Addresses of images in HTML: `src`, `srcset`, and the attributes of scripts that load late."""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from urllib.parse import urlsplit

LAZY_SOURCES = ("data-src", "data-original", "data-lazy-src", "data-lazy", "data-url")
LAZY_SOURCE_SETS = ("data-srcset", "data-lazy-srcset")
_IMAGE_SUFFIXES = (
    ".jpg .jpeg .jpe .jfif .png .apng .gif .webp .svg .svgz .bmp .ico .tif .tiff .avif .heic .heif"
    " .jxl .eps"
)
IMAGE_SUFFIXES = frozenset(_IMAGE_SUFFIXES.split())
# An address has no space and does not end in a comma; its descriptor ends at one.
_CANDIDATE = re.compile(r"[\s,]*(\S*[^\s,])(?:\s+([^,]*))?,?")
_SIZE = re.compile(r"(\d+(?:\.\d+)?)[wx]")


def source_set(value: str) -> list[str]:
    """Return the addresses of a `srcset`, the one of the largest image first."""
    candidates = []
    for address, descriptor in _CANDIDATE.findall(value):
        size = _SIZE.match(descriptor.strip())
        candidates.append((float(size[1]) if size else 1.0, address))
    candidates.sort(key=lambda candidate: -candidate[0])
    return [address for _, address in candidates]


def is_image_address(address: str) -> bool:
    """Return whether an address ends in the suffix of an image format."""
    try:
        path = urlsplit(address).path
    except ValueError:
        return False
    return PurePosixPath(path).suffix.lower() in IMAGE_SUFFIXES
