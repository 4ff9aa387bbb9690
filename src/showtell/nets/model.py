"""The whole captioner in PyTorch: encoder and decoder, and a numpy adapter for decoding."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from showtell.errors import RecipeError
from showtell.nets.concepts import ConceptGuidedDecoder, ConceptHead, base_decoder
from showtell.nets.decoder import DECODERS, DecoderNetwork, DecoderSettings
from showtell.nets.encoder import Encoder
from showtell.nets.ensemble import EnsembleDecoder
from showtell.nets.gated_decoder import GatedDecoder


class CaptionModel(nn.Module):
    """Holds the encoder, the decoder and an optional concept head; it has no `forward`.

    With `concept_head`, the model has a concept head for training even where the decoder is not
    guided by concepts.
    """

    def __init__(
        self, encoder: Encoder, settings: DecoderSettings, words: int, *, concept_head: bool = False
    ) -> None:
        super().__init__()
        self.settings = settings
        self.words = words
        self.encoder = encoder
        detector = encoder.spec.detector
        self.decoder: DecoderNetwork = build_decoder(
            settings, encoder.channels, words, detector.words if detector else 0
        )
        separate = concept_head and not isinstance(self.decoder, ConceptGuidedDecoder)
        regions = settings.concepts_in_regions
        self.head = ConceptHead(encoder.channels, words, regions=regions) if separate else None

    @property
    def concept_head(self) -> ConceptHead | None:
        """The decoder's concept head, else the model's own, else None."""
        return self.decoder.head if isinstance(self.decoder, ConceptGuidedDecoder) else self.head


def build_decoder(
    settings: DecoderSettings, channels: int, words: int, detected: int = 0
) -> DecoderNetwork:
    """Build a decoder for features with `channels` channels and a vocabulary of `words` words.

    The encoder detects `detected` words. Raises RecipeError for a gated decoder if there are none.
    """
    if settings.gated:
        if not detected:
            raise RecipeError("decoder.gated: the encoder has no word detector")
        return GatedDecoder(settings, channels, words, detected)
    kind = DECODERS[settings.kind]
    members = [kind(settings, channels, words) for _ in range(settings.members)]
    decoder = members[0] if len(members) == 1 else EnsembleDecoder(members)
    if not settings.concept_weight:
        return decoder
    return ConceptGuidedDecoder(
        decoder, channels, words, settings.concept_weight, regions=settings.concepts_in_regions
    )


def reinit_decoder(model: CaptionModel) -> None:
    """Give a model's decoder new random weights; its concept head keeps its weights."""
    detector = model.encoder.spec.detector
    detected = detector.words if detector else 0
    new = build_decoder(model.settings, model.encoder.channels, model.words, detected)
    base_decoder(model.decoder).load_state_dict(base_decoder(new).state_dict())


class TorchDecoder:
    """Adapts a torch decoder to `showtell.decoding`: numpy arrays in and out, no gradients."""

    def __init__(self, decoder: DecoderNetwork, device: torch.device | str = "cpu") -> None:
        self.decoder = decoder
        self.device = torch.device(device)

    def init_state(
        self, features: Mapping[str, NDArray[Any]]
    ) -> tuple[dict[str, NDArray[Any]], dict[str, NDArray[Any]]]:
        """Return memory and first state for features (`regions`, `pooled`), a row per photo."""
        with torch.inference_mode():
            needed = {name: self._tensor(features[name]).float() for name in self.decoder.needs}
            memory, state = self.decoder.init_state(needed)
        return self._arrays(memory), self._arrays(state)

    def step(
        self,
        tokens: NDArray[np.int64],
        memory: Mapping[str, NDArray[Any]],
        state: Mapping[str, NDArray[Any]],
    ) -> tuple[NDArray[np.float32], NDArray[np.float32] | None, dict[str, NDArray[Any]]]:
        """Read one token per row; return log-probabilities, attention and the next state."""
        with torch.inference_mode():
            scores, attention, new_state = self.decoder.step(
                self._tensor(tokens),
                {name: self._tensor(array) for name, array in memory.items()},
                {name: self._tensor(array) for name, array in state.items()},
            )
        weights = None if attention is None else attention.cpu().numpy()
        return scores.cpu().numpy(), weights, self._arrays(new_state)

    def _tensor(self, array: NDArray[Any]) -> Tensor:
        if not array.flags.writeable:  # torch warns about memory that it cannot write to
            array = array.copy()
        return torch.from_numpy(np.ascontiguousarray(array)).to(self.device)

    def _arrays(self, tensors: Mapping[str, Tensor]) -> dict[str, NDArray[Any]]:
        return {name: tensor.float().cpu().numpy() for name, tensor in tensors.items()}
