"""A network's weights, read back from its ONNX graph at whatever precision it was stored.

The other direction of `onnx_export`: a bundle holds graphs alone, and whoever trains on from it
needs the weights under their names in PyTorch.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

Floats = NDArray[np.float32]


def weights_of(path: Path) -> dict[str, Floats]:
    """Return the weights of an ONNX file that `onnx_export` wrote, in float32, by PyTorch's names.

    Weights in 8 bits and in float16 are widened, products' weights are turned to [out, in]. A
    weight that the exporter left without a name is named after the bias that is added to its
    product. A bias of zeros may be missing: exporters leave additions of nothing out.
    """
    graph = onnx.load(path).graph
    values = {item.name: numpy_helper.to_array(item) for item in graph.initializer}
    for node in graph.node:  # what widens float16 and 8-bit convolutions, in order of use
        _fold(node, values)
    named = _dequantised(values)
    found = {name: array for name, array in named.items() if not name.endswith("_Transposed")}
    found |= _products(graph, named) | _convolution_biases(graph, named)
    # scaled for each word, so finer than the copy for looking words up, which is scaled as one
    found |= {
        name.removesuffix("_Transposed"): np.ascontiguousarray(array.T)
        for name, array in named.items()
        if name.endswith("_Transposed")
    }
    return {
        name: np.asarray(array, np.float32)
        for name, array in found.items()
        if name.endswith((".weight", ".bias", ".running_mean", ".running_var"))
    }


def _fold(node: onnx.NodeProto, values: dict[str, NDArray[Any]]) -> None:
    """Compute a Cast or Mul of constants into `values`."""
    if not all(name in values for name in node.input):
        return
    given = [values[name] for name in node.input]
    if node.op_type == "Cast":
        values[node.output[0]] = given[0].astype(np.float32)
    elif node.op_type == "Mul":
        values[node.output[0]] = given[0] * given[1]


def _dequantised(values: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Turn `X_quantized`, `X_scale` and `X_zero_point` into X; the rest stays as it is."""
    out: dict[str, NDArray[Any]] = {}
    for name, array in values.items():
        base = name.removesuffix("_quantized")
        if base == name:
            out[name] = array
            continue
        zero = values[f"{base}_zero_point"].astype(np.float32)
        # one scale for all, or one for each column: both broadcast along the last axis
        out[base] = (array.astype(np.float32) - zero) * values[f"{base}_scale"]
    return out


def _products(graph: onnx.GraphProto, values: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Name the weights [in, out] of products after the biases that are added to them."""
    readers: dict[str, list[onnx.NodeProto]] = {}
    for node in graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    found = {}
    for node in graph.node:
        if node.op_type not in ("MatMul", "MatMulInteger"):
            continue
        weight = values.get(node.input[1].removesuffix("_quantized"))
        bias = _bias_after(node, readers, values)
        if weight is not None and bias is not None:
            found[f"{bias.removesuffix('.bias')}.weight"] = np.ascontiguousarray(weight.T)
    return found


def _convolution_biases(
    graph: onnx.GraphProto, values: dict[str, NDArray[Any]]
) -> dict[str, NDArray[Any]]:
    """Name convolutions' biases after their weights; folded batch norm has other names."""
    return {
        f"{node.input[1].removesuffix('.weight')}.bias": values[node.input[2]]
        for node in graph.node
        if node.op_type == "Conv" and len(node.input) > 2 and node.input[2] in values
    }


def _bias_after(
    node: onnx.NodeProto, readers: dict[str, list[onnx.NodeProto]], values: dict[str, NDArray[Any]]
) -> str | None:
    """Follow a product through its scaling to the bias that is added to it."""
    while True:
        following = readers.get(node.output[0], [])
        if len(following) != 1:
            return None
        node = following[0]
        if node.op_type == "Add":
            return next((n for n in node.input if n in values and n.endswith(".bias")), None)
        if node.op_type not in ("Cast", "Mul"):
            return None
