"""How fast shards are read beside loose files, and in how much memory.

    python benchmarks/shards.py --data DIR [--photos 6000] [--rounds 5] [--sizes 1000,10000,100000]

Photos per second of one epoch in shuffled order, in alternating rounds of one run: loose files,
read and nothing else, beside a stream of shards, which compares each photo's checksum and brings
its captions. Cold: the files were put out of the system's memory before, as is a set that is
larger than memory. Checked: loose files' checksums are compared too. Prepared: decoded to a
model's input besides, as training does it.

Memory: resident, of a fresh process for each size of set, after some thousand photos, and at its
peak; the shards are of drawn photos, the same few again and again.
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
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from showtell.data import open_dataset
from showtell.data.dataset import Dataset
from showtell.data.shards.index import ShardIndex, open_index
from showtell.data.shards.stream import ShardStream
from showtell.data.shards.write import write_shards
from showtell.data.synthetic.shapes import draw_shapes
from showtell.image import Preprocessing, open_photo, prepare

PREPROCESSING = Preprocessing()
Epoch = Callable[[int], Iterator[object]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, help="dataset with real photos; drawn without it")
    parser.add_argument("--photos", type=int, default=6000)
    parser.add_argument("--prepared", type=int, default=500, help="photos that are decoded too")
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


def compare_speed(options: argparse.Namespace, folder: Path) -> None:
    source = options.data or folder / "drawn"
    dataset = open_dataset(source) if options.data else draw_shapes(source, options.photos)
    photos = tuple(replace(photo, split="train") for photo in dataset.photos[: options.photos])
    dataset = Dataset(dataset.root, dataset.layout, photos)
    start = time.perf_counter()
    index = write_shards(dataset, folder / "shards")
    seconds = time.perf_counter() - start
    size = sum(shard.bytes for shard in index.shards)
    each = size / len(photos) / 1000
    print(f"{len(photos):,} photos, {each:.0f} kB each, packed in {seconds:.1f} s")
    files = [[Path(str(photo.path)) for photo in photos], shard_files(index)]
    some = min(options.prepared, len(photos))
    for name, cold, count, plain, work in (
        ("read, cold", True, len(photos), loose, None),
        ("read, warm", False, len(photos), loose, None),
        ("checked, warm", False, len(photos), checked, None),
        ("prepared, warm", False, some, loose, prepared),
    ):
        ways: list[Epoch] = [partial(plain, dataset), partial(stream, index)]
        rates: list[list[float]] = [[], []]
        for epoch in range(options.rounds):
            for way, own, found in zip(ways, files, rates, strict=True):
                if cold:
                    forget(own)
                start = time.perf_counter()
                for _, data in zip(range(count), way(epoch), strict=False):
                    if work:
                        work(data)
                found.append(count / (time.perf_counter() - start))
        one, two = map(statistics.median, rates)
        ratio = statistics.median(b / a for a, b in zip(*rates, strict=True))
        print(f"{name}: loose {one:,.0f} photos/s, shards {two:,.0f} photos/s: {ratio:.2f} x")


def loose(dataset: Dataset, epoch: int) -> Iterator[bytes]:
    for row in np.random.default_rng(epoch).permutation(len(dataset.photos)):
        yield dataset.photos[row].path.read_bytes()


def checked(dataset: Dataset, epoch: int) -> Iterator[bytes]:
    for data in loose(dataset, epoch):
        assert hashlib.sha256(data).hexdigest()
        yield data


def stream(index: ShardIndex, epoch: int) -> Iterator[bytes]:
    return (sample.data for sample in ShardStream(index, "train", epoch=epoch))


def prepared(data: object) -> None:
    assert isinstance(data, bytes)
    prepare(open_photo(data, preprocessing=PREPROCESSING), PREPROCESSING)


def shard_files(index: ShardIndex) -> list[Path]:
    folder = Path(index.address)
    return [folder / name for shard in index.shards for name in (shard.name, shard.table)]


def forget(files: list[Path]) -> None:
    """Ask the system to put files out of its memory."""
    for path in files:
        handle = os.open(path, os.O_RDONLY)
        os.fsync(handle)
        os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(handle)


def compare_memory(sizes: list[int], folder: Path) -> None:
    few = draw_shapes(folder / "few", 16, size=64).photos
    for size in sizes:
        shards = folder / f"of-{size}"
        photos = tuple(
            replace(few[number % 16], name=f"{number:07}.png", split="train")
            for number in range(size)
        )
        write_shards(Dataset(folder, "drawn", photos), shards)
        subprocess.run([sys.executable, __file__, "--resident", shards], check=True)


def print_resident(shards: Path) -> None:
    """Stream one epoch; print what this process holds on its way, and then for the whole table."""
    index = open_index(shards)
    total = index.photos("train")
    before = resident()
    points = {total * share // 4 for share in range(1, 5)}
    on_the_way = [
        resident() for place, _ in enumerate(ShardStream(index, "train"), 1) if place in points
    ]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    held = resident()
    dataset = open_dataset(shards)
    table = (resident() - held) * 1024 / len(dataset.photos)
    print(
        f"{total:,} photos streamed: {before:.0f} MiB at the start, then at each quarter"
        f" {', '.join(f'{size:.0f}' for size in on_the_way)}, at most {peak:.0f};"
        f" as a table {table:.1f} KiB more a photo"
    )


def resident() -> float:
    """Return this process's resident memory in MiB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


if __name__ == "__main__":
    main()
