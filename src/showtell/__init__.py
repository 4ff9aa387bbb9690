"""showtell: captions for photos, from a CNN encoder and an LSTM decoder.

``from showtell import Captioner`` is the whole public entrance for captioning; it needs neither
PyTorch nor timm. Training, scoring and export live in their own rooms and import what they need.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

# ONNX Runtime, from 1.29 on, reports to its maker when it is imported, and leaves an identifier in
# the home folder. Photos are captioned offline: nothing is sent unless a person sets this to 0.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

__version__ = "0.1.0"
__all__ = ["Caption", "Captioner", "__version__"]

if TYPE_CHECKING:
    from showtell.captioner import Caption, Captioner


def __getattr__(name: str) -> Any:
    """Load the captioner only when asked for, so that `import showtell` stays instant."""
    if name in ("Caption", "Captioner"):
        from showtell import captioner

        return getattr(captioner, name)
    raise AttributeError(f"module 'showtell' has no attribute {name!r}")
