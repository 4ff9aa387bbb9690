"""Disables dropout when imported, because its noise depends on how ranks divide a batch."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn


def identity(values: torch.Tensor, *rest: Any, **more: Any) -> torch.Tensor:
    return values


nn.functional.dropout = identity
nn.Dropout.forward = lambda self, values: values  # type: ignore[method-assign]
