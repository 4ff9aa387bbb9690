"""The weights of a network, read back from its ONNX graph at any precision.

A bundle holds only graphs. Training that continues from a bundle needs the weights under their
names in PyTorch; this is the inverse of `showtell.export.onnx_graphs`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from showtell.bundle.onnx_check import read_onnx

Floats = NDArray[np.float32]


def weights_of(path: Path) -> dict[str, Floats]:
    """Return the weights of an exported ONNX file, in float32, by their names in PyTorch.

    Weights in 8 bits and float16 are widened; weights of matrix products become [out, in]. A
    weight that the exporter left without a name gets its name from the bias of its product. A
    bias of zeros may be missing, because the exporter drops additions of zero.

    Raises BundleError if the file could read others (see `check_onnx`).
    """
    graph = onnx.load_model_from_string(read_onnx(path)).graph
    values = {item.name: numpy_helper.to_array(item) for item in graph.initializer}
    for node in graph.node:  # the nodes that widen weights come first, in order of use
        _fold(node, values)
    named = _dequantised(values)
    weights = {name: array for name, array in named.items() if not name.endswith("_Transposed")}
    weights |= _products(graph, named) | _convolution_biases(graph, named)
    # preferred to the copy for word embeddings: one scale per word instead of one for all
    weights |= {
        name.removesuffix("_Transposed"): np.ascontiguousarray(array.T)
        for name, array in named.items()
        if name.endswith("_Transposed")
    }
    return {
        name: np.asarray(array, np.float32)
        for name, array in weights.items()
        if name.endswith((".weight", ".bias", ".running_mean", ".running_var"))
    }


def _fold(node: onnx.NodeProto, values: dict[str, NDArray[Any]]) -> None:
    """Add the result of a Cast or Mul of constants to `values`."""
    if not all(name in values for name in node.input):
        return
    inputs = [values[name] for name in node.input]
    if node.op_type == "Cast":
        values[node.output[0]] = inputs[0].astype(np.float32)
    elif node.op_type == "Mul":
        values[node.output[0]] = inputs[0] * inputs[1]


def _dequantised(values: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Replace `X_quantized`, `X_scale` and `X_zero_point` by X; other values stay."""
    out: dict[str, NDArray[Any]] = {}
    for name, array in values.items():
        base = name.removesuffix("_quantized")
        if base == name:
            out[name] = array
            continue
        zero = values[f"{base}_zero_point"].astype(np.float32)
        # one scale for all values or one per column: both broadcast along the last axis
        out[base] = (array.astype(np.float32) - zero) * values[f"{base}_scale"]
    return out


def _products(graph: onnx.GraphProto, values: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Return the weights [out, in] of matrix products, named after the biases added to them."""
    readers: dict[str, list[onnx.NodeProto]] = {}
    for node in graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    weights = {}
    for node in graph.node:
        if node.op_type not in ("MatMul", "MatMulInteger"):
            continue
        weight = values.get(node.input[1].removesuffix("_quantized"))
        bias = _bias_after(node, readers, values)
        if weight is not None and bias is not None:
            weights[f"{bias.removesuffix('.bias')}.weight"] = np.ascontiguousarray(weight.T)
    return weights


def _convolution_biases(
    graph: onnx.GraphProto, values: dict[str, NDArray[Any]]
) -> dict[str, NDArray[Any]]:
    """Return biases of convolutions, named after their weights: folded ones have other names."""
    return {
        f"{node.input[1].removesuffix('.weight')}.bias": values[node.input[2]]
        for node in graph.node
        if node.op_type == "Conv" and len(node.input) > 2 and node.input[2] in values
    }


def _bias_after(
    node: onnx.NodeProto, readers: dict[str, list[onnx.NodeProto]], values: dict[str, NDArray[Any]]
) -> str | None:
    """Return the name of the bias that is added to a product, after its scaling."""
    while True:
        following = readers.get(node.output[0], [])
        if len(following) != 1:
            return None
        node = following[0]
        if node.op_type == "Add":
            return next((n for n in node.input if n in values and n.endswith(".bias")), None)
        if node.op_type not in ("Cast", "Mul"):
            return None
