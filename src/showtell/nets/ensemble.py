"""Several decoders that read one photo and choose each word together."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from showtell.nets.decoder import Arrays, Decoder
from showtell.nets.packed_lstm import Packing


class EnsembleDecoder(Decoder):
    """Decoders of one kind, drawn and trained apart, whose word probabilities are averaged.

    Ensembles are how captioners on small sets have always gained most (Vinyals et al., Show and
    Tell: Lessons Learned, 2016). Several narrow decoders cost what one wide one does, since a
    layer's work grows with the square of its width; so the ensemble itself ships.
    """

    def __init__(self, members: Sequence[Decoder]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)
        first = members[0]
        self.needs = first.needs
        self.memory_names = self._named(first.memory_names)
        self.state_names = self._named(first.state_names)
        self.has_attention = first.has_attention

    def _named(self, names: Sequence[str]) -> tuple[str, ...]:
        return tuple(f"{name}_{i}" for i in range(len(self.members)) for name in names)

    def begin(self, features: Arrays) -> tuple[Arrays, Arrays]:
        memory: Arrays = {}
        state: Arrays = {}
        for i, member in enumerate(self._all()):
            own_memory, own_state = member.begin(features)
            memory |= {f"{name}_{i}": array for name, array in own_memory.items()}
            state |= {f"{name}_{i}": array for name, array in own_state.items()}
        return memory, state

    def step(
        self, tokens: Tensor, memory: Arrays, state: Arrays
    ) -> tuple[Tensor, Tensor | None, Arrays]:
        scores: list[Tensor] = []
        attention: list[Tensor] = []
        new: Arrays = {}
        for i, member in enumerate(self._all()):
            said, seen, after = member.step(
                tokens,
                {name: memory[f"{name}_{i}"] for name in member.memory_names},
                {name: state[f"{name}_{i}"] for name in member.state_names},
            )
            scores.append(said)
            attention += [] if seen is None else [seen]
            new |= {f"{name}_{i}": array for name, array in after.items()}
        looked = torch.stack(attention).mean(0) if attention else None
        return _mean_probability(scores), looked, new

    def forward(self, features: Arrays, inputs: Tensor, packing: Packing) -> Tensor:
        """Score captions together: log-probabilities [tokens, words], packed."""
        scores = self.member_logits(features, inputs, packing)
        return _mean_probability([logits.float().log_softmax(-1) for logits in scores])

    def member_logits(self, features: Arrays, inputs: Tensor, packing: Packing) -> list[Tensor]:
        return [member(features, inputs, packing) for member in self._all()]

    def _all(self) -> list[Decoder]:
        return [member for member in self.members if isinstance(member, Decoder)]


def _mean_probability(scores: Sequence[Tensor]) -> Tensor:
    """Return the logarithm of the mean of probabilities given as logarithms [rows, words]."""
    return torch.stack(list(scores)).logsumexp(0) - math.log(len(scores))
