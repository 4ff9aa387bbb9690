"""Shards of many photos: Flickr8k whole, and memory that does not grow with their number."""

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
from showtell.data.shards.stream import ShardStream
from showtell.data.shards.write import write_shards
from showtell.data.synthetic.shapes import draw_shapes

BENCHMARK = Path(__file__).resolve().parents[3] / "benchmarks" / "shards.py"


def peak_of_streaming(folder: Path, size: int) -> float:
    """Return the most memory, in MiB, that a process held that streamed so many drawn photos."""
    few = draw_shapes(folder / f"few-{size}", 16, size=32).photos
    photos = tuple(
        replace(few[number % 16], name=f"{number}.png", split="train") for number in range(size)
    )
    write_shards(Dataset(folder, "drawn", photos), folder / f"of-{size}")
    done = subprocess.run(
        [sys.executable, BENCHMARK, "--resident", folder / f"of-{size}"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.startswith(f"{size:,} photos streamed")
    peak = re.search(r"at most (\d+);", done.stdout)
    assert peak
    return float(peak[1])


def test_memory_stays_flat_from_a_thousand_photos_to_eight_thousand(tmp_path: Path) -> None:
    assert peak_of_streaming(tmp_path, 8000) < peak_of_streaming(tmp_path, 1000) + 15


@pytest.mark.slow
def test_memory_stays_flat_to_a_hundred_thousand_photos(tmp_path: Path) -> None:
    assert peak_of_streaming(tmp_path, 100_000) < peak_of_streaming(tmp_path, 1000) + 15


@pytest.mark.slow
@pytest.mark.shared
def test_flickr8k_in_shards_is_flickr8k(shared_dir: Path, tmp_path: Path) -> None:
    loose = open_dataset(shared_dir / "flickr8k")
    index = write_shards(loose, tmp_path / "shards")
    packed = open_dataset(tmp_path / "shards")
    assert packed.layout == loose.layout
    for split in ("train", "dev", "test"):
        for one, two in zip(loose.split(split), packed.split(split), strict=True):
            assert (one.name, one.captions) == (two.name, two.captions)
            assert one.path.read_bytes() == two.path.read_bytes()
    of_loose, of_packed = check_dataset(shared_dir / "flickr8k"), check_dataset(tmp_path / "shards")
    assert of_packed.ok
    assert (of_packed.captions, of_packed.words) == (of_loose.captions, of_loose.words)
    seen = [
        sample.number
        for rank in range(3)
        for sample in ShardStream(index, "train", rank=rank, ranks=3)
    ]
    assert sorted(seen) == list(range(index.photos("train")))
