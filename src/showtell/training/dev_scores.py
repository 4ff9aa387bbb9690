"""Scores of the current weights on the dev photos."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from showtell.data.dataset import CaptionedPhoto
from showtell.data.feature_cache import FeatureArrays
from showtell.decoding.options import Decoding, DecodingDefaults
from showtell.decoding.self_joins import SelfJoins
from showtell.image import load_pixels
from showtell.nets.model import CaptionModel, TorchDecoder
from showtell.training.concept_training import concept_head_of, concept_precision, concept_targets
from showtell.training.distributed import SINGLE, Ranks
from showtell.vocabulary import Vocabulary

BATCH_PHOTOS = 32


@dataclass(frozen=True)
class DevScores:
    """Scores a model on photos, from cached `features` or, where they are None, from pixels.

    Each rank processes its shard of the photos; all ranks get all results.
    """

    model: CaptionModel
    vocabulary: Vocabulary
    photos: Sequence[CaptionedPhoto]
    features: FeatureArrays | None
    encode: Callable[[NDArray[np.float32]], dict[str, NDArray[np.float32]]]
    ranks: Ranks = SINGLE

    def captions(self, decoding: DecodingDefaults) -> list[str]:
        """Return a caption for each photo."""
        device = next(self.model.decoder.parameters()).device
        decoder = TorchDecoder(self.model.decoder, device)
        search, self_joins = Decoding.of(decoding), SelfJoins(self.vocabulary)
        captions: list[str] = []
        for rows in self._batches():
            beams = search.run(decoder, self._features(rows), rows, self_joins)
            captions += [
                self.vocabulary.decode(hypotheses[0].tokens if hypotheses else ())
                for hypotheses in beams
            ]
        return self.ranks.gather_shards(captions, len(self.photos))

    def cider(self, captions: Sequence[str]) -> float:
        """Return the CIDEr of captions, one for each photo."""
        from showtell.scoring.metrics import cider

        references = [photo.captions for photo in self.photos]
        return cider(captions, references, self.vocabulary.rules)

    def concept_precision(self) -> float:
        """Return the mean average precision of the concept head; see `concept_precision`."""
        head = concept_head_of(self.model)
        device = next(head.parameters()).device
        logits: list[Tensor] = []  # each [count]
        for rows in self._batches():
            features = self._encode_photos(rows)
            with torch.inference_mode():
                logits += head(
                    {name: torch.from_numpy(x).to(device) for name, x in features.items()}
                ).cpu()
        scores = torch.stack(self.ranks.gather_shards(logits, len(self.photos)))  # [photos, count]
        return concept_precision(head, scores, concept_targets(self.photos, self.vocabulary))

    def _batches(self) -> list[Sequence[int]]:
        rows = self.ranks.shard(range(len(self.photos)))
        return [rows[start : start + BATCH_PHOTOS] for start in range(0, len(rows), BATCH_PHOTOS)]

    def _features(self, rows: Sequence[int]) -> dict[str, NDArray[np.float32]]:
        if self.features is None:
            return self._encode_photos(rows)
        return {name: x.astype(np.float32) for name, x in self.features.rows(rows).items()}

    def _encode_photos(self, rows: Sequence[int]) -> dict[str, NDArray[np.float32]]:
        preprocessing = self.model.encoder.spec.preprocessing
        pixels = [load_pixels(self.photos[row].path, preprocessing) for row in rows]
        return self.encode(np.stack(pixels))
