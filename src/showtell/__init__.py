"""showtell: captions for photos, from a CNN encoder and an LSTM decoder.

``from showtell import Captioner`` is the whole public entrance for captioning; it needs neither
PyTorch nor timm. Training, scoring and export live in their own rooms and import what they need.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

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
