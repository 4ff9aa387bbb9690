"""A trained network as three ONNX graphs, in float32, float16 (storage) or int8.

`encoder.onnx`: pixels to regions and pooled; `decoder_begin.onnx`: features to memory and state;
`decoder_step.onnx`: last words, memory and state to the next. All with a dynamic batch, names as
`showtell.onnx_model` expects them.
"""

from __future__ import annotations

import contextlib
import logging
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from showtell.nets.decoder import Decoder
from showtell.nets.encoder import Encoder
from showtell.nets.model import CaptionModel

Precision = Literal["float32", "float16", "int8"]
_SMALL = 256  # initializers with fewer values keep float32: they weigh nothing


class _Encode(nn.Module):
    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        features = self.encoder(pixels)
        return features["regions"], features["pooled"]


class _Begin(nn.Module):
    def __init__(self, decoder: Decoder) -> None:
        super().__init__()
        self.decoder = decoder

    def forward(self, *features: Tensor) -> tuple[Tensor, ...]:
        memory, state = self.decoder.begin(dict(zip(self.decoder.needs, features, strict=True)))
        names = (*self.decoder.memory_names, *self.decoder.state_names)
        return tuple((memory | state)[name] for name in names)


class _Step(nn.Module):
    def __init__(self, decoder: Decoder) -> None:
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
    """Export the decoder's `begin` and `step`."""
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
        memory, state = decoder.begin(features)
    tokens = torch.arange(photos * width) % model.words
    arrays = [memory[name] for name in memory_names]
    arrays += [state[name].repeat_interleave(width, 0) for name in state_names]
    seen = ["attention"] if decoder.has_attention else []
    step = _export(
        _Step(decoder), (tokens, *arrays), ["tokens", *memory_names, *state_names],
        ["log_probabilities", *seen, *(f"next_{name}" for name in state_names)],
    )  # fmt: skip
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
            module.eval(), inputs, input_names=input_names, output_names=output_names,
            dynamic_shapes=shapes, dynamo=True, verbose=False,
        )  # fmt: skip
        assert program is not None
        graph: onnx.ModelProto = program.model_proto
    graph.producer_name, graph.doc_string = "showtell", ""
    for node in graph.graph.node:
        node.ClearField("metadata_props")  # source paths of the machine that exported
        node.doc_string = ""
    for value in (*graph.graph.value_info, *graph.graph.input, *graph.graph.output):
        value.ClearField("metadata_props")
    return graph


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
    int8 makes matrix products and word embeddings 8-bit, with a scale for each output
    (dynamic quantisation): a quarter of the size, and faster on a CPU.
    """
    if precision == "float16":
        return _stored_as_float16(graph)
    if precision == "int8":
        return _quantized(graph)
    return bytes(graph.SerializeToString())


def _stored_as_float16(graph: onnx.ModelProto) -> bytes:
    half = onnx.ModelProto()
    half.CopyFrom(graph)
    casts = []
    for weight in half.graph.initializer:
        if weight.data_type != TensorProto.FLOAT or np.prod(weight.dims) < _SMALL:
            continue
        name = weight.name
        values = numpy_helper.to_array(weight)
        limit = np.finfo(np.float16).max
        stored = numpy_helper.from_array(
            np.clip(values, -limit, limit).astype(np.float16), f"{name}:half"
        )
        weight.CopyFrom(stored)
        casts.append(helper.make_node("Cast", [stored.name], [name], to=TensorProto.FLOAT))
    nodes = [*casts, *half.graph.node]
    del half.graph.node[:]
    half.graph.node.extend(nodes)
    return bytes(half.SerializeToString())


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
                source, target, per_channel=True, weight_type=QuantType.QInt8,
                op_types_to_quantize=["MatMul", "Gemm", "Gather"],
            )  # fmt: skip
        finally:
            root.setLevel(level)
        return target.read_bytes()


def output_names(names: Sequence[str]) -> list[str]:
    """Return the names that a step gives to the new values of a state's arrays."""
    return [f"next_{name}" for name in names]
