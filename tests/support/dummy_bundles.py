"""Bundles that load but cannot caption: their ONNX files are a few bytes of nothing."""

from __future__ import annotations

import os
from pathlib import Path

from showtell.bundle import (
    CARD,
    MANIFEST,
    REQUIRED,
    VOCABULARY,
    DecoderInfo,
    EncoderInfo,
    Manifest,
    PrecisionInfo,
    ScoreInfo,
    save_bundle,
)
from showtell.image import Preprocessing
from showtell.vocabulary import SPECIAL_WORDS, Vocabulary


def write_dummy_bundle(target: Path, name: str = "dummy", size: int = 2000) -> Path:
    """Write a bundle whose files hold random bytes; returns its folder."""
    manifest = Manifest(
        name=name,
        encoder=EncoderInfo(network="none", grid=(7, 7), channels=8),
        decoder=DecoderInfo(kind="attention", memory=(), state=(), attention=True),
        preprocessing=Preprocessing(),
        scores=(ScoreInfo(split="dev", beam=3, scorer="coco", bleu_4=20.0, cider=52.04),),
        precision=PrecisionInfo("float16", "int8"),
        terms="for tests",
    )
    files = {file: os.urandom(size) for file in REQUIRED}
    files[VOCABULARY] = Vocabulary((*SPECIAL_WORDS, "dog")).to_json().encode()
    files[CARD] = f"# {name}\n\nA model of nothing.\n".encode()
    save_bundle(target, manifest, dict(files))
    return target


def bundle_files(folder: Path) -> dict[str, bytes]:
    """Return name -> bytes of a bundle's files, manifest first."""
    names = [MANIFEST, *sorted(REQUIRED)]
    return {name: (folder / name).read_bytes() for name in names}
