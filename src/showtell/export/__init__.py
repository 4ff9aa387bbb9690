"""Export: a training run becomes a bundle of ONNX graphs, checked against PyTorch."""

from __future__ import annotations

from showtell.export.run_to_bundle import Exported, cached_bundle, export

__all__ = ["Exported", "cached_bundle", "export"]
