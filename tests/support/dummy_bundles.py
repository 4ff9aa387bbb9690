"""Bundles of any size, which differ in every byte: tiny networks, padded at random."""

from __future__ import annotations

import functools
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
from support.tiny_bundles import CHANNELS, GRID, SIZE, WORDS, tiny_networks


def write_dummy_bundle(target: Path, name: str = "dummy", size: int = 2000) -> Path:
    """Write a bundle whose networks have at least `size` bytes; returns its folder."""
    manifest = Manifest(
        name=name,
        encoder=EncoderInfo(network="none", grid=GRID, channels=CHANNELS),
        decoder=DecoderInfo(
            kind="attention",
            memory=("looked_at", "unused"),
            state=("hidden", "count"),
            attention=True,
        ),
        preprocessing=Preprocessing(height=SIZE, width=SIZE),
        scores=(ScoreInfo(split="dev", beam=3, scorer="coco", bleu_4=20.0, cider=52.04),),
        precision=PrecisionInfo("float16", "int8"),
        terms="for tests",
    )
    files = {file: network + _padding(size) for file, network in _networks().items()}
    files[VOCABULARY] = Vocabulary((*SPECIAL_WORDS, *WORDS)).to_json().encode()
    files[CARD] = f"# {name}\n\nA model of nothing.\n".encode()
    save_bundle(target, manifest, dict(files))
    return target


@functools.cache
def _networks() -> dict[str, bytes]:
    return {name: network.SerializeToString() for name, network in tiny_networks().items()}


def _padding(size: int) -> bytes:
    """Return random bytes as field 1000 of a protobuf message, which readers skip."""
    return b"\xc2\x3e" + _varint(size) + os.urandom(size)


def _varint(number: int) -> bytes:
    low, high = number & 0x7F, number >> 7
    return bytes([low | 0x80]) + _varint(high) if high else bytes([low])


def bundle_files(folder: Path) -> dict[str, bytes]:
    """Return name -> bytes of a bundle's files, manifest first."""
    names = [MANIFEST, *sorted(REQUIRED)]
    return {name: (folder / name).read_bytes() for name in names}
