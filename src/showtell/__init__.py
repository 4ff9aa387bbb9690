"""showtell writes captions for photos, with a CNN encoder and an LSTM decoder.

`from showtell import Captioner` is all that captioning needs; it works without PyTorch. Training,
scoring, export and the services are in folders of their own, which import what they need.
"""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING, Any

from showtell.errors import (
    BundleError,
    CatalogueError,
    DatasetError,
    DocumentError,
    ExportError,
    MetadataError,
    MissingExtraError,
    PhotoError,
    RecipeError,
    ShowtellError,
    TrainingError,
)

if TYPE_CHECKING:
    from showtell.caption import Alternative, Caption, Keyword, Word
    from showtell.captioner import Captioner, Photo, Strategy

# ONNX Runtime 1.29 and later sends telemetry and writes an identifier to the home folder on
# import. Captioning is offline, so it is off unless the user sets this variable to 0.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

__version__ = "0.1.0"
__all__ = [
    "Alternative",
    "BundleError",
    "Caption",
    "Captioner",
    "CatalogueError",
    "DatasetError",
    "DocumentError",
    "ExportError",
    "Keyword",
    "MetadataError",
    "MissingExtraError",
    "Photo",
    "PhotoError",
    "RecipeError",
    "ShowtellError",
    "Strategy",
    "TrainingError",
    "Word",
    "__version__",
]

_LAZY = {
    "Alternative": "showtell.caption",
    "Caption": "showtell.caption",
    "Captioner": "showtell.captioner",
    "Keyword": "showtell.caption",
    "Photo": "showtell.captioner",
    "Strategy": "showtell.captioner",
    "Word": "showtell.caption",
}


def __getattr__(name: str) -> Any:
    """Import the captioner on first use, so that `import showtell` is instant."""
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'showtell' has no attribute {name!r}")
