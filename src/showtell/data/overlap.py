"""Which photos a model was trained on, in a form small enough for its manifest.

A photo is stored as the first 4 bytes of the sha256 of its name. A set of photos is its sorted
hashes, joined and written in base64: 32 kB for Flickr8k's 6,000 training photos. The names cannot
be read back. Two different names share a hash once in 2**32: of 1,000 new names, 0.0014 are
expected to match one of 6,000 known names by chance.

Datasets name the same photo differently. Flickr8k uses Flickr's number and secret,
`1000268201_693b08cb0e.jpg`; Flickr30k uses the number, `1000268201.jpg`. COCO used
`COCO_val2014_000000391895.jpg` in 2014 and uses `000000391895.jpg` since 2017. All names of a photo
count as the same photo.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import math
import re
from collections.abc import Iterable, Sequence

from showtell.errors import BundleError

NAMES_KEY = "name_hashes"  # key of the packed names in `Manifest.training`
_HASH_BYTES = 4
_SIGNIFICANCE = 0.01

_FLICKR8K = re.compile(r"([0-9]{4,})_[0-9a-f]{6,}(?:_[a-z])?\.jpg")
_FLICKR30K = re.compile(r"[1-9][0-9]{4,}\.jpg")
_COCO = re.compile(r"(?:COCO_(?:train|val)2014_)?([0-9]{12}\.jpg)")
_COCO_NAMES = ("{}", "COCO_train2014_{}", "COCO_val2014_{}")


def pack_names(names: Iterable[str]) -> str:
    """Return the hashes of these photo names as text, for `count_seen`."""
    return _packed(set(map(_hash, names)))


def merge_packed_names(packed_sets: Iterable[str]) -> str:
    """Return the union of several results of `pack_names`.

    Raises BundleError if one of them is damaged.
    """
    return _packed({digest for packed in packed_sets for digest in _unpacked(packed)})


def count_seen(packed: str, names: Iterable[str]) -> int:
    """Return how many of `names` are in the packed set, under any name of the same photo.

    Raises BundleError if `packed` is damaged.
    """
    known = _unpacked(packed)
    return sum(not known.isdisjoint(map(_hash, aliases(name))) for name in names)


def aliases(name: str) -> set[str]:
    """Return the names that datasets may use for this photo, including `name` itself."""
    folder, slash, file_name = name.rpartition("/")
    if match := _FLICKR8K.fullmatch(file_name):
        return {name, f"{match[1]}.jpg"}
    if match := _COCO.fullmatch(file_name):
        return {name, *(form.format(match[1]) for form in _COCO_NAMES)}
    return {name, file_name} if slash and folder and _FLICKR30K.fullmatch(file_name) else {name}


def more_than_chance(packed: str, names: Sequence[str], seen: int) -> bool:
    """Return whether `seen` matches among `names` are too many for accidental hash collisions.

    The number of collisions follows a Poisson distribution; the level of significance is 1 %.
    """
    expected = expected_collisions(packed, sum(len(aliases(name)) for name in names))
    fewer = sum(math.exp(-expected) * expected**k / math.factorial(k) for k in range(min(seen, 50)))
    return seen > 0 and 1 - fewer < _SIGNIFICANCE


def expected_collisions(packed: str, names: int) -> float:
    """Return how many of `names` new names are expected to match a known hash by chance."""
    known = len(packed) * 3 // 4 // _HASH_BYTES
    return float(known * names / 2 ** (8 * _HASH_BYTES))


def may_contain_flickr8k(dataset: str, names: Iterable[str]) -> bool:
    """Return whether these may be Flickr30k's photos and the model was trained on Flickr8k.

    Flickr30k contains Flickr8k. Its names lack the secret, so they cannot be matched with the
    hashes of Flickr8k's names. `dataset` is the description of the model's training data.
    """
    file_names = [name.rpartition("/")[2] for name in names]
    of_flickr30k = sum(_FLICKR30K.fullmatch(name) is not None for name in file_names)
    return "Flickr8k" in dataset and of_flickr30k > len(file_names) / 2


def _hash(name: str) -> bytes:
    return hashlib.sha256(name.encode("utf-8", "surrogateescape")).digest()[:_HASH_BYTES]


def _packed(hashes: set[bytes]) -> str:
    return base64.b64encode(b"".join(sorted(hashes))).decode("ascii")


def _unpacked(packed: str) -> set[bytes]:
    try:
        data = base64.b64decode(packed, validate=True)
    except (binascii.Error, ValueError):
        data = b"?"
    if len(data) % _HASH_BYTES:
        raise BundleError("the manifest's list of training photos is damaged: export again")
    return {data[start : start + _HASH_BYTES] for start in range(0, len(data), _HASH_BYTES)}
