"""The parity check of an export: the float32 bundle must agree with the PyTorch model.

Log-probabilities must agree; captions that are equal are only counted. Bundles in a smaller
precision are not compared.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch

from showtell.bundle import Bundle
from showtell.bundle.onnx_runtime import OnnxModel
from showtell.data import Dataset
from showtell.decoding.beam_search import (
    Arrays,
    Decoder,
    Floats,
    Hypothesis,
    Integers,
    beam_search,
)
from showtell.decoding.options import DecodingDefaults
from showtell.errors import ExportError
from showtell.nets.model import CaptionModel, TorchDecoder
from showtell.pipeline import pixel_batches
from showtell.training.run_folder import TrainedRun
from showtell.vocabulary import END, START

logger = logging.getLogger(__name__)

TOLERANCE = 1e-3  # largest difference of log-probabilities between PyTorch and float32 ONNX
DEV_PHOTOS = 64  # photos that are compared
BATCH_SIZE = 16
NOISE_IMAGES = 8
_UNLIKELY = -12.0  # log-probability of a word that is never chosen: one in 160,000


@dataclass(frozen=True)
class Parity:
    """How an exported model compares with PyTorch."""

    photos: int
    same_captions: int
    largest_difference: float  # of log-probabilities, along PyTorch's captions


class EncoderAndDecoder(Decoder, Protocol):
    """A whole captioning model."""

    def encode(self, pixels: Floats) -> Arrays:
        """Return the features of pixels [photos, 3, height, width]."""
        ...


def check_parity(trained: TrainedRun, bundle: Bundle, dataset: Dataset | None) -> Parity:
    """Compare a float32 bundle with PyTorch.

    The inputs are the first dev photos of `dataset`, or noise without one.

    Raises ExportError where a log-probability differs by more than `TOLERANCE` or is not a
    number, a model writes no caption, or no dev photo can be read.
    """
    preprocessing = bundle.manifest.preprocessing
    if dataset is None:
        shape = (NOISE_IMAGES, 3, preprocessing.height, preprocessing.width)
        batches: Iterable[Floats] = [np.random.default_rng(0).normal(size=shape).astype(np.float32)]
    else:
        batches = _dev_pixels(bundle, dataset)
    torch_model, onnx_model = TorchModel(trained.model), OnnxModel(bundle)
    parity = compare(torch_model, onnx_model, batches, bundle.manifest.decoding, trained.path)
    if dataset is not None and not parity.photos:
        raise ExportError(f"{dataset.root}: no dev photo can be read, so nothing can be checked")
    return parity


def compare(
    torch_model: EncoderAndDecoder,
    onnx_model: EncoderAndDecoder,
    batches: Iterable[Floats],
    decoding: DecodingDefaults,
    run: Path,
) -> Parity:
    """Compare two models on batches of pixels [photos, 3, height, width].

    Raises ExportError, naming `run`, as `check_parity` does.
    """
    photos = same_captions = 0
    largest = 0.0
    for pixels in batches:
        expected, exported = torch_model.encode(pixels), onnx_model.encode(pixels)
        captions = _best(torch_model, expected, decoding)
        if captions is None:
            raise ExportError(f"{run}: the model writes no caption: its weights are not finite")
        difference = _largest_difference(
            torch_model, onnx_model, expected, exported, [caption.tokens for caption in captions]
        )
        if not difference <= TOLERANCE:  # also true for NaN
            raise ExportError(
                f"{run}: ONNX differs from PyTorch by {difference:.2g} in log-probability"
                f" (at most {TOLERANCE:g}): not exported"
            )
        onnx_captions = _best(onnx_model, exported, decoding)
        if onnx_captions is None:
            raise ExportError(f"{run}: ONNX writes no caption where PyTorch does: not exported")
        largest = max(largest, difference)
        photos += len(pixels)
        same_captions += sum(
            one.tokens == other.tokens for one, other in zip(captions, onnx_captions, strict=True)
        )
    return Parity(photos, same_captions, largest)


class TorchModel:
    """A PyTorch model with the interface of `OnnxModel`: NumPy arrays in and out."""

    def __init__(self, model: CaptionModel) -> None:
        self._encoder = model.encoder
        self._decoder = TorchDecoder(model.decoder)

    def encode(self, pixels: Floats) -> Arrays:
        """Return the features of pixels [photos, 3, height, width]."""
        with torch.inference_mode():
            features = self._encoder(torch.from_numpy(pixels))
        return {name: array.numpy() for name, array in features.items()}

    def init_state(self, features: Arrays) -> tuple[Arrays, Arrays]:
        """Return memory and first state (see `Decoder`)."""
        return self._decoder.init_state(features)

    def step(
        self, tokens: Integers, memory: Arrays, state: Arrays
    ) -> tuple[Floats, Floats | None, Arrays]:
        """Read one token per row (see `Decoder`)."""
        return self._decoder.step(tokens, memory, state)


def _dev_pixels(bundle: Bundle, dataset: Dataset) -> Iterator[Floats]:
    paths = (photo.path for photo in dataset.split("dev")[:DEV_PHOTOS])
    for batch in pixel_batches(paths, bundle.manifest.preprocessing, batch_size=BATCH_SIZE):
        for photo in batch.unreadable:
            logger.warning("left out: %s", photo.error)
        if batch.pixels is not None:
            yield batch.pixels


def _best(
    model: EncoderAndDecoder, features: Arrays, decoding: DecodingDefaults
) -> list[Hypothesis] | None:
    """Return each photo's best caption, or None if a photo has none."""
    hypotheses = beam_search(model, features, **asdict(decoding))
    return [photo[0] for photo in hypotheses] if all(hypotheses) else None


def _largest_difference(
    torch_model: Decoder,
    onnx_model: Decoder,
    torch_features: Arrays,
    onnx_features: Arrays,
    captions: Sequence[Sequence[int]],
) -> float:
    """Return the largest difference of log-probabilities along captions; NaN if one is NaN."""
    steps = max(map(len, captions)) + 1
    tokens = np.full((len(captions), steps), END)
    tokens[:, 0] = START
    for row, caption in enumerate(captions):
        tokens[row, 1 : len(caption) + 1] = caption
    torch_memory, torch_state = torch_model.init_state(torch_features)
    onnx_memory, onnx_state = onnx_model.init_state(onnx_features)
    largest = 0.0
    for step in range(steps):
        expected, _, torch_state = torch_model.step(tokens[:, step], torch_memory, torch_state)
        exported, _, onnx_state = onnx_model.step(tokens[:, step], onnx_memory, onnx_state)
        likely = ~(expected <= _UNLIKELY)  # NaN counts as likely
        difference = np.abs(expected - exported)[likely]
        largest = float(np.maximum(largest, difference.max(initial=0.0)))  # NaN stays NaN
    return largest
