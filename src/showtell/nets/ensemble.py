"""An ensemble of decoders that read one photo and choose each word together."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from showtell.nets.decoder import DecoderNetwork, Tensors
from showtell.nets.packed_lstm import Packing


class EnsembleDecoder(DecoderNetwork):
    """Decoders of one kind, initialised and trained separately, that average their probabilities.

    Ensembles bring the largest gains on small datasets (Vinyals et al., Show and Tell: Lessons
    Learned, 2016). Several narrow decoders cost as much as one wide decoder, because a layer's
    cost grows with the square of its width; so the ensemble itself ships.
    """

    def __init__(self, members: Sequence[DecoderNetwork]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)
        first = members[0]
        self.needs = first.needs
        self.memory_names = self._numbered(first.memory_names)
        self.state_names = self._numbered(first.state_names)
        self.has_attention = first.has_attention

    def _numbered(self, names: Sequence[str]) -> tuple[str, ...]:
        return tuple(f"{name}_{i}" for i in range(len(self.members)) for name in names)

    def init_state(self, features: Tensors) -> tuple[Tensors, Tensors]:
        memory: Tensors = {}
        state: Tensors = {}
        for i, member in enumerate(self._decoders()):
            member_memory, member_state = member.init_state(features)
            memory |= {f"{name}_{i}": array for name, array in member_memory.items()}
            state |= {f"{name}_{i}": array for name, array in member_state.items()}
        return memory, state

    def step(
        self, tokens: Tensor, memory: Tensors, state: Tensors
    ) -> tuple[Tensor, Tensor | None, Tensors]:
        scores: list[Tensor] = []  # each [rows, words]
        attention: list[Tensor] = []  # each [rows, regions]
        new_state: Tensors = {}
        for i, member in enumerate(self._decoders()):
            member_scores, member_attention, member_state = member.step(
                tokens,
                {name: memory[f"{name}_{i}"] for name in member.memory_names},
                {name: state[f"{name}_{i}"] for name in member.state_names},
            )
            scores.append(member_scores)
            if member_attention is not None:
                attention.append(member_attention)
            new_state |= {f"{name}_{i}": array for name, array in member_state.items()}
        mean_attention = torch.stack(attention).mean(0) if attention else None
        return _mean_probability(scores), mean_attention, new_state

    def forward(self, features: Tensors, inputs: Tensor, packing: Packing) -> Tensor:
        """Score captions together: log-probabilities [tokens, words], packed."""
        logits = self.member_logits(features, inputs, packing)
        return _mean_probability([member.float().log_softmax(-1) for member in logits])

    def member_logits(self, features: Tensors, inputs: Tensor, packing: Packing) -> list[Tensor]:
        return [member(features, inputs, packing) for member in self._decoders()]

    def _decoders(self) -> list[DecoderNetwork]:
        return [member for member in self.members if isinstance(member, DecoderNetwork)]


def _mean_probability(scores: Sequence[Tensor]) -> Tensor:
    """Return the log of the mean of probabilities, which are given as logs, each [rows, words]."""
    return torch.stack(list(scores)).logsumexp(0) - math.log(len(scores))
