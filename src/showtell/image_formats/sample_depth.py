"""Scales samples of any depth to 8 bits."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

_BLOCK = 1 << 20  # samples converted at once, so that temporary arrays stay small
_HIGHEST_8_BIT, _HIGHEST_16_BIT = 255, 65535
_MOST_NUMBER = 1e38  # larger floats mark places without a value, in maps
_IN_RANGE = 0.95  # the share of floats from 0 to 1 that makes larger ones highlights
# Floats above this and up to 255 were written as 8-bit values; below, they are highlights.
_HIGHEST_HIGHLIGHT = 16


def to_8_bits(values: NDArray[Any], *, bits: int | None = None) -> NDArray[np.uint8]:
    """Return the samples scaled to 0 to 255, in the shape of `values`.

    `bits` is given where the samples are unsigned and use the whole range of so many bits. For
    other samples the range is chosen by `value_range`, together for all channels.
    """
    if values.dtype == np.uint8 and bits == 8:
        return values
    low, high = value_range(values) if bits is None else (0.0, 2.0**bits - 1)
    scaled = np.empty(values.shape, np.uint8)
    rows = max(1, _BLOCK * len(values) // max(values.size, 1))
    # 16 bits are exact in float32, which is faster
    precise = np.float32 if values.dtype.itemsize <= 2 else np.float64
    factor = precise(255 / ((high - low) or 255))
    for start in range(0, len(values), rows):
        block = _finite(values[start : start + rows], precise)
        block -= precise(low)
        block *= factor
        np.clip(block, 0, 255, out=block)
        block += precise(0.5)
        scaled[start : start + rows] = block
    return scaled


def value_range(values: NDArray[Any]) -> tuple[float, float]:
    """Return the values that become black and white, judged by what the samples hold.

    Floats from 0 to 1 have that range, also where a few highlights are brighter. Numbers that fit
    into 8 bits, and whole ones that fit into 16 bits, have the range of their bits (signed ones of
    16 bits half of it); so have unsigned ones that use the topmost bits of 32 or 64. All others are
    stretched from their smallest to their largest value.
    """
    low, high, whole = np.inf, -np.inf, True
    lit, in_range = 0, 0
    rows = max(1, _BLOCK * len(values) // max(values.size, 1))
    for start in range(0, len(values), rows):
        block = _finite(values[start : start + rows], np.float64)
        low, high = min(low, float(block.min())), max(high, float(block.max()))
        whole = whole and not (block % 1).any()
        lit += int(np.count_nonzero(block))
        in_range += int(np.count_nonzero((block > 0) & (block <= 1)))
    bits = 8 * values.dtype.itemsize
    if not whole and in_range >= _IN_RANGE * lit:
        return 0.0, 1.0
    if low >= 0 and high <= _HIGHEST_8_BIT and (whole or high > _HIGHEST_HIGHLIGHT):
        return 0.0, float(_HIGHEST_8_BIT)
    if low >= 0 and high <= _HIGHEST_16_BIT and whole:
        return 0.0, float(_HIGHEST_16_BIT >> (values.dtype == np.int16))
    if values.dtype.kind == "u" and high >= 2.0 ** (bits - 8):
        return 0.0, 2.0**bits - 1
    return low, high


def _finite(values: NDArray[Any], precise: type[np.floating[Any]]) -> NDArray[Any]:
    """Return a copy as floats, with 0 for what is infinite, not a number or too large."""
    with np.errstate(all="ignore"):  # signalling NaNs
        block = values.astype(precise)
        if values.dtype.kind == "f":
            block[~(np.abs(block) < _MOST_NUMBER)] = 0
    return block
