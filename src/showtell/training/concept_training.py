"""Training encoder and concept head on the words of captions, before a decoder is trained.

The words that people use for a photo are a label that every captioned photo has, and their
gradient reaches the encoder more directly than through an LSTM. Detectors of caption words are
trained like this (Fang et al., From Captions to Visual Concepts and Back, 2015; Wu et al., What
Value Do Explicit High Level Concepts Have in Vision to Language Problems?, 2016). With
`decoder.concept_weight` above 0, the concept head then also guides the decoder.
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
from showtell.training.objectives import batch_features
from showtell.vocabulary import FIRST_WORD, SPECIAL_WORDS, Vocabulary

# words in a smaller or larger share of the photos say little about precision
RAREST, MOST_COMMON = 0.02, 0.5


def concept_targets(
    photos: Sequence[CaptionedPhoto], vocabulary: Vocabulary
) -> NDArray[np.float32]:
    """Return the share of each photo's captions that contain each word, [photos, words]."""
    shares = np.zeros((len(photos), len(vocabulary)), np.float32)
    for row, photo in enumerate(photos):
        for text in photo.captions:
            shares[row, sorted(set(vocabulary.encode(text)))] += 1 / len(photo.captions)
    shares[:, : len(SPECIAL_WORDS)] = 0
    return shares


class ConceptPrediction:
    """Cross-entropy between the share of captions with each word and the head's prediction.

    `shares` [photos, words] are the `concept_targets` of the training photos. The loss is the sum
    over words, in nats per photo.
    """

    def __init__(self, shares: NDArray[np.float32], dropout: float = 0.3) -> None:
        self.shares = shares
        self.dropout = dropout
        self.values: dict[str, float] = {}

    def set_prior(self, model: CaptionModel) -> None:
        """Make the head predict each word's frequency in the training photos."""
        concept_head_of(model).set_prior(torch.from_numpy(self.shares.mean(0)))

    def loss(self, model: CaptionModel, batch: Batch) -> Tensor:
        """Return the cross-entropy of a batch, a scalar with gradient."""
        head = concept_head_of(model)
        features = batch_features(model, batch)
        device = next(iter(features.values())).device
        with torch.autocast(device.type, enabled=False):
            logits = head(features, self.dropout)  # [photos, count]
            targets = torch.from_numpy(_of_concepts(self.shares[list(batch.photos)], head))
            loss = functional.binary_cross_entropy_with_logits(
                logits, targets.to(device), reduction="sum"
            )
            return loss / len(targets) * (batch.share.of_photos if batch.share else 1.0)


def concept_precision(head: ConceptHead, scores: Tensor, shares: NDArray[np.float32]) -> float:
    """Return the mean average precision of the head's `scores` [photos, count] for concepts.

    The mean is over concepts that occur in the captions of 2 to 50 % of the photos.
    """
    present = _of_concepts(shares, head) > 0  # [photos, count]
    frequency = present.mean(0)  # [count]
    columns = np.flatnonzero((frequency >= RAREST) & (frequency <= MOST_COMMON))
    if not len(columns):
        return 0.0
    order = np.argsort(-scores.numpy()[:, columns], axis=0, kind="stable")
    ranked = np.take_along_axis(present[:, columns], order, 0)  # likeliest photo first
    precision = ranked.cumsum(0) / np.arange(1, len(ranked) + 1)[:, None]
    return float(((precision * ranked).sum(0) / ranked.sum(0)).mean())


def _of_concepts(shares: NDArray[np.float32], head: ConceptHead) -> NDArray[np.float32]:
    """Return the columns of `shares` that belong to concepts, [photos, count]."""
    return shares[:, FIRST_WORD : FIRST_WORD + head.count]


def concept_head_of(model: CaptionModel) -> ConceptHead:
    """Return the model's concept head; raises TrainingError where it has none."""
    if model.concept_head is None:
        raise TrainingError(
            "the model was built without a concept head: its recipe has no such stage"
        )
    return model.concept_head
