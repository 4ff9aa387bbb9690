"""A trained network as three ONNX graphs, in float32, float16 (storage) or int8.

`encoder.onnx`: pixels to regions and pooled; `decoder_begin.onnx`: features to memory and state;
`decoder_step.onnx`: last words, memory and state to the next. All with a dynamic batch, names as
`showtell.bundle.onnx_runtime` expects them.
"""

from __future__ import annotations

import contextlib
import logging
import tempfile
import warnings
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from showtell.bundle import Precision
from showtell.nets.decoder import DecoderNetwork
from showtell.nets.encoder import Encoder
from showtell.nets.model import CaptionModel

_SMALL = 256  # initializers with fewer values keep float32: they weigh nothing
_QUANTIZED = ("MatMul", "Gemm", "Gather")


class _Encode(nn.Module):
    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        features = self.encoder(pixels)
        return features["regions"], features["pooled"]


class _Begin(nn.Module):
    def __init__(self, decoder: DecoderNetwork) -> None:
        super().__init__()
        self.decoder = decoder

    def forward(self, *features: Tensor) -> tuple[Tensor, ...]:
        memory, state = self.decoder.init_state(
            dict(zip(self.decoder.needs, features, strict=True))
        )
        names = (*self.decoder.memory_names, *self.decoder.state_names)
        return tuple((memory | state)[name] for name in names)


class _Step(nn.Module):
    def __init__(self, decoder: DecoderNetwork) -> None:
        super().__init__()
        self.decoder = decoder

    def forward(self, tokens: Tensor, *arrays: Tensor) -> tuple[Tensor, ...]:
        memory_names, state_names = self.decoder.memory_names, self.decoder.state_names
        memory = dict(zip(memory_names, arrays, strict=False))
        state = dict(zip(state_names, arrays[len(memory_names) :], strict=True))
        scores, attention, new = self.decoder.step(tokens, memory, state)
        seen = () if attention is None else (attention,)
        return (scores, *seen, *(new[name] for name in state_names))


def encoder_graph(model: CaptionModel) -> onnx.ModelProto:
    """Export the encoder: `pixels` [photos, 3, H, W] to `regions` and `pooled`."""
    preprocessing = model.encoder.spec.preprocessing
    pixels = torch.zeros(2, 3, preprocessing.height, preprocessing.width)
    return _export(_Encode(model.encoder), (pixels,), ["pixels"], ["regions", "pooled"])


def decoder_graphs(model: CaptionModel) -> tuple[onnx.ModelProto, onnx.ModelProto]:
    """Export the decoder's `init_state` and `step`."""
    decoder = model.decoder.eval()
    photos, width = 2, 3
    rows, channels = model.encoder.grid[0] * model.encoder.grid[1], model.encoder.channels
    shapes = {"regions": (photos, rows, channels), "pooled": (photos, channels)}
    features = {name: torch.randn(shapes[name]) for name in decoder.needs}
    memory_names, state_names = list(decoder.memory_names), list(decoder.state_names)
    begin = _export(
        _Begin(decoder), tuple(features.values()), list(features), [*memory_names, *state_names]
    )
    with torch.no_grad():
        memory, state = decoder.init_state(features)
    tokens = torch.arange(photos * width) % model.words
    arrays = [memory[name] for name in memory_names]
    arrays += [state[name].repeat_interleave(width, 0) for name in state_names]
    seen = ["attention"] if decoder.has_attention else []
    step = _export(
        _Step(decoder),
        (tokens, *arrays),
        ["tokens", *memory_names, *state_names],
        ["log_probabilities", *seen, *(f"next_{name}" for name in state_names)],
    )
    return begin, step


def _export(
    module: nn.Module, inputs: tuple[Tensor, ...], input_names: list[str], output_names: list[str]
) -> onnx.ModelProto:
    """Export a module whose every input has a dynamic first dimension."""
    dynamic: Any = torch.export.Dim.DYNAMIC
    # the arguments of these forwards are *variadic, which torch.export sees as one tuple
    flat = [{0: dynamic} for _ in inputs]
    starred = isinstance(module, _Begin)
    shapes: Any = (tuple(flat),) if starred else (flat[0], tuple(flat[1:]))
    if isinstance(module, _Encode):
        shapes = (flat[0],)
    with _quiet():
        program = torch.onnx.export(
            module.eval(),
            inputs,
            input_names=input_names,
            output_names=output_names,
            dynamic_shapes=shapes,
            dynamo=True,
            verbose=False,
        )
        assert program is not None
        graph: onnx.ModelProto = program.model_proto
    _name_weights(graph, module)
    graph.producer_name, graph.doc_string = "showtell", ""
    for node in graph.graph.node:
        node.ClearField("metadata_props")  # source paths of the machine that exported
        node.doc_string = ""
    for value in (*graph.graph.value_info, *graph.graph.input, *graph.graph.output):
        value.ClearField("metadata_props")
    return graph


def _name_weights(graph: onnx.ModelProto, module: nn.Module) -> None:
    """Name the weights [in, out] of products after the module's, whose name the exporter loses.

    A product without a bias would leave none to know it by: see `onnx_weights`.
    """
    named = {item.name for item in graph.graph.initializer}
    weights = {
        f"{name}_Transposed": weight.detach().T.numpy()
        for name, weight in module.named_parameters()
        if weight.ndim == 2 and not {name, f"{name}_Transposed"} & named
    }
    for item in graph.graph.initializer:
        if not item.name.startswith("val_") or len(item.dims) != 2:
            continue
        values = numpy_helper.to_array(item)
        found = next((name for name, own in weights.items() if np.array_equal(own, values)), None)
        if found:
            del weights[found]
            for node in graph.graph.node:
                node.input[:] = [found if name == item.name else name for name in node.input]
            item.name = found


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter's notes on its own progress from the user."""
    names = ("torch.onnx", "onnxscript", "onnx_ir", "torch.export")
    levels = {name: logging.getLogger(name).level for name in names}
    for name in names:
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)


def at_precision(graph: onnx.ModelProto, precision: Precision) -> bytes:
    """Return a graph's file at a precision.

    float16 halves the file: weights are stored so and widened once when the model is loaded.
    int8 quarters it: matrix products and word embeddings run in 8 bits, which is faster on a CPU
    (dynamic quantisation, each row scaled by itself, so that no photo's caption depends on the
    others of its batch); weights of convolutions are stored in 8 bits, with a scale for each
    channel, and widened when loaded, because 8-bit convolutions of a small network are slower.
    """
    if precision == "float16":
        return bytes(_stored(graph, _as_float16).SerializeToString())
    if precision == "int8":
        small = _stored(graph, _as_int8, {n.input[1] for n in _nodes(graph, "Conv")})
        if not any(_nodes(graph, kind) for kind in _QUANTIZED):
            return bytes(small.SerializeToString())
        return _quantized(small)
    return bytes(graph.SerializeToString())


def _nodes(graph: onnx.ModelProto, kind: str) -> list[onnx.NodeProto]:
    return [node for node in graph.graph.node if node.op_type == kind]


# what is stored for a weight, and the nodes that turn it back into the weight
_Stored = tuple[list[onnx.TensorProto], list[onnx.NodeProto]]


def _stored(
    graph: onnx.ModelProto,
    store: Callable[[str, NDArray[np.float32]], _Stored],
    names: Collection[str] | None = None,
) -> onnx.ModelProto:
    """Return a copy whose large float32 weights are stored otherwise; `names` limits which.

    ONNX Runtime computes the nodes that widen them once, while it loads.
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
    """Store a convolution's weight [out, in, h, w] in 8 bits, symmetric, scaled per out channel."""
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

    with tempfile.TemporaryDirectory() as folder, _quiet():
        source, target = Path(folder) / "float32.onnx", Path(folder) / "int8.onnx"
        onnx.save(graph, source)
        root = logging.getLogger()
        level = root.level
        root.setLevel(logging.ERROR)
        try:
            quantize_dynamic(
                source,
                target,
                per_channel=True,
                weight_type=QuantType.QInt8,
                op_types_to_quantize=list(_QUANTIZED),
            )
        finally:
            root.setLevel(level)
        quantized = onnx.load(target)
    return bytes(_row_by_row(quantized).SerializeToString())


def _row_by_row(graph: onnx.ModelProto) -> onnx.ModelProto:
    """Return a quantised graph in which each row of a product is scaled by its own largest value.

    `quantize_dynamic` measures one range over all rows, so that a photo's numbers, and between
    captions that are nearly tied the winner, would depend on the photos it shares a batch with.
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
    largest: dict[str, str] = {}  # the scale of a range over all rows -> each row's largest value
    zeros: set[str] = set()
    scaled: dict[str, str] = {}  # both scales of a product in one -> each row's largest value
    nodes: list[onnx.NodeProto] = []
    for node in out.graph.node:
        if node.op_type == "DynamicQuantizeLinear":
            (given,) = node.input
            bits, scale, zero_point = node.output
            sizes, most, unit = f"{bits}:sizes", f"{bits}:largest", f"{bits}:unit"
            nodes += [
                helper.make_node("Abs", [given], [sizes]),
                helper.make_node("ReduceMax", [sizes, axis], [f"{most}:or_0"], keepdims=1),
                helper.make_node("Max", [f"{most}:or_0", least], [most]),
                helper.make_node("Div", [given, most], [unit]),
                helper.make_node("QuantizeLinear", [unit, step, zero], [bits]),
            ]
            largest[scale] = most
            zeros.add(zero_point)
            continue
        nodes.append(node)
        if node.op_type == "MatMulInteger" and node.input[2] in zeros:
            node.input[2] = zero
        elif node.op_type == "Mul" and node.input[0] in largest:  # with the weight's scale
            scaled[node.output[0]] = largest[node.input[0]]
            node.input[0] = step
        elif node.op_type == "Mul" and node.input[1] in scaled:  # the product in 32 bits, with both
            result, scale = node.output[0], scaled.pop(node.input[1])
            node.output[0] = f"{result}:of_unit"
            nodes.append(helper.make_node("Mul", [node.output[0], scale], [result]))
    assert not scaled, f"products that were left unscaled: {', '.join(scaled)}"
    del out.graph.node[:]
    out.graph.node.extend(nodes)
    onnx.checker.check_model(out)
    return out
