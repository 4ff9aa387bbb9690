from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from showtell.image_formats.quiet_libtiff import silence_libtiff
from support.odd_photos import corners
from support.plain_tiffs import plain_tiff


def write_damaged_tiffs(folder: Path) -> list[Path]:
    """Write TIFFs about which libtiff, Pillow or numpy print something of their own."""
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8))
    damaged = []
    for kind in ("tiff_lzw", "tiff_adobe_deflate", "jpeg", "group4", "packbits"):
        buffer = io.BytesIO()
        noise.convert("1" if kind == "group4" else "RGB").save(buffer, "TIFF", compression=kind)
        data = bytearray(buffer.getvalue())
        for place in range(100, 140):
            data[place] ^= 0x5A
        damaged += [bytes(data), bytes(data[: len(data) // 2])]
    nans = bytes([0xFF, 0xFF, 0xBF, 0x7F]) * 64  # signalling
    huge = np.full((8, 8), 1e300).tobytes()
    tags = {256: 8, 257: 8, 259: 1, 262: 1, 278: 8, 339: 3}
    damaged += [plain_tiff({**tags, 258: 32}, nans), plain_tiff({**tags, 258: 64}, huge)]
    paths = []
    for number, data in enumerate(damaged):
        paths.append(folder / f"damaged{number}.tif")
        paths[-1].write_bytes(data)
    return paths


def test_command_line_prints_only_its_own_lines_about_damaged_tiffs(tmp_path: Path) -> None:
    paths = write_damaged_tiffs(tmp_path)
    good = tmp_path / "good.png"
    corners().save(good)
    run = subprocess.run(
        [sys.executable, "-m", "showtell", "caption", *paths, good],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    errors = [line for line in run.stderr.splitlines() if not line[:1].isdigit()]
    assert all(line.startswith(f"showtell: {tmp_path}") for line in errors), run.stderr
    assert len(errors) >= 6
    assert str(good) in run.stdout


def test_libtiff_that_is_hidden_in_pillow_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ctypes.CDLL", lambda path: object())
    silence_libtiff.cache_clear()
    silence_libtiff()
    silence_libtiff.cache_clear()
