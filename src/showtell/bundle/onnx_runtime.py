"""A bundle's networks on ONNX Runtime: the encoder, and a decoder for beam search."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from showtell.bundle import DECODER_BEGIN, DECODER_STEP, ENCODER, Bundle
from showtell.bundle.cpu_cores import usable_cores
from showtell.decoding.beam_search import Arrays, Floats, Integers
from showtell.errors import BundleError

if TYPE_CHECKING:
    import onnxruntime

MOST_THREADS = 8  # such small networks are not faster with more


class OnnxModel:
    """The three networks of a bundle; several threads may use one at the same time.

    Raises BundleError, naming the file, if ONNX Runtime cannot load one or it does not fit the
    manifest.
    """

    def __init__(self, bundle: Bundle, *, threads: int | None = None) -> None:
        import onnxruntime

        self.threads = threads if threads is not None else min(usable_cores(), MOST_THREADS)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self.threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        # waiting threads that spin would take cores from the threads that open photos
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._encoder = _Session(bundle.file(ENCODER), options)
        self._init_state = _Session(bundle.file(DECODER_BEGIN), options)
        self._step = _Session(bundle.file(DECODER_STEP), options)
        decoder = bundle.manifest.decoder
        self._memory: list[str] = list(decoder.memory)
        self._state: list[str] = list(decoder.state)
        self._attention = decoder.attention
        self._init_state.check({"regions", "pooled"}, [*self._memory, *self._state])
        self._step_outputs = ["log_probabilities", *(["attention"] if self._attention else [])]
        self._step_outputs += [f"next_{name}" for name in self._state]
        self._step.check({"tokens", *self._memory, *self._state}, self._step_outputs)
        self._encoder.check({"pixels"}, ["regions", "pooled"])

    def encode(self, pixels: Floats) -> dict[str, Floats]:
        """Return the features of pixels, float32 [photos, 3, height, width].

        `regions` is [photos, regions, channels], `pooled` [photos, channels]. The network runs
        photo by photo: the activations of one photo fit into the CPU's cache, which is faster
        than a large batch and needs less memory.
        """
        names = ["regions", "pooled"]
        parts = [
            self._encoder.run(names, {"pixels": pixels[photo : photo + 1]})
            for photo in range(len(pixels))
        ]
        if len(parts) == 1:
            return dict(zip(names, parts[0], strict=True))
        joined = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
        return dict(zip(names, joined, strict=True))

    def init_state(self, features: Arrays) -> tuple[Arrays, Arrays]:
        """Return the decoder's memory and first state for features (see `beam_search.Decoder`)."""
        names = [*self._memory, *self._state]
        arrays = dict(zip(names, self._init_state.run(names, features), strict=True))
        memory = {name: arrays[name] for name in self._memory}
        return memory, {name: arrays[name] for name in self._state}

    def step(
        self, tokens: Integers, memory: Arrays, state: Arrays
    ) -> tuple[Floats, Floats | None, Arrays]:
        """Read one token per row (see `beam_search.Decoder`)."""
        outputs = self._step.run(self._step_outputs, {"tokens": tokens, **memory, **state})
        attention = outputs[1] if self._attention else None
        return (
            outputs[0],
            attention,
            dict(zip(self._state, outputs[1 + self._attention :], strict=True)),
        )


class _Session:
    """One loaded ONNX file; it gets only the inputs that its graph uses."""

    def __init__(self, path: Path, options: onnxruntime.SessionOptions) -> None:
        import onnxruntime

        self.path = path
        try:
            self._session = onnxruntime.InferenceSession(
                os.fspath(path), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # ONNX Runtime's errors have no common base
            reason = " ".join(str(error).split())[:200]
            raise BundleError(f"{path}: ONNX Runtime cannot load it ({reason})") from error
        self._inputs = [item.name for item in self._session.get_inputs()]

    def check(self, inputs: set[str], outputs: list[str]) -> None:
        """Raise BundleError if the graph has other inputs or lacks an output."""
        unknown = set(self._inputs) - inputs
        missing = set(outputs) - {item.name for item in self._session.get_outputs()}
        if unknown or missing:
            wrong = [f"takes '{name}'" for name in sorted(unknown)]
            wrong += [f"lacks the output '{name}'" for name in sorted(missing)]
            raise BundleError(f"{self.path}: does not fit its manifest: {', '.join(wrong)}")

    def run(self, outputs: list[str], arrays: Arrays) -> list[NDArray[Any]]:
        results: list[NDArray[Any]] = self._session.run(
            outputs, {name: np.ascontiguousarray(arrays[name]) for name in self._inputs}
        )
        return results
