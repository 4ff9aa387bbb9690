"""Measures how fast a model captions: one photo by stages, a folder, a cold start.

It also measures memory and size.

    python benchmarks/caption.py --model flickr8k --venv /tmp/light

Times are medians. Each figure is printed with a floor: the cost of the same work without
showtell, measured in the same run. `--venv` is an environment with a light install.
"""

from __future__ import annotations

import argparse
import io
import os
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from showtell import Captioner
from showtell.bundle import load_bundle
from showtell.bundle.onnx_runtime import OnnxModel
from showtell.bundle.registry import find_bundle
from showtell.decoding.beam_search import beam_search
from showtell.image import open_photo, prepare

ROOT = Path(__file__).resolve().parents[1]
LARGE = (4000, 3000)
Row = tuple[str, str, str, str]


class Stopwatch:
    """Adds up the time of named stages; used as a decoder, it times the networks in a search."""

    def __init__(self, model: OnnxModel) -> None:
        self.model = model
        self.seconds: dict[str, float] = defaultdict(float)

    def time(self, stage: str, call: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        start = time.perf_counter()
        result = call(*arguments, **options)
        self.seconds[stage] += time.perf_counter() - start
        return result

    def init_state(self, features: Any) -> Any:
        return self.time("begin (network)", self.model.init_state, features)

    def step(self, tokens: Any, memory: Any, state: Any) -> Any:
        return self.time("steps (network)", self.model.step, tokens, memory, state)


def one_photo(model: str, photos: Sequence[bytes], threads: int | None) -> dict[str, float]:
    """Return the median milliseconds of each stage from bytes to caption, and of a whole call."""
    bundle = load_bundle(find_bundle(model))
    networks, captioner = OnnxModel(bundle, threads=threads), Captioner.load(model, threads=threads)
    settings, preprocessing = bundle.manifest.decoding, bundle.manifest.preprocessing
    laps: dict[str, list[float]] = defaultdict(list)
    for photo in photos[:3]:
        captioner.caption(photo)
        networks.encode(prepare(open_photo(photo), preprocessing)[None])
    for photo in photos:
        watch = Stopwatch(networks)
        image = watch.time("decode JPEG", open_photo, photo, preprocessing=preprocessing)
        pixels = watch.time("prepare", prepare, image, preprocessing)
        features = watch.time("encoder (network)", networks.encode, pixels[None])
        hypotheses = watch.time(
            "search",
            beam_search,
            watch,
            features,
            beam=3,
            nbest=2,
            length_penalty=settings.length_penalty,
            max_length=settings.max_length,
        )
        assert hypotheses[0][0].tokens
        inside = watch.seconds["begin (network)"] + watch.seconds["steps (network)"]
        watch.seconds["search (numpy)"] = watch.seconds.pop("search") - inside
        watch.time("whole call", captioner.caption, photo, beam=3)
        for stage, seconds in watch.seconds.items():
            laps[stage].append(1000 * seconds)
    return {stage: statistics.median(values) for stage, values in laps.items()}


def folder(model: str, photos: Sequence[Path], threads: int | None) -> tuple[float, float]:
    """Return the photos per second of showtell, and of the encoder alone on one photo at a time."""
    captioner = Captioner.load(model, threads=threads)
    networks = OnnxModel(captioner.bundle, threads=threads)
    preprocessing = captioner.bundle.manifest.preprocessing
    list(captioner.caption(photos[:16]))
    start = time.perf_counter()
    assert all(caption.error is None for caption in captioner.caption(photos, beam=3))
    whole = len(photos) / (time.perf_counter() - start)
    pixels = prepare(open_photo(photos[0]), preprocessing)[None]
    start = time.perf_counter()
    for _ in range(50):
        networks.encode(pixels)
    return whole, 50 / (time.perf_counter() - start)


def cold(command: Sequence[str | Path], times: int) -> float:
    """Return the median seconds that a process takes."""
    seconds = []
    for _ in range(times):
        start = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def peak_memory(command: Sequence[str | Path]) -> float:
    """Return the peak resident memory of a process in MB."""
    # A child's peak includes its parent's memory at the start, so a small process starts it.
    script = (
        "import resource, subprocess, sys\n"
        "subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL)\n"
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    )
    done = subprocess.run(
        [sys.executable, "-S", "-c", script, *command], check=True, capture_output=True, text=True
    )
    return int(done.stdout) * (1 if sys.platform == "darwin" else 1024) / 1e6


def site_packages(venv: Path) -> tuple[float, float]:
    """Return the size in MB of an environment's packages, and of the three that showtell needs.

    The three are ONNX Runtime, NumPy and Pillow; pip and setuptools are not counted.
    """
    names = {"base": str(venv), "platbase": str(venv)}
    packages = Path(sysconfig.get_path("purelib", "venv", names))
    if not packages.is_dir():
        packages = next(venv.glob("lib/python*/site-packages"))
    tools = ("pip", "setuptools", "_distutils_hack", "distutils-precedence")
    required = ("onnxruntime", "numpy", "pil", "pillow")
    total = needed = 0
    for entry in packages.iterdir():
        size = sum(file.lstat().st_size for file in [entry, *entry.rglob("*")] if file.is_file())
        name = entry.name.lower()
        total += 0 if name.startswith(tools) else size
        needed += size if name.startswith(required) else 0
    return total / 1e6, needed / 1e6


def large_jpegs(photos: Sequence[Path], count: int) -> list[bytes]:
    """Return photos enlarged to 12 megapixels, with the noise of a sensor, as JPEG bytes."""
    random = np.random.default_rng(0)
    jpegs = []
    for path in photos[:count]:
        image = open_photo(path).resize(LARGE, Image.Resampling.BICUBIC)
        noise = random.normal(0, 3, (LARGE[1], LARGE[0], 1)).astype(np.float32)
        pixels = np.clip(np.asarray(image) + noise, 0, 255).astype(np.uint8)
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "JPEG", quality=90, subsampling=2)
        jpegs.append(buffer.getvalue())
    return jpegs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default=None, help="name, bundle or run (default: shipped)")
    parser.add_argument("--photos", type=Path, help="folder of 224-pixel JPEGs")
    parser.add_argument("--count", type=int, default=300, help="photos of the folder")
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--venv", type=Path, help="environment with a light install")
    arguments = parser.parse_args()
    flickr = ROOT.parent / "shared" / "flickr8k" / "Flicker8k_Dataset"
    source = arguments.photos or (flickr if flickr.is_dir() else ROOT / "examples")
    photos = sorted(source.glob("*.jpg"))[: arguments.count]
    model, threads = arguments.model, arguments.threads
    rows: list[Row] = []

    small = one_photo(model, [photo.read_bytes() for photo in photos[:100]], threads)
    examples = sorted((ROOT / "examples").glob("*.jpg")) or photos
    large = one_photo(model, large_jpegs(examples, 6) * 3, threads)
    for name, stages in (("224 px", small), ("12 megapixels", large)):
        floor = stages["decode JPEG"] + sum(v for k, v in stages.items() if "(network)" in k)
        goal = "<= 40, reach 15" if stages is small else ""
        rows.append(
            (
                f"one photo, {name}: bytes to caption, ms",
                f"{stages['whole call']:.1f}",
                f"{floor:.1f} decode + networks",
                goal,
            )
        )
        rows += [(f"    {k}", f"{v:.2f}", "", "") for k, v in stages.items() if k != "whole call"]

    whole, encoder = folder(model, photos, threads)
    rows.append(
        (
            f"folder of {len(photos)}, photos per second",
            f"{whole:.0f}",
            f"{encoder:.0f} encoder alone, one by one",
            ">= 40, reach 100",
        )
    )

    options = ["-m", str(model)] if model else []
    options += ["--threads", str(threads)] if threads else []
    command = [sys.executable, "-m", "showtell", "caption", *options]
    imports = [sys.executable, "-c", "import numpy, onnxruntime, PIL.Image"]
    rows.append(
        (
            "cold start of the command, one photo, s",
            f"{cold([*command, photos[0]], 9):.2f}",
            f"{cold(imports, 9):.2f} importing the three",
            "<= 1.5, reach 0.7",
        )
    )
    with tempfile.TemporaryDirectory() as large_folder:
        for number, data in enumerate(large_jpegs(examples, 6) * 4):
            (Path(large_folder) / f"{number}.jpg").write_bytes(data)
        for name, paths in (("224 px", photos), ("12 megapixels", [Path(large_folder)])):
            peak = peak_memory([*command, *paths])
            rows.append(
                (
                    f"peak memory over a folder, {name}, MB",
                    f"{peak:.0f}",
                    f"{peak_memory(imports):.0f} importing the three",
                    "< 400",
                )
            )
    if arguments.venv:
        total, needed = site_packages(arguments.venv)
        rows.append(
            (
                "site-packages of the light install, MB",
                f"{total:.0f}",
                f"{needed:.0f} the three alone",
                "<= 210",
            )
        )
    bundle = find_bundle(model)
    size = sum(file.stat().st_size for file in bundle.iterdir() if file.is_file()) / 1e6
    rows.append(("model on disk, MB", f"{size:.1f}", "", "<= 20, reach 12"))
    print(f"{bundle.name}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    for row in [("what", "median", "floor", "goal"), *rows]:
        print("{:<46} {:>8}   {:<34} {}".format(*row).rstrip())


if __name__ == "__main__":
    main()
