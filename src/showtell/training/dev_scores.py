"""How good the present weights are, by what they say of the dev photos."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from showtell.data.dataset import CaptionedPhoto
from showtell.data.feature_cache import FeatureArrays
from showtell.decoding.beam_search import beam_search
from showtell.decoding.options import DecodingDefaults
from showtell.image import load_pixels
from showtell.nets.model import CaptionModel, TorchDecoder
from showtell.training.concept_training import concept_head_of, concept_precision, concept_targets
from showtell.training.distributed import ALONE, Ranks
from showtell.vocabulary import Vocabulary

BATCH = 32


@dataclass(frozen=True)
class DevScores:
    """Judges a model on photos, by cached `features` or, without them, by `encode` of pixels.

    Every rank looks at its share of the photos, and has what all of them found.
    """

    model: CaptionModel
    vocabulary: Vocabulary
    photos: Sequence[CaptionedPhoto]
    features: FeatureArrays | None
    encode: Callable[[NDArray[np.float32]], dict[str, NDArray[np.float32]]]
    ranks: Ranks = ALONE

    def captions(self, decoding: DecodingDefaults) -> list[str]:
        """Return a caption for each photo."""
        device = next(self.model.decoder.parameters()).device
        decoder = TorchDecoder(self.model.decoder, device)
        said: list[str] = []
        for rows in self._batches():
            found = beam_search(decoder, self._features(rows), **asdict(decoding))
            said += [self.vocabulary.decode(own[0].tokens if own else ()) for own in found]
        return self.ranks.put_together(said, len(self.photos))

    def cider(self, captions: Sequence[str]) -> float:
        """Return the CIDEr of captions, one for each photo."""
        from showtell.scoring.metrics import cider

        return cider(captions, [photo.captions for photo in self.photos])

    def concept_precision(self) -> float:
        """Return the mean average precision of the words that captions of the photos hold."""
        head = concept_head_of(self.model)
        device = next(head.parameters()).device
        own: list[Tensor] = []
        for rows in self._batches():
            seen = self._encoded(rows)
            with torch.inference_mode():
                own += head(
                    {name: torch.from_numpy(x).to(device) for name, x in seen.items()}
                ).cpu()
        scores = torch.stack(self.ranks.put_together(own, len(self.photos)))
        return concept_precision(head, scores, concept_targets(self.photos, self.vocabulary))

    def _batches(self) -> list[Sequence[int]]:
        rows = self.ranks.mine(range(len(self.photos)))
        return [rows[start : start + BATCH] for start in range(0, len(rows), BATCH)]

    def _features(self, rows: Sequence[int]) -> dict[str, NDArray[np.float32]]:
        if self.features is None:
            return self._encoded(rows)
        return {name: x.astype(np.float32) for name, x in self.features.rows(rows).items()}

    def _encoded(self, rows: Sequence[int]) -> dict[str, NDArray[np.float32]]:
        preprocessing = self.model.encoder.spec.preprocessing
        pixels = [load_pixels(self.photos[row].path, preprocessing) for row in rows]
        return self.encode(np.stack(pixels))
