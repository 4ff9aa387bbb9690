"""Reads encoder weights from safetensors files and from Keras' HDF5 files.

Pickles are refused, because loading one can run code.
"""

from __future__ import annotations

import zipfile
from dataclasses import dataclass, field
from pathlib import Path

from safetensors import SafetensorError, safe_open
from torch import Tensor

from showtell.errors import TrainingError
from showtell.files.os_errors import error_reason
from showtell.nets.keras_weights import MAGIC, read_keras_weights


@dataclass(frozen=True)
class WeightsFile:
    """Parameters by timm's names, and the metadata of the file."""

    state: dict[str, Tensor]
    metadata: dict[str, str] = field(default_factory=dict)
    of_keras: bool = False


def read_weights(path: Path, network: str) -> WeightsFile:
    """Read weights of timm's `network`; the first bytes of the file tell its format.

    Raises TrainingError where the file is missing or has another format, and RecipeError where it
    holds Keras' weights of another network.
    """
    try:
        with path.open("rb") as file:
            head = file.read(9)
    except FileNotFoundError:
        raise TrainingError(
            f"{path}: no such file (encoder_weights takes hub, none or a file)"
        ) from None
    except OSError as error:
        raise TrainingError(f"{path}: cannot be read ({error_reason(error)})") from None
    if head.startswith(MAGIC):
        return WeightsFile(read_keras_weights(path, network), of_keras=True)
    # safetensors starts with the header's length in 8 bytes, any bytes, and a JSON object
    is_safetensors = head[8:9] == b"{"
    if not is_safetensors and head.startswith((b"PK", b"\x80")):
        raise TrainingError(f"{path}: {_refusal(path)}")
    try:
        with safe_open(path, framework="pt") as tensors:
            metadata = tensors.metadata() or {}
            state = {key: tensors.get_tensor(key) for key in tensors.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise TrainingError(
            f"{path}: neither a safetensors file ({error}) nor Keras' HDF5"
        ) from None
    return WeightsFile(state, metadata)


def _refusal(path: Path) -> str:
    """Return the message for an archive or pickle, with what to use instead."""
    try:
        names = zipfile.ZipFile(path).namelist()
    except (zipfile.BadZipFile, OSError):
        names = []
    if "model.weights.h5" in names:
        return "a whole Keras model: save only its weights, model.save_weights('x.weights.h5')"
    return (
        "a pickle, which can run code when it is loaded: use the same weights as safetensors"
        " (timm publishes model.safetensors with it)"
    )
