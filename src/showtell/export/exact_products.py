"""Weights of 8-bit products, limited so that every processor computes the same product.

Processors with VNNI instructions add up products of 8 bits in 32 bits. On older x86 processors
ONNX Runtime multiplies two neighbouring activations with their weights and adds both products in
16 bits (instruction VPMADDUBSW), which cuts off sums beyond 32,767. An activation is at most 255.
So no sum is cut off if two neighbouring weights of the same sign add up to at most 128.
"""

from __future__ import annotations

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

__all__ = ["LARGEST_PAIR", "limit_pairs", "with_exact_products"]

LARGEST_PAIR = 128  # 255 * 128 < 2**15
_FACTORS = np.linspace(1, 2, 51, dtype=np.float32)  # at 2 weights have 7 bits: no pair is too large


def with_exact_products(graph: onnx.ModelProto) -> onnx.ModelProto:
    """Return a graph quantised to 8 bits whose products are the same on every processor.

    Weights that are limited already stay as they are.
    """
    out = onnx.ModelProto()
    out.CopyFrom(graph)
    tensors = {tensor.name: tensor for tensor in out.graph.initializer}
    for name in sorted({n.input[1] for n in out.graph.node if n.op_type == "MatMulInteger"}):
        base = name.removesuffix("_quantized")
        scale = tensors[f"{base}_scale"]
        assert not numpy_helper.to_array(tensors[f"{base}_zero_point"]).any(), (
            f"{name}: not symmetric"
        )
        bits, factors = limit_pairs(numpy_helper.to_array(tensors[name]))
        scales = numpy_helper.to_array(scale) * factors
        tensors[name].CopyFrom(numpy_helper.from_array(bits, name))
        scale.CopyFrom(numpy_helper.from_array(scales, scale.name))
    return out


def limit_pairs(bits: NDArray[np.int8]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Limit the pairs of a weight [inputs, outputs]; return it and factors of scales [outputs].

    A column's pairs become small enough by a larger scale, by smaller weights in some pairs, or by
    both. The factor of the scale is the one with the least squared error.
    """
    weights = bits.astype(np.float32)
    limited = _with_small_pairs(weights)
    errors = np.square(limited - weights).sum(0)
    factors = np.ones_like(errors)
    for factor in _FACTORS[1:]:
        candidate = _with_small_pairs(weights / factor)
        candidate_errors = np.square(candidate * factor - weights).sum(0)
        better = candidate_errors < errors
        limited[:, better] = candidate[:, better]
        errors[better] = candidate_errors[better]
        factors[better] = factor
    return limited.astype(np.int8), factors


def _with_small_pairs(weights: NDArray[np.float32]) -> NDArray[np.float32]:
    """Round weights [inputs, outputs]; take half of a pair's excess from each of its weights."""
    rounded = np.rint(weights)
    end = len(rounded) // 2 * 2  # the last of an odd number of rows has no neighbour
    first, second = rounded[:end:2], rounded[1:end:2]
    excess = np.where(first * second > 0, np.abs(first + second) - LARGEST_PAIR, 0).clip(0)
    sign = np.sign(first)
    first -= sign * np.ceil(excess / 2)
    second -= sign * np.floor(excess / 2)
    return rounded
