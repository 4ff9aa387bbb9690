"""Shards of many photos: all of Flickr8k, and constant memory while photos are read."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from showtell.data import open_dataset
from showtell.data.check import check_dataset
from showtell.data.dataset import Dataset
from showtell.data.shards.write import write_shards
from showtell.data.synthetic.shapes import draw_shapes
from support.paths import ROOT

BENCHMARK = ROOT / "benchmarks" / "shards.py"


def growth_while_reading(folder: Path, size: int) -> float:
    """Return by how many MiB a process grows that reads every photo of a set in random order."""
    drawn = draw_shapes(folder / f"drawn-{size}", 16, size=32).photos
    photos = tuple(
        replace(drawn[number % 16], name=f"{number}.png", split="train") for number in range(size)
    )
    write_shards(Dataset(folder, "drawn", photos), folder / f"shards-{size}")
    result = subprocess.run(
        [sys.executable, BENCHMARK, "--resident", folder / f"shards-{size}"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stdout.startswith(f"{size:,} photos")
    growth = re.search(r"(-?[0-9.]+) MiB more after reading", result.stdout)
    assert growth
    return float(growth[1])


def test_reading_photos_does_not_add_to_the_memory_of_the_table(tmp_path: Path) -> None:
    assert growth_while_reading(tmp_path, 8000) < 10


@pytest.mark.slow
def test_reading_a_hundred_thousand_photos_does_not_add_to_the_memory_of_the_table(
    tmp_path: Path,
) -> None:
    assert growth_while_reading(tmp_path, 100_000) < 10


@pytest.mark.slow
@pytest.mark.shared
def test_flickr8k_in_shards_is_flickr8k(shared_dir: Path, tmp_path: Path) -> None:
    loose = open_dataset(shared_dir / "flickr8k")
    write_shards(loose, tmp_path / "shards")
    packed = open_dataset(tmp_path / "shards")
    assert packed.layout == loose.layout
    for split in ("train", "dev", "test"):
        for one, two in zip(loose.split(split), packed.split(split), strict=True):
            assert (one.name, one.captions) == (two.name, two.captions)
            assert one.path.read_bytes() == two.path.read_bytes()
    of_loose, of_packed = check_dataset(shared_dir / "flickr8k"), check_dataset(tmp_path / "shards")
    assert of_packed.ok
    assert (of_packed.captions, of_packed.words) == (of_loose.captions, of_loose.words)
