"""The captioner's network in one place: an encoder, a decoder, and a numpy face for decoding."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from showtell.nets.concepts import EvidenceDecoder, WordHead, speaker
from showtell.nets.decoder import Decoder, DecoderSettings, build_decoder
from showtell.nets.encoder import Encoder


class CaptionModel(nn.Module):
    """Encoder and decoder together: pixels to the next word.

    `word_head` says of a photo's features which words captions hold: the decoder's own, where it
    chooses words by that too, or one that training asks for.
    """

    def __init__(
        self, encoder: Encoder, settings: DecoderSettings, words: int, *, word_head: bool = False
    ) -> None:
        super().__init__()
        self.settings = settings
        self.words = words
        self.encoder = encoder
        self.decoder: Decoder = build_decoder(settings, encoder.channels, words)
        alone = word_head and not isinstance(self.decoder, EvidenceDecoder)
        regions = settings.looks_in_regions
        self.head = WordHead(encoder.channels, words, regions=regions) if alone else None

    @property
    def word_head(self) -> WordHead | None:
        """What says which words a photo's captions hold, if anything does."""
        return self.decoder.head if isinstance(self.decoder, EvidenceDecoder) else self.head


def draw_anew(model: CaptionModel) -> None:
    """Give a model's decoder the random weights of a new one; what it knows of words stays."""
    fresh = build_decoder(model.settings, model.encoder.channels, model.words)
    speaker(model.decoder).load_state_dict(speaker(fresh).state_dict())


class TorchDecoder:
    """A torch decoder as `showtell.decoding` wants it: numpy in, numpy out, no gradient."""

    def __init__(self, decoder: Decoder, device: torch.device | str = "cpu") -> None:
        self.decoder = decoder
        self.device = torch.device(device)

    def begin(
        self, features: Mapping[str, NDArray[Any]]
    ) -> tuple[dict[str, NDArray[Any]], dict[str, NDArray[Any]]]:
        """Turn features (`regions`, `pooled`) into memory and first state."""
        with torch.inference_mode():
            given = {name: self._tensor(features[name]).float() for name in self.decoder.needs}
            memory, state = self.decoder.begin(given)
        return self._arrays(memory), self._arrays(state)

    def step(
        self,
        tokens: NDArray[np.int64],
        memory: Mapping[str, NDArray[Any]],
        state: Mapping[str, NDArray[Any]],
    ) -> tuple[NDArray[np.float32], NDArray[np.float32] | None, dict[str, NDArray[Any]]]:
        """Read one token per row; return log-probabilities, attention and the next state."""
        with torch.inference_mode():
            scores, attention, new = self.decoder.step(
                self._tensor(tokens),
                {name: self._tensor(array) for name, array in memory.items()},
                {name: self._tensor(array) for name, array in state.items()},
            )
        weights = None if attention is None else attention.cpu().numpy()
        return scores.cpu().numpy(), weights, self._arrays(new)

    def _tensor(self, array: NDArray[Any]) -> Tensor:
        if not array.flags.writeable:  # torch warns about memory that it could not write to
            array = array.copy()
        return torch.from_numpy(np.ascontiguousarray(array)).to(self.device)

    def _arrays(self, tensors: Mapping[str, Tensor]) -> dict[str, NDArray[Any]]:
        return {name: tensor.float().cpu().numpy() for name, tensor in tensors.items()}
