"""Which photos a model was trained on, small enough to travel in its manifest.

A name's mark is the first 4 bytes of its sha256; a set of names is its marks, sorted, each once,
joined and written in base64: 32 kB for Flickr8k's 6,000 training photos. Names cannot be read back.
Two different names share a mark once in 2**32: of 1,000 new names against 6,000 known ones, 0.0014
are taken for known by chance.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Iterable

from showtell.errors import BundleError

NAMES_KEY = "name_hashes"  # in `Manifest.training`: what `pack_names` made of the training photos
_MARK = 4  # bytes


def pack_names(names: Iterable[str]) -> str:
    """Return the marks of these photo names, for `count_seen`."""
    return base64.b64encode(b"".join(sorted(set(map(_mark, names))))).decode("ascii")


def count_seen(packed: str, names: Iterable[str]) -> int:
    """Return how many of `names` are among those that `pack_names` packed.

    Raises BundleError where `packed` is damaged.
    """
    try:
        marks = base64.b64decode(packed, validate=True)
    except (binascii.Error, ValueError):
        marks = b"?"
    if len(marks) % _MARK:
        raise BundleError("the manifest's list of training photos is damaged: export again")
    known = {marks[place : place + _MARK] for place in range(0, len(marks), _MARK)}
    return sum(_mark(name) in known for name in names)


def expected_by_chance(packed: str, names: int) -> float:
    """Return how many of so many new names would be taken for known ones by chance."""
    known = len(packed) * 3 // 4 // _MARK
    return float(known * names / 2 ** (8 * _MARK))


def _mark(name: str) -> bytes:
    return hashlib.sha256(name.encode("utf-8", "surrogateescape")).digest()[:_MARK]
