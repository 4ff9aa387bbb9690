"""A trained model on disk (a bundle): manifest, loading, saving, registry."""

from __future__ import annotations

from showtell.bundle.bundle import (
    CARD,
    DECODER_BEGIN,
    DECODER_STEP,
    ENCODER,
    FORMAT_VERSION,
    MANIFEST,
    REQUIRED,
    VOCABULARY,
    Bundle,
    Manifest,
    load_bundle,
    save_bundle,
    sha256,
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
    "Manifest",
    "load_bundle",
    "save_bundle",
    "sha256",
]
