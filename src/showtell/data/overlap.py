"""Which photos a model was trained on, small enough to travel in its manifest.

A name's mark is the first 4 bytes of its sha256; a set of names is its marks, sorted, each once,
joined and written in base64: 32 kB for Flickr8k's 6,000 training photos. Names cannot be read back.
Two different names share a mark once in 2**32: of 1,000 new names against 6,000 known ones, 0.0014
are taken for known by chance.

One photo may go by several names. Flickr8k calls it `1000268201_693b08cb0e.jpg`, by Flickr's number
and secret, Flickr30k `1000268201.jpg`; COCO called it `COCO_val2014_000000391895.jpg` in 2014 and
`000000391895.jpg` since. Whoever has seen one has seen the other.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import math
import re
from collections.abc import Iterable, Sequence

from showtell.errors import BundleError

NAMES_KEY = "name_hashes"  # in `Manifest.training`: what `pack_names` made of the training photos
_MARK = 4  # bytes
_RARE = 0.01  # a number of seen photos that chance brings about less often is no chance

_FLICKR8K = re.compile(r"([0-9]{4,})_[0-9a-f]{6,}(?:_[a-z])?\.jpg")
_FLICKR30K = re.compile(r"[1-9][0-9]{4,}\.jpg")
_COCO = re.compile(r"(?:COCO_(?:train|val)2014_)?([0-9]{12}\.jpg)")
_COCO_NAMES = ("{}", "COCO_train2014_{}", "COCO_val2014_{}")


def pack_names(names: Iterable[str]) -> str:
    """Return the marks of these photo names, for `count_seen`."""
    return base64.b64encode(b"".join(sorted(set(map(_mark, names))))).decode("ascii")


def joined_names(packed: Iterable[str]) -> str:
    """Return the marks of all these names that `pack_names` packed, as if packed together."""
    marks = {mark for one in packed for mark in _marks(one)}
    return base64.b64encode(b"".join(sorted(marks))).decode("ascii")


def count_seen(packed: str, names: Iterable[str]) -> int:
    """Return how many of `names` are among those that `pack_names` packed, by any of their names.

    Raises BundleError where `packed` is damaged.
    """
    known = _marks(packed)
    return sum(not known.isdisjoint(map(_mark, all_names(name))) for name in names)


def all_names(name: str) -> set[str]:
    """Return the names under which other datasets, too, may know this photo; its own is one."""
    folder, slash, own = name.rpartition("/")
    if match := _FLICKR8K.fullmatch(own):
        return {name, f"{match[1]}.jpg"}
    if match := _COCO.fullmatch(own):
        return {name, *(form.format(match[1]) for form in _COCO_NAMES)}
    return {name, own} if slash and folder and _FLICKR30K.fullmatch(own) else {name}


def more_than_chance(packed: str, names: Sequence[str], seen: int) -> bool:
    """Say whether so many seen photos among these are too many to be chance.

    Their number is Poisson distributed with the expected one; chance is ruled out below 1 %.
    """
    expected = expected_by_chance(packed, sum(len(all_names(name)) for name in names))
    fewer = sum(math.exp(-expected) * expected**k / math.factorial(k) for k in range(min(seen, 50)))
    return seen > 0 and 1 - fewer < _RARE


def expected_by_chance(packed: str, names: int) -> float:
    """Return how many of so many new names would be taken for known ones by chance."""
    known = len(packed) * 3 // 4 // _MARK
    return float(known * names / 2 ** (8 * _MARK))


def cannot_tell(dataset: str, names: Iterable[str]) -> bool:
    """Say whether photos of these names may be those of a dataset that knows them by others.

    Flickr30k grew out of Flickr8k. Its names lack the secret, so what was made of
    Flickr8k's cannot be asked for them.
    """
    own = [name.rpartition("/")[2] for name in names]
    return "Flickr8k" in dataset and sum(map(bool, map(_FLICKR30K.fullmatch, own))) > len(own) / 2


def _mark(name: str) -> bytes:
    return hashlib.sha256(name.encode("utf-8", "surrogateescape")).digest()[:_MARK]


def _marks(packed: str) -> set[bytes]:
    try:
        marks = base64.b64decode(packed, validate=True)
    except (binascii.Error, ValueError):
        marks = b"?"
    if len(marks) % _MARK:
        raise BundleError("the manifest's list of training photos is damaged: export again")
    return {marks[place : place + _MARK] for place in range(0, len(marks), _MARK)}
