"""A trained model on disk (a bundle): manifest, loading, saving, registry of models."""

from __future__ import annotations

from showtell.bundle.bundle import (
    CARD,
    DECODER_BEGIN,
    DECODER_STEP,
    ENCODER,
    MANIFEST,
    REQUIRED,
    VOCABULARY,
    Bundle,
    load_bundle,
    save_bundle,
    sha256,
)
from showtell.bundle.manifest import (
    FORMAT_VERSION,
    DecoderInfo,
    DetectorInfo,
    EncoderInfo,
    Manifest,
    Precision,
    PrecisionInfo,
    ScoreInfo,
    SplitInfo,
    TrainingInfo,
)

__all__ = [
    "CARD",
    "DECODER_BEGIN",
    "DECODER_STEP",
    "ENCODER",
    "FORMAT_VERSION",
    "MANIFEST",
    "REQUIRED",
    "VOCABULARY",
    "Bundle",
    "DecoderInfo",
    "DetectorInfo",
    "EncoderInfo",
    "Manifest",
    "Precision",
    "PrecisionInfo",
    "ScoreInfo",
    "SplitInfo",
    "TrainingInfo",
    "load_bundle",
    "save_bundle",
    "sha256",
]
