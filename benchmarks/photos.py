"""How fast a photo library is scanned, scanned again and searched; and how much memory it takes.

    python benchmarks/photos.py

Photos are those of ../shared/flickr8k or `--photos`, hard links to them where many are needed.
A scan stands beside the captioner's own rate over the same photos, in alternating turns, as the
machine may be busy.
"""

from __future__ import annotations

import argparse
import itertools
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from showtell import Captioner
from showtell.photos.catalogue.caption_text import segment_cjk
from showtell.photos.catalogue.database import Catalogue, now
from showtell.photos.catalogue.search import search_photos
from showtell.photos.folder_changes import compare_folders
from showtell.photos.scan import scan_library
from showtell.photos.similar import find_similar

ROOT = Path(__file__).resolve().parents[1]
QUERIES = (
    "dog running on a beach",
    "dog",
    "man",
    "red -dog",
    '"in the snow"',
    "play*",
    "three people",
    "unicorn",
)
WHO = ("a man", "a woman", "two dogs", "a brown dog", "a child in a red jacket", "three people")
DOES = ("is running", "jumps", "are playing", "stands", "is climbing", "sits")
WHERE = ("on a beach", "in the snow", "through the grass", "on a bench", "near a river")


def links(photos: Sequence[Path], folder: Path, count: int, per_folder: int = 500) -> Path:
    """Make a folder of `count` entries by hard links, or copies where those are not possible."""
    for number in range(count):
        place = folder / f"{number // per_folder:04}"
        if number % per_folder == 0:
            place.mkdir(parents=True)
        os.link(photos[number % len(photos)], place / f"{number:06}.jpg")
    return folder


def scanning(
    captioner: Captioner, photos: Sequence[Path], work: Path, turns: int
) -> tuple[float, float]:
    """Caption and scan the same photos in turns.

    Returns the scan's part of the captioner's own rate: by the clock, and by processor time,
    which other programs disturb less.
    """
    folder = work / "new"
    folder.mkdir()
    for photo in photos:
        os.link(photo, folder / photo.name)
    paths = sorted(folder.iterdir())
    clock, processor = [], []
    list(captioner.caption(paths[:32]))
    for turn in range(turns):
        began, used = time.perf_counter(), time.process_time()
        for _ in captioner.caption(paths):
            pass
        own, own_used = time.perf_counter() - began, time.process_time() - used
        began, used = time.perf_counter(), time.process_time()
        with Catalogue(work / f"{turn}.sqlite", create=True) as catalogue:
            *_, counts = scan_library(
                catalogue, [folder], captioner=lambda: captioner, report=print
            )
        took, took_used = time.perf_counter() - began, time.process_time() - used
        assert counts.captioned == len(paths)
        clock.append(own / took)
        processor.append(own_used / took_used)
        print(
            f"    {len(paths) / own:.1f} and {len(paths) / took:.1f} photos per second,"
            f" {own_used:.2f} and {took_used:.2f} s of processor"
        )
    return statistics.median(clock), statistics.median(processor)


def rescanning(folder: Path, count: int, work: Path) -> list[float]:
    """Scan a folder again whose photos the catalogue knows; returns seconds."""

    def never() -> Captioner:
        raise AssertionError("nothing has changed")

    seconds = []
    with Catalogue(work / "many.sqlite", create=True) as catalogue:
        for _ in compare_folders(catalogue, [folder], 1, print):
            pass
        with catalogue.transaction():  # as if all had been captioned
            catalogue.execute("UPDATE files SET pending = 0")
        for _ in range(3):
            began = time.perf_counter()
            *_, counts = scan_library(catalogue, [folder], captioner=never, report=print)
            seconds.append(time.perf_counter() - began)
            assert counts.unchanged == count
    return seconds


def filled(path: Path, count: int) -> Catalogue:
    """Make a catalogue of `count` captions with features, without any photo."""
    catalogue = Catalogue(path, create=True)
    draw = random.Random(0)
    vectors = np.random.default_rng(0).integers(0, 127, (512, 1280), np.int8)
    with catalogue.transaction():
        catalogue.execute("INSERT INTO folders (id, path) VALUES (1, ?)", (b"/photos",))
        for number in range(1, count + 1):
            words = " ".join((draw.choice(WHO), draw.choice(DOES), draw.choice(WHERE)))
            catalogue.execute(
                "INSERT INTO pictures (id, hash, caption, confidence, source)"
                " VALUES (?, ?, ?, ?, 'model')",
                (number, number.to_bytes(20, "big"), words, draw.random()),
            )
            catalogue.execute(
                "INSERT INTO files (folder_id, name, picture_id, size, mtime_ns, pending)"
                " VALUES (1, ?, ?, 1, 1, 0)",
                (f"{number:06}.jpg".encode(), number),
            )
            catalogue.execute(
                "INSERT INTO captions VALUES (?, 'made', ?, 0.5, -9, ?)", (number, words, now())
            )
            catalogue.execute(
                "INSERT INTO search (rowid, caption) VALUES (?, ?)", (number, segment_cjk(words))
            )
            catalogue.execute(
                "INSERT INTO features VALUES (?, 'made', ?)", (number, vectors[number % 512].data)
            )
    return catalogue


def searching(catalogue: Catalogue) -> dict[str, tuple[float, float]]:
    """Median milliseconds of each query's first twenty photos: by the clock, and of processor."""
    taken = {}
    for query in QUERIES:
        laps, own = [], []
        for _ in range(9):
            began, used = time.perf_counter(), time.process_time()
            list(search_photos(catalogue, query, limit=20))
            laps.append(1000 * (time.perf_counter() - began))
            own.append(1000 * (time.process_time() - used))
        taken[query] = (statistics.median(laps), statistics.median(own))
    return taken


def likening(catalogue: Catalogue) -> float:
    """Median milliseconds to find twenty photos like one of the catalogue's."""
    photo = next(search_photos(catalogue, "dog", limit=1)).path
    laps = []
    for _ in range(3):
        began = time.perf_counter()
        list(find_similar(catalogue, photo, captioner=Captioner.load, limit=20))
        laps.append(1000 * (time.perf_counter() - began))
    return statistics.median(laps)


def peak_memory(folder: Path, work: Path, model: str) -> float:
    """Peak MB of a whole scan in a process of its own."""
    script = (
        "import resource, subprocess, sys\n"
        "subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL)\n"
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    )
    command = [
        sys.executable,
        "-m",
        "showtell",
        "photos",
        "scan",
        folder,
        "--model",
        model,
        "--catalogue",
        work / f"{folder.name}.sqlite",
        "--threads",
        "2",
    ]
    done = subprocess.run(
        [sys.executable, "-S", "-c", script, *command], check=True, capture_output=True, text=True
    )
    return int(done.stdout) * (1 if sys.platform == "darwin" else 1024) / 1e6


def distinct(photos: Sequence[Path], folder: Path, count: int) -> Path:
    """Write small photos that all differ: a photo's bytes with another number in a corner."""
    from PIL import Image

    base = Image.open(photos[0]).convert("RGB").resize((64, 48))
    for number in range(count):
        place = folder / f"{number // 500:04}"
        if number % 500 == 0:
            place.mkdir(parents=True)
        for bit in range(15):
            base.putpixel((bit * 4, 0), (255, 255, 255) if number >> bit & 1 else (0, 0, 0))
        base.save(place / f"{number:06}.png")
    return folder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    flickr = ROOT.parent / "shared" / "flickr8k" / "Flicker8k_Dataset"
    parser.add_argument("--photos", type=Path, default=flickr if flickr.is_dir() else None)
    parser.add_argument("--count", type=int, default=300, help="photos captioned in each turn")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--parts", default="rescan,search,scan,memory")
    parser.add_argument("--memory-model", help="model of the memory test (a tiny one is quicker)")
    parser.add_argument("--sizes", default="1000,20000", help="photos of the memory test")
    arguments = parser.parse_args()
    source = arguments.photos or ROOT / "examples"
    photos = sorted(itertools.islice(source.glob("*.jpg"), max(arguments.count, 100)))
    # beside the photos' own disk if need be: hard links do not cross from one to another
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        own = work / "own"
        own.mkdir()
        photos = [Path(own / photo.name) for photo in photos if _copy(photo, own / photo.name)]
        parts = arguments.parts.split(",")
        if "rescan" in parts:
            seconds = rescanning(links(photos, work / "many", 50_000), 50_000, work)
            print(
                f"rescan of 50,000 unchanged photos: {min(seconds):.2f} s at best,"
                f" {statistics.median(seconds):.2f} s in the middle (goal: 10)"
            )
        if "search" in parts:
            with filled(work / "filled.sqlite", 100_000) as catalogue:
                for query, (taken, own) in searching(catalogue).items():
                    print(
                        f"search over 100,000 captions, {query!r}: {taken:.1f} ms,"
                        f" {own:.1f} of processor (goal: 50)"
                    )
                print(f"search --like over 100,000 photos: {likening(catalogue):.0f} ms")
        if "scan" in parts:
            chosen = photos[: arguments.count]
            clock, processor = scanning(Captioner.load(), chosen, work, arguments.turns)
            print(
                f"scan, of the captioner's own rate: {clock:.0%} by the clock,"
                f" {processor:.0%} by processor time (goal: 90%)"
            )
        if "memory" in parts:
            for size in map(int, arguments.sizes.split(",")):
                folder = distinct(photos, work / f"distinct{size}", size)
                peak = peak_memory(folder, work, arguments.memory_model or "flickr8k")
                print(f"peak memory of a scan of {size:,} photos: {peak:.0f} MB")


def _copy(source: Path, target: Path) -> bool:
    target.write_bytes(source.read_bytes())
    return True


if __name__ == "__main__":
    main()
