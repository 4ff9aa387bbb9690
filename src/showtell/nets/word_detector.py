"""Detecting words in a photo with two networks: the encoder, and a classifier of objects.

The encoder is trained on captions and knows the words that people use for photos like those. A
second network that was trained on ImageNet, and not on captions, knows a thousand kinds of
objects, also those that no captioned photo shows. For each word the detector combines three
logits: the encoder's concept head, a second concept head on the features of the object network,
and the log-odds of the object classes that the word stands for ("dog" for 118 breeds).

Both heads detect words in the whole photo and in parts of it (Fang et al., From Captions to Visual
Concepts and Back, 2015). Logits are combined by stacking (Wolpert, Stacked Generalization, 1992).
"""

from __future__ import annotations

import timm
import torch
from torch import Tensor, nn
from torch.nn import functional

from showtell.nets.batch_norm_folding import fold_batch_norm
from showtell.nets.concepts import ConceptHead, soft_maximum
from showtell.nets.decoder import Tensors
from showtell.nets.detector_settings import DetectorSettings

OBJECT_CLASSES = 1000  # of ImageNet
LEAST_PROBABILITY = 1e-6  # of the object classes of a word
MOST_PROBABILITY = 1 - 1e-4
_WINDOW, _STRIDE = 3, 2  # cells of the object network's map of 7 x 7


class ObjectNetwork(nn.Module):
    """A classifier without its last layer: the mean features of windows over a photo."""

    def __init__(self, settings: DetectorSettings) -> None:
        super().__init__()
        self.size = settings.size
        self.network: nn.Module = timm.create_model(settings.network, num_classes=0, global_pool="")
        self.network.eval()
        fold_batch_norm(self.network, torch.zeros(1, 3, self.size, self.size))
        self.channels = int(self.network.num_features)  # type: ignore[arg-type]

    def forward(self, pixels: Tensor) -> Tensor:
        """Return mean features of the whole photo, then of its windows: [photos, 10, channels]."""
        size = (self.size, self.size)
        small = functional.interpolate(pixels, size, mode="bilinear", align_corners=False)
        cells = self.network(small)  # [photos, channels, 7, 7]
        windows = functional.avg_pool2d(cells, _WINDOW, _STRIDE).flatten(2)
        whole = cells.mean((2, 3))[..., None]
        return torch.cat([whole, windows], 2).transpose(1, 2)


class WordDetector(nn.Module):
    """The logit of each detected word: the share of a photo's captions that contain it."""

    def __init__(self, channels: int, settings: DetectorSettings) -> None:
        super().__init__()
        self.settings = settings
        count, captions = settings.words, settings.caption_words
        self.concepts = ConceptHead(channels, captions, regions=True, concepts=captions)
        self.objects = ObjectNetwork(settings)
        features = self.objects.channels
        self.photo_logits = nn.Linear(features, captions)
        self.window_logits = nn.Linear(features, captions, bias=False)
        self.classes = nn.Linear(features, OBJECT_CLASSES)
        # which words a class stands for: 1 or 0, reviewed by hand, not trained
        self.class_words = nn.Linear(OBJECT_CLASSES, count, bias=False)
        # the log-odds of a word's classes in the whole photo, in the likeliest window and on
        # average over windows to one logit
        self.odds = nn.Linear(3, 1)
        # per word, the weights of the concept head, the second head and the classes, and a bias
        self.stack = nn.Linear(3, count)

    def forward(self, pixels: Tensor, features: Tensors) -> Tensor:
        """Return the logit of each word, [photos, words], from pixels and encoder features."""
        windows = self.objects(pixels)  # [photos, 10, channels]
        concepts = self._padded(self.concepts(features))
        objects = self._padded(self._object_logits(windows))
        logits = torch.stack([concepts, objects, self._class_logits(windows)], -1)
        return (logits * self.stack.weight).sum(-1) + self.stack.bias

    def _object_logits(self, windows: Tensor) -> Tensor:
        """Return the second concept head's logits, [photos, caption words]."""
        by_window = self.window_logits(windows[:, 1:]).transpose(1, 2)
        logits: Tensor = self.photo_logits(windows[:, 0])
        return logits + soft_maximum(by_window)

    def _class_logits(self, windows: Tensor) -> Tensor:
        """Return a logit from the object classes of each word, [photos, words]."""
        shares = self.class_words(self.classes(windows).softmax(-1))  # [photos, 10, words]
        views = torch.stack([shares[:, 0], shares[:, 1:].amax(1), shares[:, 1:].mean(1)], -1)
        odds = views.clamp(LEAST_PROBABILITY, MOST_PROBABILITY).logit()  # [photos, words, 3]
        logits: Tensor = self.odds(odds).squeeze(-1)
        return logits

    def _padded(self, logits: Tensor) -> Tensor:
        """Return logits [photos, caption words] with zeros for the other words."""
        return functional.pad(logits, (0, self.settings.words - self.settings.caption_words))
