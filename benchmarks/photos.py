"""Measure the speed of scanning, rescanning and searching a photo library, and a scan's memory.

    python benchmarks/photos.py

The photos are those of ../shared/flickr8k or `--photos`, with hard links if many are needed. A
scan is compared with the captioner's own rate over the same photos, in alternating turns, because
the machine may be busy.
"""

from __future__ import annotations

import argparse
import itertools
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from showtell import Captioner
from showtell.caption import Keyword
from showtell.photos.catalogue.caption_text import segment_cjk
from showtell.photos.catalogue.database import Catalogue, now
from showtell.photos.catalogue.keywords import keywords_as_json, update_current_keywords
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
SUBJECTS = (
    "a man",
    "a woman",
    "two dogs",
    "a brown dog",
    "a child in a red jacket",
    "three people",
)
VERBS = ("is running", "jumps", "are playing", "stands", "is climbing", "sits")
KEYWORDS = (
    "man",
    "woman",
    "people",
    "dog",
    "child",
    "jacket",
    "beach",
    "snow",
    "grass",
    "bench",
    "river",
    "ball",
)
PLACES = ("on a beach", "in the snow", "through the grass", "on a bench", "near a river")


def link_photos(photos: Sequence[Path], folder: Path, count: int, per_folder: int = 500) -> Path:
    """Make a folder with `count` hard links to photos."""
    for number in range(count):
        subfolder = folder / f"{number // per_folder:04}"
        if number % per_folder == 0:
            subfolder.mkdir(parents=True)
        os.link(photos[number % len(photos)], subfolder / f"{number:06}.jpg")
    return folder


def measure_scan(
    captioner: Captioner, photos: Sequence[Path], work: Path, turns: int
) -> tuple[float, float]:
    """Caption and scan the same photos in turns.

    Returns the scan's rate as a share of the captioner's: by the clock, and by processor time,
    which other programs disturb less.
    """
    folder = work / "new"
    folder.mkdir()
    for photo in photos:
        os.link(photo, folder / photo.name)
    paths = sorted(folder.iterdir())
    by_clock, by_processor = [], []
    list(captioner.caption(paths[:32]))
    for turn in range(turns):
        started, started_cpu = time.perf_counter(), time.process_time()
        for _ in captioner.caption(paths):
            pass
        caption_time = time.perf_counter() - started
        caption_cpu = time.process_time() - started_cpu
        started, started_cpu = time.perf_counter(), time.process_time()
        with Catalogue(work / f"{turn}.sqlite", create=True) as catalogue:
            *_, counts = scan_library(
                catalogue, [folder], load_captioner=lambda: captioner, report=print
            )
        scan_time = time.perf_counter() - started
        scan_cpu = time.process_time() - started_cpu
        assert counts.captioned == len(paths)
        by_clock.append(caption_time / scan_time)
        by_processor.append(caption_cpu / scan_cpu)
        print(
            f"    captioner {len(paths) / caption_time:.1f} photos per second,"
            f" scan {len(paths) / scan_time:.1f};"
            f" processor time {caption_cpu:.2f} s and {scan_cpu:.2f} s"
        )
    return statistics.median(by_clock), statistics.median(by_processor)


def measure_rescan(folder: Path, count: int, work: Path) -> list[float]:
    """Scan a folder whose photos are all in the catalogue, three times; return the seconds."""

    def fail_to_load() -> Captioner:
        raise AssertionError("nothing has changed")

    seconds = []
    with Catalogue(work / "many.sqlite", create=True) as catalogue:
        for _ in compare_folders(catalogue, [folder], 1, print):
            pass
        with catalogue.transaction():  # pretend that all have been captioned
            catalogue.execute("UPDATE files SET pending = 0")
        for _ in range(3):
            started = time.perf_counter()
            *_, counts = scan_library(
                catalogue, [folder], load_captioner=fail_to_load, report=print
            )
            seconds.append(time.perf_counter() - started)
            assert counts.unchanged == count
    return seconds


def filled_catalogue(path: Path, count: int) -> Catalogue:
    """Make a catalogue of `count` captions with features, without photos."""
    catalogue = Catalogue(path, create=True)
    generator = random.Random(0)
    vectors = np.random.default_rng(0).integers(0, 127, (512, 1280), np.int8)
    with catalogue.transaction():
        catalogue.execute("INSERT INTO folders (id, path) VALUES (1, ?)", (b"/photos",))
        for number in range(1, count + 1):
            caption = " ".join(
                (generator.choice(SUBJECTS), generator.choice(VERBS), generator.choice(PLACES))
            )
            catalogue.execute(
                "INSERT INTO pictures (id, hash, caption, confidence, source)"
                " VALUES (?, ?, ?, ?, 'model')",
                (number, number.to_bytes(20, "big"), caption, generator.random()),
            )
            catalogue.execute(
                "INSERT INTO files (folder_id, name, picture_id, size, mtime_ns, pending)"
                " VALUES (1, ?, ?, 1, 1, 0)",
                (f"{number:06}.jpg".encode(), number),
            )
            catalogue.execute(
                "INSERT INTO captions VALUES (?, 'benchmark', ?, 0.5, -9, ?, ?)",
                (number, caption, now(), keywords_as_json(_keywords(generator))),
            )
            update_current_keywords(catalogue, number)
            catalogue.execute(
                "INSERT INTO search (rowid, caption) VALUES (?, ?)", (number, segment_cjk(caption))
            )
            catalogue.execute(
                "INSERT INTO features VALUES (?, 'benchmark', ?)",
                (number, vectors[number % 512].data),
            )
    return catalogue


def _keywords(generator: random.Random) -> list[Keyword]:
    return [Keyword(word, generator.random()) for word in generator.sample(KEYWORDS, 5)]


def measure_search(catalogue: Catalogue) -> dict[str, tuple[float, float]]:
    """Return median milliseconds of each query's first 20 results: clock and processor time."""
    medians = {}
    for query in QUERIES:
        times, cpu_times = [], []
        for _ in range(9):
            started, started_cpu = time.perf_counter(), time.process_time()
            list(search_photos(catalogue, query, limit=20))
            times.append(1000 * (time.perf_counter() - started))
            cpu_times.append(1000 * (time.process_time() - started_cpu))
        medians[query] = (statistics.median(times), statistics.median(cpu_times))
    return medians


def measure_similar(catalogue: Catalogue) -> float:
    """Return median milliseconds to find 20 photos similar to one in the catalogue."""
    photo = next(search_photos(catalogue, "dog", limit=1)).path
    times = []
    for _ in range(3):
        started = time.perf_counter()
        list(find_similar(catalogue, photo, load_captioner=Captioner.load, limit=20))
        times.append(1000 * (time.perf_counter() - started))
    return statistics.median(times)


def peak_memory(folder: Path, work: Path, model: str) -> float:
    """Return the peak memory, in MB, of a scan in a separate process."""
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
    process = subprocess.run(
        [sys.executable, "-S", "-c", script, *command], check=True, capture_output=True, text=True
    )
    return int(process.stdout) * (1 if sys.platform == "darwin" else 1024) / 1e6


def write_distinct_photos(photos: Sequence[Path], folder: Path, count: int) -> Path:
    """Write small photos that all differ: one photo with a binary number in its top row."""
    from PIL import Image

    base = Image.open(photos[0]).convert("RGB").resize((64, 48))
    for number in range(count):
        subfolder = folder / f"{number // 500:04}"
        if number % 500 == 0:
            subfolder.mkdir(parents=True)
        for bit in range(15):
            base.putpixel((bit * 4, 0), (255, 255, 255) if number >> bit & 1 else (0, 0, 0))
        base.save(subfolder / f"{number:06}.png")
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
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        photos = copy_photos(source, work / "photos", max(arguments.count, 100))
        parts = arguments.parts.split(",")
        if "rescan" in parts:
            report_rescan(photos, work)
        if "search" in parts:
            report_search(work)
        if "scan" in parts:
            share, cpu_share = measure_scan(
                Captioner.load(), photos[: arguments.count], work, arguments.turns
            )
            print(
                f"scan, as a share of the captioner's own rate: {share:.0%} by the clock,"
                f" {cpu_share:.0%} by processor time (goal: 90%)"
            )
        if "memory" in parts:
            for size in map(int, arguments.sizes.split(",")):
                folder = write_distinct_photos(photos, work / f"distinct{size}", size)
                peak = peak_memory(folder, work, arguments.memory_model or "flickr8k")
                print(f"peak memory of a scan of {size:,} photos: {peak:.0f} MB")


def copy_photos(source: Path, folder: Path, count: int) -> list[Path]:
    """Copy photos to the work folder's disk, since hard links cannot cross disks."""
    folder.mkdir()
    copies = []
    for photo in sorted(itertools.islice(source.glob("*.jpg"), count)):
        copies.append(folder / photo.name)
        shutil.copyfile(photo, copies[-1])
    return copies


def report_rescan(photos: Sequence[Path], work: Path) -> None:
    seconds = measure_rescan(link_photos(photos, work / "many", 50_000), 50_000, work)
    print(
        f"rescan of 50,000 unchanged photos: best {min(seconds):.2f} s,"
        f" median {statistics.median(seconds):.2f} s (goal: 10)"
    )


def report_search(work: Path) -> None:
    with filled_catalogue(work / "filled.sqlite", 100_000) as catalogue:
        for query, (milliseconds, cpu_milliseconds) in measure_search(catalogue).items():
            print(
                f"search over 100,000 captions, {query!r}: {milliseconds:.1f} ms,"
                f" {cpu_milliseconds:.1f} ms of processor time (goal: 50)"
            )
        print(f"search --like over 100,000 photos: {measure_similar(catalogue):.0f} ms")


if __name__ == "__main__":
    main()
