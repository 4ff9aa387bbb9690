"""The three ONNX graphs of a captioning model, in float32.

`encoder.onnx` computes regions and pooled features from pixels, `decoder_begin.onnx` memory and
state from features, `decoder_step.onnx` the next state from the last words, memory and state. The
batch is dynamic, and the names are those that `showtell.bundle.onnx_runtime` expects.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import Tensor, nn

from showtell.decoding.keywords import DETECTED
from showtell.export.quiet_libraries import quiet_libraries
from showtell.nets.decoder import DecoderNetwork
from showtell.nets.encoder import Encoder
from showtell.nets.model import CaptionModel

__all__ = ["decoder_graphs", "encoder_graph"]


class _Encode(nn.Module):
    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        features = self.encoder(pixels)
        return tuple(features[name] for name in _feature_names(self.encoder))


class _InitState(nn.Module):
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
        log_probabilities, attention, next_state = self.decoder.step(tokens, memory, state)
        outputs = (log_probabilities,) if attention is None else (log_probabilities, attention)
        return (*outputs, *(next_state[name] for name in state_names))


def encoder_graph(model: CaptionModel) -> onnx.ModelProto:
    """Return the encoder's graph: `pixels` [photos, 3, H, W] to features and detected words."""
    preprocessing = model.encoder.spec.preprocessing
    pixels = torch.zeros(2, 3, preprocessing.height, preprocessing.width)
    outputs = _feature_names(model.encoder)
    return _export(_Encode(model.encoder), (pixels,), ["pixels"], outputs)


def _feature_names(encoder: Encoder) -> list[str]:
    return ["regions", "pooled", *([DETECTED] if encoder.detector else [])]


def decoder_graphs(model: CaptionModel) -> tuple[onnx.ModelProto, onnx.ModelProto]:
    """Return the graphs of the decoder's `init_state` and `step`."""
    decoder = model.decoder.eval()
    photos, width = 2, 3  # of the example inputs: any sizes above 1
    regions, channels = model.encoder.grid[0] * model.encoder.grid[1], model.encoder.channels
    shapes: dict[str, tuple[int, ...]] = {
        "regions": (photos, regions, channels),
        "pooled": (photos, channels),
    }
    if model.encoder.spec.detector:
        shapes[DETECTED] = (photos, model.encoder.spec.detector.words)
    features = {name: torch.randn(shapes[name]) for name in decoder.needs}
    memory_names, state_names = list(decoder.memory_names), list(decoder.state_names)
    init_state = _export(
        _InitState(decoder),
        tuple(features.values()),
        list(features),
        [*memory_names, *state_names],
    )
    with torch.no_grad():
        memory, state = decoder.init_state(features)
    tokens = torch.arange(photos * width) % model.words
    arrays = [memory[name] for name in memory_names]
    arrays += [state[name].repeat_interleave(width, 0) for name in state_names]
    attention = ["attention"] if decoder.has_attention else []
    step = _export(
        _Step(decoder),
        (tokens, *arrays),
        ["tokens", *memory_names, *state_names],
        ["log_probabilities", *attention, *(f"next_{name}" for name in state_names)],
    )
    return init_state, step


def _export(
    module: nn.Module, inputs: tuple[Tensor, ...], input_names: list[str], output_names: list[str]
) -> onnx.ModelProto:
    """Return a module's graph; the first dimension of every input is dynamic."""
    dynamic: Any = torch.export.Dim.DYNAMIC
    each = [{0: dynamic} for _ in inputs]
    # torch.export takes the shapes of variadic arguments as one tuple
    shapes: Any = (each[0],)
    if isinstance(module, _InitState):
        shapes = (tuple(each),)
    elif isinstance(module, _Step):
        shapes = (each[0], tuple(each[1:]))
    with quiet_libraries():
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
        node.ClearField("metadata_props")  # paths of source files on this machine
        node.doc_string = ""
    for value in (*graph.graph.value_info, *graph.graph.input, *graph.graph.output):
        value.ClearField("metadata_props")
    return graph


def _name_weights(graph: onnx.ModelProto, module: nn.Module) -> None:
    """Give the weights [in, out] of matrix products their names in `module`.

    The exporter loses these names. `showtell.bundle.onnx_weights` reads weights back by name, and
    a product without a bias has nothing else to identify it by.
    """
    named = {item.name for item in graph.graph.initializer}
    unnamed = {
        f"{name}_Transposed": weight.detach().T.numpy()
        for name, weight in module.named_parameters()
        if weight.ndim == 2 and not {name, f"{name}_Transposed"} & named
    }
    for item in graph.graph.initializer:
        if not item.name.startswith("val_") or len(item.dims) != 2:
            continue
        values = numpy_helper.to_array(item)
        name = next(
            (name for name, weight in unnamed.items() if np.array_equal(weight, values)), None
        )
        if name:
            del unnamed[name]
            for node in graph.graph.node:
                node.input[:] = [name if old == item.name else old for old in node.input]
            item.name = name
