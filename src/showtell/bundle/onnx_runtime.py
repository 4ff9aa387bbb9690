"""A bundle's networks on ONNX Runtime: the encoder, and a decoder for beam search."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from showtell.bundle import DECODER_BEGIN, DECODER_STEP, ENCODER, Bundle
from showtell.decoding.beam_search import Arrays, Floats, Integers
from showtell.errors import BundleError

if TYPE_CHECKING:
    import onnxruntime

MOST_THREADS = 8  # networks this small gain nothing from more


class OnnxModel:
    """The three sessions of a bundle; safe to use from several threads at once."""

    def __init__(self, bundle: Bundle, *, threads: int | None = None) -> None:
        import onnxruntime

        self.threads = threads if threads is not None else min(usable_cores(), MOST_THREADS)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self.threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        # Threads that spin while they wait take the cores from those that decode photos.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._encoder = _Session(bundle.file(ENCODER), options)
        self._begin = _Session(bundle.file(DECODER_BEGIN), options)
        self._step = _Session(bundle.file(DECODER_STEP), options)
        decoder = bundle.manifest.decoder
        self._memory: list[str] = list(decoder.memory)
        self._state: list[str] = list(decoder.state)
        self._attention = decoder.attention
        self._begin.check({"regions", "pooled"}, [*self._memory, *self._state])
        self._stepped = ["log_probabilities", *(["attention"] if self._attention else [])]
        self._stepped += [f"next_{name}" for name in self._state]
        self._step.check({"tokens", *self._memory, *self._state}, self._stepped)
        self._encoder.check({"pixels"}, ["regions", "pooled"])

    def encode(self, pixels: Floats) -> dict[str, Floats]:
        """Turn pixels [photos, 3, height, width] into `regions` and `pooled`.

        A batch goes through the network photo by photo: the activations of one stay in the cache,
        which is faster than a large batch, and no more than one photo's take memory.
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
        """Turn features into the decoder's memory and first state (see `decode.Decoder`)."""
        names = [*self._memory, *self._state]
        arrays = dict(zip(names, self._begin.run(names, features), strict=True))
        memory = {name: arrays[name] for name in self._memory}
        return memory, {name: arrays[name] for name in self._state}

    def step(
        self, tokens: Integers, memory: Arrays, state: Arrays
    ) -> tuple[Floats, Floats | None, Arrays]:
        """Read one token per row (see `decode.Decoder`)."""
        found = self._step.run(self._stepped, {"tokens": tokens, **memory, **state})
        attention = found[1] if self._attention else None
        return (
            found[0],
            attention,
            dict(zip(self._state, found[1 + self._attention :], strict=True)),
        )


class _Session:
    """One ONNX file, loaded; it is fed only the inputs that its graph uses."""

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
        """Refuse a graph that does not fit the bundle contract, by name."""
        unknown = set(self._inputs) - inputs
        missing = set(outputs) - {item.name for item in self._session.get_outputs()}
        if unknown or missing:
            wrong = [f"takes '{name}'" for name in sorted(unknown)]
            wrong += [f"lacks the output '{name}'" for name in sorted(missing)]
            raise BundleError(f"{self.path}: does not fit its manifest: {', '.join(wrong)}")

    def run(self, outputs: list[str], arrays: Arrays) -> list[NDArray[Any]]:
        found: list[NDArray[Any]] = self._session.run(
            outputs, {name: np.ascontiguousarray(arrays[name]) for name in self._inputs}
        )
        return found


def usable_cores() -> int:
    """Return how many physical cores this process may use: affinity, hyper-threads and quota."""
    try:
        allowed = os.sched_getaffinity(0)
    except AttributeError:  # not Linux
        return max(1, (os.cpu_count() or 2) // 2)
    cores = set()
    for cpu in allowed:
        siblings = Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list")
        try:
            cores.add(siblings.read_text())
        except OSError:
            cores.add(str(cpu))
    count = len(cores)
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        if quota != "max":
            count = min(count, round(int(quota) / int(period)))
    except (OSError, ValueError):
        pass
    return max(1, count)
