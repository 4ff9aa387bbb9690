"""Export: a training run to a bundle of ONNX graphs, checked against PyTorch."""

from __future__ import annotations

from showtell.export.run_to_bundle import Exported, ExportError, cached_bundle, export

__all__ = ["ExportError", "Exported", "cached_bundle", "export"]
