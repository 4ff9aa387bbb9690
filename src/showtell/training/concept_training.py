"""Training encoder and word head on the words of captions, before a decoder learns to say them.

Which words people use of a photo is a label that every captioned photo has, and it reaches the
encoder more directly than through an LSTM. Detectors of caption words (Fang et al., From Captions
to Visual Concepts and Back, 2015; Wu et al., What Value Do Explicit High Level Concepts Have in
Vision to Language Problems?, 2016) were trained so; what the head knows then serves the decoder
too, where its recipe gives `decoder.concept_weight` a weight.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from showtell.data.dataset import CaptionedPhoto
from showtell.errors import TrainingError
from showtell.nets.concepts import ConceptHead
from showtell.nets.model import CaptionModel
from showtell.training.batches import Batch
from showtell.training.objectives import features_of
from showtell.vocabulary import FIRST_WORD, SPECIAL_WORDS, Vocabulary

RAREST, MOST_COMMON = 0.02, 0.5  # shares of the photos judged: words outside tell little


def concept_targets(
    photos: Sequence[CaptionedPhoto], vocabulary: Vocabulary
) -> NDArray[np.float32]:
    """Return the share of each photo's captions that hold each word: [photos, words]."""
    shares = np.zeros((len(photos), len(vocabulary)), np.float32)
    for row, photo in enumerate(photos):
        for text in photo.captions:
            shares[row, sorted(set(vocabulary.encode(text)))] += 1 / len(photo.captions)
    shares[:, : len(SPECIAL_WORDS)] = 0
    return shares


class ConceptPrediction:
    """Cross-entropy between the share of captions with each word and a photo's prediction.

    `shares` [photos, words] are of the training split, by photo number. The sum over words, in
    nats a photo.
    """

    def __init__(self, shares: NDArray[np.float32], dropout: float = 0.3) -> None:
        self.shares = shares
        self.dropout = dropout
        self.values: dict[str, float] = {}

    def start(self, model: CaptionModel) -> None:
        """Let the head say how frequent each word is, whatever the photo."""
        concept_head_of(model).set_prior(torch.from_numpy(self.shares.mean(0)))

    def loss(self, model: CaptionModel, batch: Batch) -> Tensor:
        """Return the cross-entropy of a batch, a scalar."""
        head = concept_head_of(model)
        features = features_of(model, batch)
        device = next(iter(features.values())).device
        with torch.autocast(device.type, enabled=False):
            logits = head(features, self.dropout)
            shares = torch.from_numpy(_known(self.shares[list(batch.photos)], head)).to(device)
            loss = functional.binary_cross_entropy_with_logits(logits, shares, reduction="sum")
            return loss / len(shares) * (batch.part.of_photos if batch.part else 1.0)


def concept_precision(head: ConceptHead, scores: Tensor, shares: NDArray[np.float32]) -> float:
    """Return the mean average precision of the head's `scores` [photos, count] of words on photos.

    Mean over the words that the head knows and between 2 and 50 % of the photos' captions hold.
    """
    present = _known(shares, head) > 0
    often = present.mean(0)
    judged = np.flatnonzero((often >= RAREST) & (often <= MOST_COMMON))
    if not len(judged):
        return 0.0
    ranked = np.take_along_axis(
        present[:, judged], np.argsort(-scores.numpy()[:, judged], axis=0, kind="stable"), 0
    )
    precision = ranked.cumsum(0) / np.arange(1, len(ranked) + 1)[:, None]
    return float(((precision * ranked).sum(0) / ranked.sum(0)).mean())


def _known(shares: NDArray[np.float32], head: ConceptHead) -> NDArray[np.float32]:
    """Return the shares [photos, count] of the words that the head knows."""
    return shares[:, FIRST_WORD : FIRST_WORD + head.count]


def concept_head_of(model: CaptionModel) -> ConceptHead:
    """Return the model's word head; raises TrainingError where it was built without."""
    if model.concept_head is None:
        raise TrainingError(
            "the model was built without a concept head: its recipe has no such stage"
        )
    return model.concept_head
