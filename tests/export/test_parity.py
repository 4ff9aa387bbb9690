"""The parity check notices every difference between PyTorch and the exported model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from showtell.data import CaptionedPhoto, Dataset
from showtell.decoding.beam_search import Arrays, Floats, Integers
from showtell.decoding.options import DecodingDefaults
from showtell.errors import ExportError
from showtell.export.calibration import fit_confidence
from showtell.export.parity import Parity, compare
from support.fixed_decoders import SeededDecoder
from support.tiny_bundles import write_bundle

PIXELS = np.float32([[[[0.0]]], [[[1.0]]]])  # two photos; a photo's only pixel is its number


class Model(SeededDecoder):
    """A decoder with an encoder; `value` replaces all log-probabilities from step `after` on."""

    def __init__(self, value: float | None = None, after: int = 0, shift: float = 0.0) -> None:
        super().__init__(spread=2.0)
        self.value, self.after, self.shift = value, after, shift

    def encode(self, pixels: Floats) -> Arrays:
        return {"pooled": pixels[:, 0, 0]}

    def step(
        self, tokens: Integers, memory: Arrays, state: Arrays
    ) -> tuple[Floats, Floats | None, Arrays]:
        log_probabilities, attention, next_state = super().step(tokens, memory, state)
        if self.value is not None and state["prefix"].shape[1] >= self.after:
            log_probabilities = np.full_like(log_probabilities, self.value)
        return log_probabilities + np.float32(self.shift), attention, next_state


def run_compare(torch_model: Model, onnx_model: Model, batches: list[Floats]) -> Parity:
    return compare(torch_model, onnx_model, batches, DecodingDefaults(max_length=6), Path("run"))


def test_equal_models_have_equal_captions() -> None:
    parity = run_compare(Model(), Model(), [PIXELS, PIXELS])
    assert parity == Parity(photos=4, same_captions=4, largest_difference=0.0)


def test_small_differences_are_reported() -> None:
    parity = run_compare(Model(), Model(shift=5e-4), [PIXELS])
    assert parity.largest_difference == pytest.approx(5e-4, rel=0.01)


@pytest.mark.parametrize("after", [0, 1])
def test_nan_from_onnx_is_a_difference(after: int) -> None:
    with pytest.raises(ExportError, match="run: ONNX differs from PyTorch by nan"):
        run_compare(Model(), Model(float("nan"), after), [PIXELS])


def test_large_and_infinite_differences_are_refused() -> None:
    with pytest.raises(ExportError, match=r"differs from PyTorch by 0\.5"):
        run_compare(Model(), Model(shift=0.5), [PIXELS])
    with pytest.raises(ExportError, match="differs from PyTorch by inf"):
        run_compare(Model(), Model(-np.inf), [PIXELS])


def test_model_without_captions_is_an_export_error() -> None:
    with pytest.raises(ExportError, match="writes no caption: its weights are not finite"):
        run_compare(Model(float("nan")), Model(float("nan")), [PIXELS])


def test_no_readable_dev_photo_is_an_export_error(tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "bundle")
    (tmp_path / "a.jpg").write_bytes(b"not a photo")
    photos = (CaptionedPhoto("a.jpg", tmp_path / "a.jpg", ("a dog runs",), "dev"),)
    with pytest.raises(ExportError, match="no dev photo can be captioned"):
        fit_confidence(bundle, Dataset(tmp_path, "test", photos))
