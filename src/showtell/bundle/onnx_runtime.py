"""A bundle's networks on ONNX Runtime: the encoder, and a decoder for beam search."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from types import EllipsisType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from showtell.bundle import DECODER_BEGIN, DECODER_STEP, ENCODER, Bundle
from showtell.bundle.bundle import check_hash
from showtell.bundle.cpu_cores import usable_cores
from showtell.bundle.onnx_check import read_onnx
from showtell.decoding.beam_search import Arrays, Floats, Integers
from showtell.decoding.keywords import DETECTED
from showtell.errors import BundleError
from showtell.files.typed_settings import check_integer

if TYPE_CHECKING:
    import onnxruntime

MOST_THREADS = 8  # such small networks are not faster with more
LARGEST_THREADS = 256  # that a caller may ask for


Shape = tuple[int | EllipsisType, ...]  # `...` at the end: any further dimensions


class OnnxModel:
    """The three networks of a bundle; several threads may use one at the same time.

    Raises BundleError, naming the file, if it changed since it was written, could read other files,
    ONNX Runtime cannot load it, or it does not fit the manifest. Running a network raises
    BundleError too, if its results do not have the shapes that the manifest and the vocabulary
    promise.
    """

    def __init__(self, bundle: Bundle, *, threads: int | None = None) -> None:
        self.threads = threads if threads is not None else min(usable_cores(), MOST_THREADS)
        options = _session_options(self.threads)
        self._encoder = _Session(bundle, ENCODER, options)
        self._init_state = _Session(bundle, DECODER_BEGIN, options)
        self._step = _Session(bundle, DECODER_STEP, options)
        decoder = bundle.manifest.decoder
        self._memory: list[str] = list(decoder.memory)
        self._state: list[str] = list(decoder.state)
        self._attention = decoder.attention
        detector = bundle.manifest.encoder.detector
        self._detected = detector.words if detector else 0
        self._features = ["regions", "pooled", *([DETECTED] if detector else [])]
        self._init_state.check(set(self._features), [*self._memory, *self._state])
        self._step_outputs = ["log_probabilities", *(["attention"] if self._attention else [])]
        self._step_outputs += [f"next_{name}" for name in self._state]
        self._step.check({"tokens", *self._memory, *self._state}, self._step_outputs)
        self._encoder.check({"pixels"}, self._features)
        height, width = bundle.manifest.encoder.grid
        self._regions, self._channels = height * width, bundle.manifest.encoder.channels
        self._words = len(bundle.vocabulary)

    def encode(self, pixels: Floats) -> dict[str, Floats]:
        """Return the features of pixels, float32 [photos, 3, height, width].

        `regions` is [photos, regions, channels], `pooled` [photos, channels]; `detected` [photos,
        words] has the logits of detected words, where the model detects any. The network runs
        photo by photo: the activations of one photo fit into the CPU's cache, which is faster
        than a large batch and needs less memory.
        """
        names = self._features
        shapes: list[Shape] = [(1, self._regions, self._channels), (1, self._channels)]
        if self._detected:
            shapes.append((1, self._detected))
        parts = [
            self._encoder.run(names, {"pixels": pixels[photo : photo + 1]}, shapes)
            for photo in range(len(pixels))
        ]
        if len(parts) == 1:
            return dict(zip(names, parts[0], strict=True))
        joined = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
        return dict(zip(names, joined, strict=True))

    def init_state(self, features: Arrays) -> tuple[Arrays, Arrays]:
        """Return the decoder's memory and first state for features (see `beam_search.Decoder`)."""
        names = [*self._memory, *self._state]
        rows = len(features["pooled"])
        results = self._init_state.run(names, features, [(rows, ...)] * len(names))
        arrays = dict(zip(names, results, strict=True))
        memory = {name: arrays[name] for name in self._memory}
        return memory, {name: arrays[name] for name in self._state}

    def step(
        self, tokens: Integers, memory: Arrays, state: Arrays
    ) -> tuple[Floats, Floats | None, Arrays]:
        """Read one token per row (see `beam_search.Decoder`)."""
        rows = len(tokens)
        shapes: list[Shape] = [(rows, self._words)]
        shapes += [(rows, self._regions)] if self._attention else []
        shapes += [(rows, ...)] * len(self._state)
        outputs = self._step.run(self._step_outputs, {"tokens": tokens, **memory, **state}, shapes)
        attention = outputs[1] if self._attention else None
        return (
            outputs[0],
            attention,
            dict(zip(self._state, outputs[1 + self._attention :], strict=True)),
        )


class _Session:
    """One loaded ONNX file; it gets only the inputs that its graph uses."""

    def __init__(self, bundle: Bundle, name: str, options: onnxruntime.SessionOptions) -> None:
        import onnxruntime

        self.path = path = bundle.file(name)
        data = read_onnx(path)
        check_hash(path, hashlib.sha256(data).hexdigest(), bundle.path, bundle.manifest)
        try:
            # bytes, not a path: nothing beside the file can be found
            self._session = onnxruntime.InferenceSession(
                data,
                options,
                providers=["CPUExecutionProvider"],
                enable_fallback=0,
                read_config_from_model=0,
            )
        except Exception as error:  # ONNX Runtime's errors have no common base
            raise BundleError(
                f"{path}: ONNX Runtime cannot load it ({_short_reason(error)})"
            ) from error
        self._session._model_bytes = None  # else they stay in memory
        self._inputs = [item.name for item in self._session.get_inputs()]

    def check(self, inputs: set[str], outputs: list[str]) -> None:
        """Raise BundleError if the graph has other inputs or lacks an output."""
        unknown = set(self._inputs) - inputs
        missing = set(outputs) - {item.name for item in self._session.get_outputs()}
        if unknown or missing:
            wrong = [f"takes {name!r}" for name in sorted(unknown)]
            wrong += [f"lacks the output {name!r}" for name in sorted(missing)]
            raise BundleError(f"{self.path}: does not fit its manifest: {', '.join(wrong)}")

    def run(
        self, outputs: list[str], arrays: Arrays, shapes: Sequence[Shape]
    ) -> list[NDArray[Any]]:
        """Return the outputs, whose shapes must be these."""
        try:
            results: list[NDArray[Any]] = self._session.run(
                outputs, {name: np.ascontiguousarray(arrays[name]) for name in self._inputs}
            )
        except Exception as error:  # such as an input of another shape than the graph's
            raise BundleError(f"{self.path}: does not run ({_short_reason(error)})") from error
        for name, result, shape in zip(outputs, results, shapes, strict=True):
            if not _fits(result, shape):
                given = list(result.shape) if isinstance(result, np.ndarray) else type(result)
                raise BundleError(
                    f"{self.path}: does not fit its manifest and vocabulary: the shape of {name!r}"
                    f" is {given}, not {[*shape]}".replace("Ellipsis", "...")
                )
        return results


def _fits(result: object, shape: Shape) -> bool:
    """Return whether an output has a shape; one with all its dimensions is float32 too."""
    if not isinstance(result, np.ndarray):
        return False
    if shape[-1] is ...:
        return bool(result.shape[:1] == shape[:1])
    return bool(result.shape == shape and result.dtype == np.float32)


def _session_options(threads: int) -> onnxruntime.SessionOptions:
    import onnxruntime

    check_integer("threads", threads, most=LARGEST_THREADS)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = int(threads)
    options.inter_op_num_threads = 1
    options.log_severity_level = 4  # errors are raised, and their lines would reach the terminal
    # waiting threads that spin would take cores from the threads that open photos
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.load_model_format", "ONNX")
    return options


def _short_reason(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
