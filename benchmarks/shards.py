"""How fast photos are read from shards and from loose files, and in how much memory.

    python benchmarks/shards.py --data DIR [--photos 6000] [--rounds 5] [--sizes 1000,10000,100000]

Photos per second over one epoch in shuffled order, in alternating rounds of one run. Shards compare
each photo's checksum.

- read, cold: the files are dropped from the page cache first, as for a set larger than memory.
- read, warm: the files are in the page cache.
- checked, warm: the checksums of loose files are compared too.
- prepared, warm: photos are also decoded to model input, as in training.

Memory: resident size of a fresh process for each set size, after the table is read and after all
photos are read. These shards repeat a few drawn photos.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from showtell.data import open_dataset
from showtell.data.dataset import Dataset
from showtell.data.shards.index import ShardIndex
from showtell.data.shards.write import write_shards
from showtell.data.synthetic.shapes import draw_shapes
from showtell.image import Preprocessing, open_photo, prepare

PREPROCESSING = Preprocessing()
Epoch = Callable[[int], Iterator[bytes]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, help="dataset with real photos; default: drawn photos")
    parser.add_argument("--photos", type=int, default=6000)
    parser.add_argument("--prepared", type=int, default=500, help="number of photos to decode")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--sizes", default="1000,10000,100000")
    parser.add_argument("--resident", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.resident:
        return print_resident(options.resident)
    with tempfile.TemporaryDirectory() as folder:
        compare_speed(options, Path(folder))
        compare_memory([int(size) for size in options.sizes.split(",")], Path(folder))
    return None


@dataclass(frozen=True)
class Measurement:
    """One line of the comparison: how loose files are read, and what is done with each photo."""

    name: str
    photos: int
    read_loose: Callable[[Dataset, int], Iterator[bytes]]
    cold: bool = False
    work: Callable[[bytes], None] | None = None


def compare_speed(options: argparse.Namespace, folder: Path) -> None:
    source = options.data or folder / "drawn"
    dataset = open_dataset(source) if options.data else draw_shapes(source, options.photos)
    photos = tuple(replace(photo, split="train") for photo in dataset.photos[: options.photos])
    loose = Dataset(dataset.root, dataset.layout, photos)
    start = time.perf_counter()
    index = write_shards(loose, folder / "shards")
    seconds = time.perf_counter() - start
    kilobytes = sum(shard.bytes for shard in index.shards) / len(photos) / 1000
    print(f"{len(photos):,} photos, {kilobytes:.0f} kB each, packed in {seconds:.1f} s")
    count = len(photos)
    for measurement in (
        Measurement("read, cold", count, read_photos, cold=True),
        Measurement("read, warm", count, read_photos),
        Measurement("checked, warm", count, read_and_hash),
        Measurement("prepared, warm", min(options.prepared, count), read_photos, work=prepared),
    ):
        compare_epochs(measurement, loose, index, options.rounds)


def compare_epochs(
    measurement: Measurement, loose: Dataset, index: ShardIndex, rounds: int
) -> None:
    packed = open_dataset(index.address)
    readers: list[Epoch] = [partial(measurement.read_loose, loose), partial(read_photos, packed)]
    files = [[Path(str(photo.path)) for photo in loose.photos], shard_files(index)]
    rates: list[list[float]] = [[], []]
    for epoch in range(rounds):
        for reader, own_files, own_rates in zip(readers, files, rates, strict=True):
            if measurement.cold:
                drop_from_page_cache(own_files)
            start = time.perf_counter()
            for _, data in zip(range(measurement.photos), reader(epoch), strict=False):
                if measurement.work:
                    measurement.work(data)
            own_rates.append(measurement.photos / (time.perf_counter() - start))
    loose_rate, shard_rate = map(statistics.median, rates)
    ratio = statistics.median(shards / files for files, shards in zip(*rates, strict=True))
    print(
        f"{measurement.name}: loose {loose_rate:,.0f} photos/s,"
        f" shards {shard_rate:,.0f} photos/s: {ratio:.2f} x"
    )


def read_photos(dataset: Dataset, epoch: int) -> Iterator[bytes]:
    for row in np.random.default_rng(epoch).permutation(len(dataset.photos)):
        yield dataset.photos[row].path.read_bytes()


def read_and_hash(dataset: Dataset, epoch: int) -> Iterator[bytes]:
    for data in read_photos(dataset, epoch):
        assert hashlib.sha256(data).hexdigest()
        yield data


def prepared(data: bytes) -> None:
    prepare(open_photo(data, preprocessing=PREPROCESSING), PREPROCESSING)


def shard_files(index: ShardIndex) -> list[Path]:
    folder = Path(index.address)
    return [folder / name for shard in index.shards for name in (shard.name, shard.table)]


def drop_from_page_cache(files: list[Path]) -> None:
    for path in files:
        handle = os.open(path, os.O_RDONLY)
        os.fsync(handle)
        os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(handle)


def compare_memory(sizes: list[int], folder: Path) -> None:
    drawn = draw_shapes(folder / "drawn-few", 16, size=64).photos
    for size in sizes:
        shards = folder / f"shards-{size}"
        photos = tuple(
            replace(drawn[number % 16], name=f"{number:07}.png", split="train")
            for number in range(size)
        )
        write_shards(Dataset(folder, "drawn", photos), shards)
        subprocess.run([sys.executable, __file__, "--resident", shards], check=True)


def print_resident(shards: Path) -> None:
    """Print this process's memory before and after it reads the table, and after all photos."""
    start = resident()
    dataset = open_dataset(shards)
    with_table = resident()
    for _ in read_photos(dataset, epoch=0):
        pass
    count = len(dataset.photos)
    print(
        f"{count:,} photos: {start:.0f} MiB at the start, {with_table:.0f} MiB with the table"
        f" ({(with_table - start) * 1024 / count:.1f} KiB per photo),"
        f" {resident() - with_table:.1f} MiB more after reading every photo"
    )


def resident() -> float:
    """Return this process's resident memory in MiB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


if __name__ == "__main__":
    main()
