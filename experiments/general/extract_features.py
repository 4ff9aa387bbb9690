"""Step 1: features of all photos by the shipped encoder and by EfficientNet-Lite2.

Input: the photos (`places.py`), the shipped model's encoder, the weights of EfficientNet-Lite2.

Output in the work folder, for the sets train, unlabelled, dev, coco_dev, examples and
train_mirrored: `SET_regions.npy` (float16 [photos, 81, 1280]) and `SET_windows.npy` (float16
[photos, 10, 1280]: the mean of the whole photo, then of 9 windows). 4.4 GB in all.
"""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from torch import Tensor, nn
from torch.nn import functional

from object_network import load_object_network
from places import SHIPPED_MODEL, Places, open_places, step_parser
from showtell.bundle import ENCODER, load_bundle
from showtell.bundle.registry import find_bundle
from showtell.image import load_pixels
from showtell.nets.detector_settings import DetectorSettings
from words import Floats

SETS = ("train", "unlabelled", "dev", "coco_dev", "examples")
MIRRORED = "train_mirrored"
SIZE = 288  # pixels of the encoder's input
_STARTS = (0, 2, 4)  # of windows of 3 x 3 in the map of 7 x 7
WINDOWS = [(0, 7, 0, 7)] + [(top, top + 3, left, left + 3) for top in _STARTS for left in _STARTS]


class _ObjectFeatures(nn.Module):
    """The object network's last map, for photos at the encoder's size."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.size = (DetectorSettings().size, DetectorSettings().size)

    def forward(self, pixels: Tensor) -> Tensor:
        small = functional.interpolate(pixels, self.size, mode="bilinear", align_corners=False)
        features: Tensor = self.network.forward_features(small)
        return features


def open_session(graph: Path) -> onnxruntime.InferenceSession:
    """Return a session of one thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])


def object_session(places: Places) -> onnxruntime.InferenceSession:
    """Return the object network as a session; the graph is written into the work folder."""
    graph = places.work / "object_features.onnx"
    if not graph.exists():
        network = _ObjectFeatures(load_object_network(places.object_weights))
        pixels = torch.zeros(1, 3, SIZE, SIZE)
        inputs, outputs = ["pixels"], ["map"]
        torch.onnx.export(
            network, (pixels,), graph, input_names=inputs, output_names=outputs, dynamo=False
        )
    return open_session(graph)


class Extractor:
    """The two networks, and the shipped model's preprocessing of a photo."""

    def __init__(self, places: Places) -> None:
        bundle = load_bundle(find_bundle(SHIPPED_MODEL))
        self.preprocessing = bundle.manifest.preprocessing
        self.encoder = open_session(bundle.file(ENCODER))
        self.objects = object_session(places)

    def features(self, photo: Path, *, mirrored: bool = False) -> tuple[Floats, Floats]:
        """Return regions [81, 1280] and windows [10, 1280] of a photo."""
        pixels = load_pixels(photo, self.preprocessing)[None]
        if mirrored:
            pixels = np.ascontiguousarray(pixels[..., ::-1])
        regions = self.encoder.run(["regions"], {"pixels": pixels})[0][0]
        cells = self.objects.run(None, {"pixels": pixels})[0][0]  # [1280, 7, 7]
        means = [cells[:, a:b, c:d].mean((1, 2)) for a, b, c, d in WINDOWS]
        return regions, np.stack(means)


def extract(places: Places, name: str, extractor: Extractor) -> None:
    """Write the features of one set."""
    mirrored = name == MIRRORED
    photos = places.photos("train" if mirrored else name)
    make = np.lib.format.open_memmap
    regions = make(places.regions(name), "w+", np.float16, (len(photos), 81, 1280))
    windows = make(places.windows(name), "w+", np.float16, (len(photos), len(WINDOWS), 1280))
    started = time.monotonic()
    for i, photo in enumerate(photos):
        regions[i], windows[i] = extractor.features(photo, mirrored=mirrored)
        if i % 500 == 0:
            print(name, i, round(time.monotonic() - started), flush=True)


def main() -> None:
    """Extract all sets."""
    places = open_places(step_parser(__doc__).parse_args())
    extractor = Extractor(places)
    for name in (*SETS, MIRRORED):
        extract(places, name, extractor)


if __name__ == "__main__":
    main()
