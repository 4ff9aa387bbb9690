"""ONNX graphs in smaller precisions: float16 storage, and int8."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Collection
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from showtell.bundle import Precision
from showtell.export.exact_products import with_exact_products
from showtell.export.quiet_libraries import quiet_libraries

__all__ = ["at_precision"]

_SMALL = 256  # weights with fewer values stay in float32: their size does not matter
_QUANTIZED = ("MatMul", "Gemm", "Gather")  # operations that run in 8 bits


def at_precision(graph: onnx.ModelProto, precision: Precision) -> bytes:
    """Return the content of a graph's ONNX file at a precision.

    float16 halves the file: weights are stored in float16 and widened once, on load.

    int8 quarters it. Matrix products and word embeddings run in 8 bits, which is faster on a CPU
    (dynamic quantisation; each row has its own scale, so that no photo's caption depends on the
    other photos of its batch; weights are limited, so that the products are the same on every
    processor: see `exact_products`). Weights of convolutions are stored in 8 bits with one scale
    per channel and widened on load, because 8-bit convolutions of a small network are slower.
    """
    if precision == "float16":
        return bytes(_with_stored_weights(graph, _as_float16).SerializeToString())
    if precision == "int8":
        convolutions = {node.input[1] for node in _nodes(graph, "Conv")}
        small = _with_stored_weights(graph, _as_int8, convolutions)
        if not any(_nodes(graph, kind) for kind in _QUANTIZED):
            return bytes(small.SerializeToString())
        return _quantized(small)
    return bytes(graph.SerializeToString())


def _nodes(graph: onnx.ModelProto, kind: str) -> list[onnx.NodeProto]:
    return [node for node in graph.graph.node if node.op_type == kind]


# the tensors that are stored for a weight, and the nodes that compute the weight from them
_Stored = tuple[list[onnx.TensorProto], list[onnx.NodeProto]]


def _with_stored_weights(
    graph: onnx.ModelProto,
    store: Callable[[str, NDArray[np.float32]], _Stored],
    names: Collection[str] | None = None,
) -> onnx.ModelProto:
    """Return a copy whose large float32 weights are stored by `store`; `names` limits which.

    ONNX Runtime runs the nodes that widen them once, when it loads the graph.
    """
    small = onnx.ModelProto()
    small.CopyFrom(graph)
    kept: list[onnx.TensorProto] = []
    widen: list[onnx.NodeProto] = []
    for weight in small.graph.initializer:
        large = weight.data_type == TensorProto.FLOAT and np.prod(weight.dims) >= _SMALL
        if not large or (names is not None and weight.name not in names):
            kept.append(weight)
            continue
        tensors, nodes = store(weight.name, numpy_helper.to_array(weight))
        kept += tensors
        widen += nodes
    nodes = [*widen, *small.graph.node]
    del small.graph.node[:], small.graph.initializer[:]
    small.graph.node.extend(nodes)
    small.graph.initializer.extend(kept)
    return small


def _as_float16(name: str, values: NDArray[np.float32]) -> _Stored:
    limit = np.finfo(np.float16).max
    half = np.clip(values, -limit, limit).astype(np.float16)
    cast = helper.make_node("Cast", [f"{name}:half"], [name], to=TensorProto.FLOAT)
    return [numpy_helper.from_array(half, f"{name}:half")], [cast]


def _as_int8(name: str, values: NDArray[np.float32]) -> _Stored:
    """Store a convolution's weight [out, in, h, w] in 8 bits: symmetric, one scale per output."""
    largest = np.abs(values).reshape(len(values), -1).max(1).reshape(-1, 1, 1, 1)
    scale = (np.maximum(largest, 1e-12) / 127).astype(np.float32)
    bits = np.rint(values / scale).astype(np.int8)
    tensors = [
        numpy_helper.from_array(bits, f"{name}:bits"),
        numpy_helper.from_array(scale, f"{name}:scale"),
    ]
    nodes = [
        helper.make_node("Cast", [f"{name}:bits"], [f"{name}:wide"], to=TensorProto.FLOAT),
        helper.make_node("Mul", [f"{name}:wide", f"{name}:scale"], [name]),
    ]
    return tensors, nodes


def _quantized(graph: onnx.ModelProto) -> bytes:
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with tempfile.TemporaryDirectory() as folder, quiet_libraries():
        source, target = Path(folder) / "float32.onnx", Path(folder) / "int8.onnx"
        onnx.save(graph, source)
        quantize_dynamic(
            source,
            target,
            per_channel=True,
            weight_type=QuantType.QInt8,
            op_types_to_quantize=list(_QUANTIZED),
        )
        quantized = onnx.load(target)
    return bytes(with_exact_products(_scaled_by_row(quantized)).SerializeToString())


def _scaled_by_row(graph: onnx.ModelProto) -> onnx.ModelProto:
    """Return a quantised graph in which each row of a product has its own scale.

    `quantize_dynamic` uses one range for all rows. A photo's numbers would then depend on the
    other photos of its batch, and so would its caption if two candidates are nearly tied.
    """
    out = onnx.ModelProto()
    out.CopyFrom(graph)
    step, zero, least, axis = (f"row:{name}" for name in ("step", "zero", "least", "axis"))
    for name, value in (
        (step, np.float32(1 / 127)),
        (zero, np.uint8(128)),
        (least, np.float32(1e-12)),
        (axis, np.array([-1], np.int64)),
    ):
        out.graph.initializer.append(numpy_helper.from_array(np.asarray(value), name))
    row_largest: dict[str, str] = {}  # scale of all rows -> largest value of each row
    zero_points: set[str] = set()
    products: dict[str, str] = {}  # scale of input times scale of weight -> as above
    nodes: list[onnx.NodeProto] = []
    for node in out.graph.node:
        if node.op_type == "DynamicQuantizeLinear":
            (values,) = node.input
            bits, scale, zero_point = node.output
            sizes, largest, unit = f"{bits}:sizes", f"{bits}:largest", f"{bits}:unit"
            nodes += [
                helper.make_node("Abs", [values], [sizes]),
                helper.make_node("ReduceMax", [sizes, axis], [f"{largest}:or_0"], keepdims=1),
                helper.make_node("Max", [f"{largest}:or_0", least], [largest]),
                helper.make_node("Div", [values, largest], [unit]),
                helper.make_node("QuantizeLinear", [unit, step, zero], [bits]),
            ]
            row_largest[scale] = largest
            zero_points.add(zero_point)
            continue
        nodes.append(node)
        if node.op_type == "MatMulInteger" and node.input[2] in zero_points:
            node.input[2] = zero
        elif node.op_type == "Mul" and node.input[0] in row_largest:  # times the weight's scale
            products[node.output[0]] = row_largest[node.input[0]]
            node.input[0] = step
        elif node.op_type == "Mul" and node.input[1] in products:  # the product times both scales
            result, largest = node.output[0], products.pop(node.input[1])
            node.output[0] = f"{result}:of_unit"
            nodes.append(helper.make_node("Mul", [node.output[0], largest], [result]))
    assert not products, f"products without a row scale: {', '.join(products)}"
    del out.graph.node[:]
    out.graph.node.extend(nodes)
    onnx.checker.check_model(out)
    return out
