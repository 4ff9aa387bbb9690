"""An encoder's weights, read from a file of whichever kind: safetensors, or Keras' HDF5.

Pickles are refused: opening one can run code, and every weight comes as safetensors too.
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
    """Parameters by timm's names, and what the file says of them."""

    state: dict[str, Tensor]
    metadata: dict[str, str] = field(default_factory=dict)
    of_keras: bool = False


def read_weights(path: Path, network: str) -> WeightsFile:
    """Read weights of timm's `network` from a file, its kind told by its first bytes.

    Raises TrainingError where the file is missing or of another kind, RecipeError where it holds
    Keras' weights of another network.
    """
    try:
        with path.open("rb") as file:
            head = file.read(len(MAGIC))
    except FileNotFoundError:
        raise TrainingError(
            f"{path}: no such file (encoder_weights takes hub, none or a file)"
        ) from None
    except OSError as error:
        raise TrainingError(f"{path}: cannot be read ({error_reason(error)})") from None
    if head == MAGIC:
        return WeightsFile(read_keras_weights(path, network), of_keras=True)
    if head.startswith((b"PK", b"\x80")):
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
    """Say what an archive or pickle is and what to give instead."""
    try:
        names = zipfile.ZipFile(path).namelist()
    except (zipfile.BadZipFile, OSError):
        names = []
    if "model.weights.h5" in names:
        return "a whole Keras model: save its weights alone, model.save_weights('x.weights.h5')"
    return (
        "a pickle, which can run code when it is opened: give the same weights as safetensors"
        " (timm publishes model.safetensors beside it)"
    )
