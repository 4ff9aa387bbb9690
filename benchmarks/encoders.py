"""Compares the speed of encoders, each at its own image size.

    python benchmarks/encoders.py --threads 1

Weights are random, which does not change the speed. The encoders take turns, so that other load
on the machine affects all of them equally. Every number is a median, and the ratios are ratios of
medians of the same run.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import numpy as np
import onnxruntime
import torch

from showtell.export.onnx_graphs import encoder_graph
from showtell.nets.decoder import DecoderSettings
from showtell.nets.encoder import Encoder, build_encoder
from showtell.nets.model import CaptionModel


def extraction(encoder: Encoder, batch: int) -> Callable[[], Any]:
    """Return a function that computes features of a batch as training does."""
    size = (encoder.spec.preprocessing.height, encoder.spec.preprocessing.width)
    pixels = torch.randn(batch, 3, *size).to(memory_format=torch.channels_last)
    encoder.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def run() -> Any:
        with torch.inference_mode():
            return encoder(pixels)

    return run


def captioning(encoder: Encoder, graph: bytes, threads: int) -> Callable[[], Any]:
    """Return a function that computes features of one photo as `showtell caption` does."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(graph, options, ["CPUExecutionProvider"])
    size = (encoder.spec.preprocessing.height, encoder.spec.preprocessing.width)
    pixels = np.random.default_rng(0).standard_normal((1, 3, *size), np.float32)
    return lambda: session.run(None, {"pixels": pixels})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("encoders", nargs="*", default=["mobilenetv2", "xception"])
    parser.add_argument("--batch", type=int, default=8, help="photos per batch in extraction")
    parser.add_argument("--laps", type=int, default=7)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument(
        "--clock",
        choices=["wall", "cpu"],
        default="wall",
        help="cpu: processor time, for a machine with other load",
    )
    arguments = parser.parse_args()
    clock = time.perf_counter if arguments.clock == "wall" else time.process_time
    torch.set_num_threads(arguments.threads)
    runs: dict[str, dict[str, Callable[[], Any]]] = {}
    descriptions: dict[str, str] = {}
    for name in arguments.encoders:
        encoder = build_encoder(name, "none").eval()
        encoder.fold_batch_norm()
        model = CaptionModel(encoder, DecoderSettings(kind="merge", embedding=8, hidden=8), 9)
        graph = encoder_graph(model).SerializeToString()
        runs[name] = {
            "captioning": captioning(encoder, graph, arguments.threads),
            "extraction": extraction(encoder, arguments.batch),
        }
        weights = sum(p.numel() for p in encoder.parameters()) / 1e6
        descriptions[name] = (
            f"{encoder.spec.preprocessing.width} pixels, {encoder.channels} features on"
            f" {encoder.grid[0]} x {encoder.grid[1]}, {weights:.1f} M weights,"
            f" encoder.onnx {len(graph) / 1e6:.0f} MB"
        )
    laps: dict[tuple[str, str], list[float]] = defaultdict(list)
    for lap in range(arguments.laps + 1):
        for name, run_kinds in runs.items():
            for kind, run in run_kinds.items():
                start = clock()
                run()
                if lap:  # the first lap warms up
                    laps[name, kind].append(clock() - start)
    print(
        f"torch {torch.__version__}, ONNX Runtime {onnxruntime.__version__}, threads:"
        f" {arguments.threads}, {arguments.clock} time, medians of {arguments.laps}"
    )
    first = arguments.encoders[0]
    for name in arguments.encoders:
        print(f"{name}: {descriptions[name]}")
        for kind, photos in (("captioning", 1), ("extraction", arguments.batch)):
            seconds = statistics.median(laps[name, kind])
            ratio = seconds / statistics.median(laps[first, kind])
            print(
                f"  {kind:10s} {1000 * seconds / photos:7.1f} ms per photo,"
                f" {photos / seconds:6.1f} photos/s, {ratio:.1f} x the time of {first}"
            )


if __name__ == "__main__":
    main()
