"""Imported, it takes dropout away, whose draws hang on how a batch is parted among ranks."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn


def as_it_is(values: torch.Tensor, *rest: Any, **more: Any) -> torch.Tensor:
    return values


nn.functional.dropout = as_it_is
nn.Dropout.forward = lambda self, values: values  # type: ignore[method-assign]
