"""Compares the training speed of several ranks with that of one, each rank on its own core.

    python benchmarks/distributed.py

Trains the decoder on cached features with `showtell train`, on one rank and on several, in
alternating rounds. Captions are random, with Flickr8k's lengths and vocabulary size; network and
batch size are those of recipe `flickr8k`. Speeds come from the logs of the runs, without start-up
and feature extraction. Each step waits for the slowest rank, so other load on one core slows all
ranks: measure on an idle machine.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from training import random_captions

STEPS = 20  # per epoch, because the log has a line for every 20 steps


def write_dataset(folder: Path, batch_photos: int, words: int) -> None:
    """Write photos of noise for `STEPS` steps, with five random captions each."""
    random = np.random.default_rng(0)
    count = STEPS * batch_photos
    captions = random_captions(count + 2, words, random)
    (folder / "photos").mkdir(parents=True)
    rows = []
    for number, of_photo in enumerate(captions):
        small = random.integers(0, 255, (28, 28, 3), np.uint8)
        name = f"photos/{number:05d}.jpg"
        Image.fromarray(small).resize((224, 224)).save(folder / name)
        split = "train" if number < count else "dev"
        rows.append(json.dumps({"image": name, "captions": of_photo, "split": split}) + "\n")
    (folder / "captions.jsonl").write_text("".join(rows))


def train(folder: Path, cores: list[int], arguments: argparse.Namespace, name: str) -> float:
    """Train on one rank per core; return captions per second, the median over epochs."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    run = folder / name
    command = [
        sys.executable,
        "-m",
        "showtell",
        "train",
        "flickr8k",
        "--data",
        folder / "data",
        "--output",
        run,
        "encoder_weights=none",
        "min_count=1",
        "views=[plain]",
        "dev_photos=1",
        f"stages.0.epochs={arguments.epochs}",
        "stages.1.epochs=0",
        "device=cpu",
        f"batch_photos={arguments.batch_photos}",
        f"feature_cache={folder / 'features'}",
        f"precision={arguments.precision}",
    ]
    ranks = []
    for rank, core in enumerate(cores):
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        if len(cores) > 1:  # set here, because torchrun cannot pin a rank to a core
            environment |= {
                "RANK": str(rank),
                "WORLD_SIZE": str(len(cores)),
                "MASTER_ADDR": "127.0.0.1",
                "MASTER_PORT": str(port),
            }
        pinned = ["taskset", "--cpu-list", str(core), *command]
        ranks.append(subprocess.Popen(pinned, env=environment, stderr=subprocess.DEVNULL))
    if any(rank.wait() for rank in ranks):
        raise SystemExit(f"a rank failed: {' '.join(map(str, command))}")
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    return statistics.median(
        line["captions_per_second"] for line in lines if line.get("step") == STEPS
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cores", type=int, nargs="+", default=[0, 1])
    parser.add_argument(
        "--batch-photos", type=int, default=32, help="photos per step, over all ranks"
    )
    parser.add_argument("--words", type=int, default=2538)
    parser.add_argument("--epochs", type=int, default=3, help=f"of {STEPS} steps each")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--precision", default="float32", choices=["float32", "bfloat16", "auto"])
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="showtell-benchmark-") as name:
        folder = Path(name)
        write_dataset(folder / "data", arguments.batch_photos, arguments.words)
        single, several = [], []
        for lap in range(arguments.rounds):
            alone = [
                train(folder, [core], arguments, f"alone-{lap}-{core}") for core in arguments.cores
            ]
            single.append(statistics.mean(alone))
            several.append(train(folder, arguments.cores, arguments, f"together-{lap}"))
            speeds = " and ".join(f"{speed:.0f}" for speed in alone)
            print(
                f"round {lap + 1}: one rank {speeds} captions/s on each of the cores,"
                f" {len(arguments.cores)} ranks {several[-1]:.0f}: {several[-1] / single[-1]:.2f} x"
            )
        ratios = [both / alone for both, alone in zip(several, single, strict=True)]
        print(
            f"{len(arguments.cores)} gloo ranks of one core each train at"
            f" {statistics.median(ratios):.2f} x the speed of one (median of"
            f" {arguments.rounds} rounds)"
        )


if __name__ == "__main__":
    main()
