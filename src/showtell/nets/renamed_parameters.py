"""Parameter names of earlier versions, as they stand in old checkpoints and bundles."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

_T = TypeVar("_T")

# One part of a dotted name: old to new. The shipped bundle's graphs hold the old names.
RENAMED_PARTS = {
    "inner": "base",
    "speak": "output_proj",
    "present": "global_logits",
    "local": "region_logits",
    "usual": "log_prior",
}


def current_name(name: str) -> str:
    """Return a parameter's current name; names of encoder parameters belong to timm and stay."""
    state, slash, parameter = name.rpartition("/")  # of an optimizer: `exp_avg/decoder.word.bias`
    if parameter.startswith("encoder."):
        return name
    parts = (RENAMED_PARTS.get(part, part) for part in parameter.split("."))
    return f"{state}{slash}{'.'.join(parts)}"


def with_current_names(tensors: Mapping[str, _T]) -> dict[str, _T]:
    """Return the tensors of a captioner's model or decoder by their current names."""
    return {current_name(name): tensor for name, tensor in tensors.items()}
