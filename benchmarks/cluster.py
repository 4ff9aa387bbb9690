"""Speed and memory of `showtell cluster caption`, compared with the captioner alone.

    python benchmarks/cluster.py --photos DIR                       # both in turns, and stages
    python benchmarks/cluster.py --photos DIR --curve 1000 5000 20000 --keep docs/scale.json
    python benchmarks/cluster.py --plot docs/scale.json docs/images/scale.svg

If there are fewer photos than requested, links repeat them. The start of Ray and of its workers is
not counted. Wall time includes the effect of other programs; on a busy machine use processor time.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Measurement:
    """A run: photos, cores, wall time and processor time in seconds, peak memory in bytes.

    `memory` is the peak of a worker, or of the captioner alone; `growth` is its increase after the
    first quarter of the parts.
    """

    how: str
    photos: int
    cores: int
    seconds: float
    cpu: float
    memory: int
    growth: int
    load: float

    @property
    def rate(self) -> float:
        return self.photos / self.seconds

    @property
    def rate_of_cores(self) -> float:
        """Photos per second if the cores did nothing else."""
        return self.photos * self.cores / self.cpu


def link_photos(source: Path, folder: Path, count: int) -> Path:
    """Create a folder of `count` links to photos."""
    folder.mkdir()
    photos = sorted(path for path in source.iterdir() if path.suffix.lower() in (".jpg", ".png"))
    for number, path in zip(range(count), itertools.cycle(photos), strict=False):
        (folder / f"{number:08d}{path.suffix}").symlink_to(path.resolve())
    return folder


def run_on_ray(folder: Path, output: Path, model: str | None, cores: int) -> Measurement:
    """Caption a folder with a job; Ray is already running."""
    from showtell.cluster.job import JobOptions, caption_all
    from showtell.cluster.job_state import load_job
    from showtell.cluster.output import read_result
    from showtell.cluster.storage import Storage

    load = os.getloadavg()[0]
    summary = caption_all(folder, output, JobOptions(model=model, concurrency=cores))
    storage = Storage.of(output)
    job = load_job(storage)
    assert job is not None
    names = [name for name in storage.names() if name.startswith("part-")]
    results = [read_result(storage, name, job.id) for name in names]
    memory = [result.memory for result in results if result is not None]
    early = max(memory[: max(1, len(memory) // 4)])
    return Measurement(
        "ray",
        summary.photos,
        cores,
        summary.run_seconds,
        summary.cpu_seconds,
        max(memory),
        max(memory) - early,
        load,
    )


def run_alone(folder: Path, model: str | None, cores: int) -> Measurement:
    """Caption a folder with the captioner in this process."""
    from showtell import Captioner
    from showtell.files.peak_memory import peak_memory

    captioner = Captioner.load(model, threads=cores)
    photos = sorted(folder.iterdir())
    list(captioner.caption(photos[:32]))
    load, start, cpu = os.getloadavg()[0], time.perf_counter(), time.process_time()
    count = sum(1 for _ in captioner.caption(photos))
    seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    memory = peak_memory()
    return Measurement("alone", count, cores, seconds, cpu, memory, 0, load)


def stages(source: Path, model: str | None, count: int) -> dict[str, float]:
    """Processor time of each stage in milliseconds per photo, on one core."""
    import numpy as np

    from showtell.bundle import load_bundle
    from showtell.bundle.onnx_runtime import OnnxModel
    from showtell.bundle.registry import find_bundle
    from showtell.cluster.output import PartResult, part_bytes
    from showtell.cluster.storage import Storage
    from showtell.decoding.options import Decoding
    from showtell.image import open_photo, prepare

    bundle = load_bundle(find_bundle(model))
    networks, preprocessing = OnnxModel(bundle, threads=1), bundle.manifest.preprocessing
    decoding = Decoding.of(bundle.manifest.decoding)
    seconds_by_stage = dict.fromkeys(("reading", "decoding", "encoder", "beam", "writing"), 0.0)

    def lap(stage: str, call: Any, *arguments: Any, **options: Any) -> Any:
        start = time.process_time()
        result = call(*arguments, **options)
        seconds_by_stage[stage] += time.process_time() - start
        return result

    def decoded(data: bytes) -> Any:
        return prepare(open_photo(data, preprocessing=preprocessing), preprocessing)

    records: list[dict[str, Any]] = []
    part_bytes(records, "", PartResult(0, "", 0, 0))  # loads pyarrow
    paths = sorted(source.glob("*.jpg"))[:count]
    networks.encode(decoded(paths[0].read_bytes())[None])
    for first in range(0, len(paths), 16):
        batch = paths[first : first + 16]
        data = [lap("reading", path.read_bytes) for path in batch]
        pixels = np.stack([lap("decoding", decoded, photo) for photo in data])
        features = lap("encoder", networks.encode, pixels)
        captions = lap("beam", decoding.run, networks, features, list(range(len(batch))))
        records += [
            {
                "path": str(path),
                "text": bundle.vocabulary.decode(best[0].tokens),
                "error": None,
                "log_probability": -1.0,
                "confidence": 0.5,
                "alternatives": [],
            }
            for path, best in zip(batch, captions, strict=True)
        ]
    with tempfile.TemporaryDirectory() as folder:
        storage = Storage.of(Path(folder))
        result = PartResult(0, "", 0, len(records))
        lap("writing", lambda: storage.write("part", part_bytes(records, "job", result)))
    return {stage: 1000 * seconds / len(paths) for stage, seconds in seconds_by_stage.items()}


def plot(kept: dict[str, Any], target: Path) -> None:
    """Draw time and memory against photos."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "showtell"
    from matplotlib import pyplot, ticker

    runs = sorted(kept["curve"], key=lambda run: run["photos"])
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
    photos = [run["photos"] for run in runs]
    left.plot(photos, [run["cpu"] / 60 for run in runs], "o-", label="processor time, all workers")
    left.plot(photos, [run["seconds"] / 60 for run in runs], "s--", label="wall time, busy machine")
    left.set(xlabel="photos", ylabel="minutes", ylim=(0, None), title="Time")
    left.legend(frameon=False)
    most = max(run["memory"] for run in runs) / 1e6
    right.plot(photos, [run["memory"] / 1e6 for run in runs], "o-")
    right.set(xlabel="photos", ylabel="peak memory in MB", ylim=(0, 1.2 * most))
    right.set_title("Memory of a worker")
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
        axes.xaxis.set_major_formatter("{x:,.0f}")
        axes.xaxis.set_major_locator(ticker.MaxNLocator(4))
        axes.set_xlim(0, None)
    target.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(target, metadata={"Date": None})


def show(run: Measurement) -> None:
    print(
        f"{run.how:<6} {run.photos:>7,} photos, {run.cores} cores: {run.rate:7.1f} per second,"
        f" {run.rate_of_cores:7.1f} on idle cores, {run.memory / 1e6:5.0f} MB"
        f" (+{run.growth / 1e6:.0f} after the first quarter), load {run.load:.1f}",
        flush=True,
    )


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photos", type=Path, help="folder of photos")
    parser.add_argument("--model", help="name, bundle or run (default: the shipped one)")
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--count", type=int, default=1000, help="photos per round")
    parser.add_argument("--rounds", type=int, default=3, help="rounds of both")
    parser.add_argument("--curve", type=int, nargs="+", default=[], help="sizes of further runs")
    parser.add_argument("--keep", type=Path, help="JSON file for the measurements")
    parser.add_argument("--plot", type=Path, nargs=2, metavar=("JSON", "IMAGE"))
    options = parser.parse_args(arguments)
    if options.plot:
        plot(json.loads(options.plot[0].read_text()), options.plot[1])
        return
    from showtell.cluster.ray_cluster import LOCAL, connect_ray

    flickr = ROOT.parent / "shared" / "flickr8k" / "Flicker8k_Dataset"
    source = options.photos or (flickr if flickr.is_dir() else ROOT / "examples")
    kept: dict[str, Any] = {"cores": options.cores, "turns": [], "curve": []}
    kept["stages"] = stages(source, options.model, min(options.count, 400))
    for stage, milliseconds in kept["stages"].items():
        print(f"{stage:<9} {milliseconds:7.3f} ms of processor time per photo")
    with (
        connect_ray(LOCAL, options.cores),  # Ray is started once for all runs
        tempfile.TemporaryDirectory(prefix="showtell-cluster-") as work,
    ):

        def keep(into: str, run: Measurement) -> Measurement:
            show(run)
            kept[into].append(asdict(run))
            if options.keep:
                options.keep.write_text(json.dumps(kept, indent=1) + "\n")
            return run

        folder = link_photos(source, Path(work, "turns"), options.count)
        ratios = []
        for turn in range(options.rounds):
            ray_run = run_on_ray(folder, Path(work, f"turn-{turn}"), options.model, options.cores)
            alone_run = run_alone(folder, options.model, options.cores)
            keep("turns", ray_run), keep("turns", alone_run)
            ratios.append((ray_run.rate / alone_run.rate, alone_run.cpu / ray_run.cpu))
        for name, values in zip(
            ("wall time", "processor time"), zip(*ratios, strict=True), strict=False
        ):
            print(f"Ray compared with the captioner alone, {name}: {statistics.median(values):.2f}")
        for count in options.curve:
            folder = link_photos(source, Path(work, f"{count}"), count)
            keep(
                "curve",
                run_on_ray(folder, Path(work, f"out-{count}"), options.model, options.cores),
            )


if __name__ == "__main__":
    main()
