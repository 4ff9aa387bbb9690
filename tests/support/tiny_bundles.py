"""A tiny but real model bundle: the contract of the shipped one in a few kilobytes of ONNX."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from showtell.bundle import (
    CARD,
    DECODER_BEGIN,
    DECODER_STEP,
    ENCODER,
    MANIFEST,
    VOCABULARY,
    Bundle,
    DecoderInfo,
    EncoderInfo,
    Manifest,
    save_bundle,
    sha256,
)
from showtell.decoding.confidence import FEATURES, Calibration
from showtell.decoding.options import DecodingDefaults
from showtell.image import Preprocessing
from showtell.vocabulary import END, SPECIAL_WORDS, Vocabulary

SPOKEN = """
a the dog cat man woman child red green blue white black runs sits jumps plays on in of with
grass water snow street field and two big small 's
"""
WORDS = SPOKEN.split()
SIZE, GRID, CHANNELS, HIDDEN = 32, (4, 4), 3, 16
FLOAT, INT64 = TensorProto.FLOAT, TensorProto.INT64
CALIBRATION = Calibration(
    measure="for tests",
    features=tuple(FEATURES),
    mean=(0.0,) * 4,
    scale=(1.0,) * 4,
    weights=(1.0, 0.5, 0.0, 0.1),
    intercept=1.0,
)


def write_bundle(
    folder: Path,
    *,
    attention: bool = True,
    seed: int = 0,
    name: str = "tiny",
    preprocessing: Preprocessing | None = None,
    ends: bool = True,
    confidence: Calibration | None = None,
    max_length: int = 12,
) -> Bundle:
    """Write a bundle whose captions depend on the photo's colours; `ends=False` never ends."""
    vocabulary = Vocabulary((*SPECIAL_WORDS, *WORDS))
    kind = "attention" if attention else "merge"
    manifest = Manifest(
        name=name,
        encoder=EncoderInfo(network="average", grid=GRID, channels=CHANNELS),
        decoder=DecoderInfo(
            kind=kind,
            memory=("looked_at", "unused"),
            state=("hidden", "count"),
            attention=attention,
        ),
        preprocessing=preprocessing or Preprocessing(height=SIZE, width=SIZE),
        decoding=DecodingDefaults(max_length=max_length),
        confidence=confidence,
        terms="For tests only.",
    )
    networks = tiny_networks(attention=attention, seed=seed, ends=ends)
    return save_bundle(
        folder,
        manifest,
        {
            **{name: network.SerializeToString() for name, network in networks.items()},
            VOCABULARY: vocabulary.to_json().encode(),
            CARD: b"# tiny\nA model for tests.\n",
        },
    )


def tiny_networks(
    *, attention: bool = True, seed: int = 0, ends: bool = True
) -> dict[str, onnx.ModelProto]:
    """Return the three networks of a bundle with the vocabulary `WORDS`, by their file names."""
    begin, step = _decoder(len(SPECIAL_WORDS) + len(WORDS), attention, seed, ends)
    return {ENCODER: _encoder(), DECODER_BEGIN: begin, DECODER_STEP: step}


def rehash(folder: Path) -> None:
    """Write the hashes of a bundle's files, changed on purpose, into its manifest."""
    path = folder / MANIFEST
    manifest = json.loads(path.read_text("utf-8"))
    manifest["files"] = {name: sha256(folder / name) for name in manifest["files"]}
    path.write_text(json.dumps(manifest), "utf-8")


def _encoder() -> onnx.ModelProto:
    side = SIZE // GRID[0]
    nodes = [
        helper.make_node(
            "AveragePool", ["pixels"], ["map"], kernel_shape=[side, side], strides=[side, side]
        ),
        helper.make_node("Reshape", ["map", "flat"], ["columns"]),
        helper.make_node("Transpose", ["columns"], ["regions"], perm=[0, 2, 1]),
        helper.make_node("ReduceMean", ["columns"], ["pooled"], axes=[2], keepdims=0),
    ]
    return _model(
        nodes,
        [_value("pixels", FLOAT, ["batch", 3, SIZE, SIZE])],
        [
            _value("regions", FLOAT, ["batch", GRID[0] * GRID[1], CHANNELS]),
            _value("pooled", FLOAT, ["batch", CHANNELS]),
        ],
        {"flat": np.int64([0, CHANNELS, -1])},
    )


def _decoder(
    words: int, attention: bool, seed: int, ends: bool
) -> tuple[onnx.ModelProto, onnx.ModelProto]:
    draw = np.random.default_rng(seed)

    def weights(*shape: int, scale: float = 1.0) -> np.ndarray:
        return np.float32(draw.normal(size=shape) * scale)

    source = "regions" if attention else "pooled"
    shape = ["batch", GRID[0] * GRID[1], CHANNELS] if attention else ["batch", CHANNELS]
    begin = _model(
        [
            helper.make_node("Identity", [source], ["looked_at"]),
            helper.make_node("Identity", [source], ["unused"]),
            *(
                [helper.make_node("ReduceMean", ["regions"], ["mean"], axes=[1], keepdims=0)]
                if attention
                else [helper.make_node("Identity", ["pooled"], ["mean"])]
            ),
            helper.make_node("MatMul", ["mean", "enter"], ["hidden"]),
            helper.make_node("ReduceSum", ["mean", "axis"], ["sum"], keepdims=1),
            helper.make_node("Mul", ["sum", "zero"], ["count"]),
        ],
        [_value(source, FLOAT, shape)],
        [
            _value("looked_at", FLOAT, shape),
            _value("unused", FLOAT, shape),
            _value("hidden", FLOAT, ["batch", HIDDEN]),
            _value("count", FLOAT, ["batch", 1]),
        ],
        {"enter": weights(CHANNELS, HIDDEN, scale=2), "axis": np.int64([1]), "zero": np.float32(0)},
    )
    end = np.zeros(words, np.float32)
    end[END] = 1 if ends else -50
    parameters = {
        "embedding": weights(words, HIDDEN),
        "recur": weights(HIDDEN, HIDDEN, scale=0.4),
        "leave": weights(HIDDEN, words),
        "see": weights(CHANNELS, words),
        "end": end,
        "one": np.float32(1),
        "rows": np.int64([-1, words]),
    }
    nodes = [
        helper.make_node("Gather", ["embedding", "tokens"], ["embedded"]),
        helper.make_node("MatMul", ["hidden", "recur"], ["kept"]),
        helper.make_node("Add", ["kept", "embedded"], ["mixed"]),
        helper.make_node("Tanh", ["mixed"], ["next_hidden"]),
        helper.make_node("Add", ["count", "one"], ["next_count"]),
        helper.make_node("Mul", ["next_count", "end"], ["urge"]),
        # one memory row a photo: hypotheses are folded into [photos, width, ...]
        helper.make_node("Shape", ["looked_at"], ["photos"], start=0, end=1),
        helper.make_node("Concat", ["photos", "fold"], ["folded"], axis=0),
        helper.make_node("Reshape", ["next_hidden", "folded"], ["queries"]),
    ]
    parameters["fold"] = np.int64([-1, HIDDEN])
    outputs = [_value("log_probabilities", FLOAT, ["rows", words])]
    if attention:
        parameters["ask"] = weights(HIDDEN, CHANNELS, scale=2)
        parameters["unfold"] = np.int64([-1, GRID[0] * GRID[1]])
        nodes += [
            helper.make_node("MatMul", ["queries", "ask"], ["asked"]),
            helper.make_node("Transpose", ["looked_at"], ["keys"], perm=[0, 2, 1]),
            helper.make_node("MatMul", ["asked", "keys"], ["scores"]),
            helper.make_node("Softmax", ["scores"], ["weights"], axis=2),
            helper.make_node("MatMul", ["weights", "looked_at"], ["context"]),
            helper.make_node("Reshape", ["weights", "unfold"], ["attention"]),
        ]
        outputs.append(_value("attention", FLOAT, ["rows", GRID[0] * GRID[1]]))
    else:
        parameters["middle"] = np.int64([1])
        nodes.append(helper.make_node("Unsqueeze", ["looked_at", "middle"], ["context"]))
    nodes += [
        helper.make_node("MatMul", ["queries", "leave"], ["said"]),
        helper.make_node("MatMul", ["context", "see"], ["seen"]),
        helper.make_node("Add", ["said", "seen"], ["both"]),
        helper.make_node("Reshape", ["both", "rows"], ["flat"]),
        helper.make_node("Add", ["flat", "urge"], ["logits"]),
        helper.make_node("LogSoftmax", ["logits"], ["log_probabilities"], axis=1),
    ]
    outputs += [
        _value("next_hidden", FLOAT, ["rows", HIDDEN]),
        _value("next_count", FLOAT, ["rows", 1]),
    ]
    inputs = [
        _value("tokens", INT64, ["rows"]),
        _value("looked_at", FLOAT, ["photos", *shape[1:]]),
        _value("hidden", FLOAT, ["rows", HIDDEN]),
        _value("count", FLOAT, ["rows", 1]),
    ]
    return begin, _model(nodes, inputs, outputs, parameters)


def _value(name: str, kind: int, shape: list[Any]) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, shape)


def _model(
    nodes: list[onnx.NodeProto],
    inputs: list[onnx.ValueInfoProto],
    outputs: list[onnx.ValueInfoProto],
    parameters: dict[str, Any],
) -> onnx.ModelProto:
    stored = [numpy_helper.from_array(np.asarray(value), key) for key, value in parameters.items()]
    graph = helper.make_graph(nodes, "tiny", inputs, outputs, stored)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model, full_check=True)
    return model
