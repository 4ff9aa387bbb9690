"""Decoders that learn when to name a detected word.

A fixed weight of the detected words is a compromise: too small for photos unlike the training
photos, on which the decoder sees nothing that it knows, and too large for the others. Here each
decoder has a gate. It computes the weight for every word of a caption from what it has written and
looked at. It learns that on photos, and on captions without photos for which the detection is
simulated (`showtell.training.simulated_detection`).

Sources: the gate follows Yao et al., Incorporating Copying Mechanism in Image Captioning for
Learning Novel Objects, 2017; the log-ratio to the prior is that of `showtell.nets.concepts`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from showtell.decoding.keywords import DETECTED
from showtell.nets.concepts import REMAINING_BIAS, without_tokens
from showtell.nets.decoder import AttentionDecoder, DecoderNetwork, DecoderSettings, Tensors
from showtell.nets.packed_lstm import Packing
from showtell.vocabulary import FIRST_WORD

LEAST_RATIO, LARGEST_RATIO = -3.0, 7.0  # limits of a word's log-ratio
_FIRST_GATE = -0.9  # softplus gives 0.34


class GatedMember(AttentionDecoder):
    """An attention decoder with a gate for the bias of detected words.

    The gate has two outputs: the weight of caption words and that of words that only the object
    classes know.
    """

    def __init__(self, settings: DecoderSettings, channels: int, words: int) -> None:
        super().__init__(settings, channels, words)
        self.gate = nn.Linear(2 * settings.hidden, 2)
        nn.init.zeros_(self.gate.weight)
        nn.init.constant_(self.gate.bias, _FIRST_GATE)

    def guided(self, output: Tensor, logits: Tensor, bias: Tensor, is_object: Tensor) -> Tensor:
        """Return logits plus the gated bias, each [rows, words]; `output` is the upper state."""
        gate = functional.softplus(self.gate(output).float())  # [rows, 2]
        # no lerp: the exporter would fold `is_object` into a constant without a name
        weight = gate[:, :1] + (gate[:, 1:] - gate[:, :1]) * is_object  # [rows, words]
        return logits.float() + weight * bias


class GatedDecoder(DecoderNetwork):
    """An ensemble of gated decoders that share the detected words.

    A word's bias is the log-ratio of its detected probability to its frequency in captions, until
    the caption contains the word.
    """

    needs = ("regions", DETECTED)
    has_attention = True

    def __init__(self, settings: DecoderSettings, channels: int, words: int, detected: int) -> None:
        super().__init__()
        self.words, self.detected = words, detected
        members = [GatedMember(settings, channels, words) for _ in range(settings.members)]
        self.members = nn.ModuleList(members)
        first = members[0]
        self.memory_names = self._numbered(first.memory_names)
        self.state_names = (*self._numbered(first.state_names), REMAINING_BIAS)
        # Counted and chosen, not trained; `bias` because that is read back from ONNX graphs. The
        # strength multiplies a word's log-ratio; it is 0 for function words.
        self.log_prior = _Constant(torch.full((detected,), math.log(0.5)))
        self.is_object = _Constant(torch.zeros(words))
        self.strength = _Constant(torch.ones(detected))

    def init_state(self, features: Tensors) -> tuple[Tensors, Tensors]:
        memory: Tensors = {}
        state: Tensors = {REMAINING_BIAS: self.bias(features[DETECTED])}
        for i, member in enumerate(self._decoders()):
            member_memory, member_state = member.init_state(features)
            memory |= {f"{name}_{i}": array for name, array in member_memory.items()}
            state |= {f"{name}_{i}": array for name, array in member_state.items()}
        return memory, {name: state[name] for name in self.state_names}

    def bias(self, logits: Tensor) -> Tensor:
        """Return each word's log-ratio, [photos, words], for logits [photos, detected words]."""
        # log-sigmoid as a softmax over two logits: see `ConceptHead.log_ratios`
        pairs = torch.stack([logits, torch.zeros_like(logits)], -1)
        ratios = pairs.log_softmax(-1)[..., 0] - self.log_prior.bias
        ratios = self.strength.bias * ratios.clamp(LEAST_RATIO, LARGEST_RATIO)
        return functional.pad(ratios, (FIRST_WORD, self.words - FIRST_WORD - self.detected))

    def step(
        self, tokens: Tensor, memory: Tensors, state: Tensors
    ) -> tuple[Tensor, Tensor | None, Tensors]:
        bias = without_tokens(state[REMAINING_BIAS], tokens)  # [rows, words]
        scores: list[Tensor] = []  # each [rows, words]
        attentions: list[Tensor] = []  # each [rows, regions]
        new_state: Tensors = {}
        for i, member in enumerate(self._decoders()):
            output, logits, attention, member_state = member.next_word(
                tokens,
                {name: memory[f"{name}_{i}"] for name in member.memory_names},
                {name: state[f"{name}_{i}"] for name in member.state_names},
            )
            logits = member.guided(output, logits, bias, self.is_object.bias)
            scores.append(logits.log_softmax(-1))
            attentions.append(attention)
            new_state |= {f"{name}_{i}": array for name, array in member_state.items()}
        mean = torch.stack(scores).logsumexp(0) - math.log(len(scores))
        return mean, torch.stack(attentions).mean(0), new_state | {REMAINING_BIAS: bias}

    def forward(self, features: Tensors, inputs: Tensor, packing: Packing) -> Tensor:
        """Score captions together: log-probabilities [tokens, words], packed."""
        logits = self.member_logits(features, inputs, packing)
        scores = [member.log_softmax(-1) for member in logits]
        return torch.stack(scores).logsumexp(0) - math.log(len(scores))

    def member_logits(self, features: Tensors, inputs: Tensor, packing: Packing) -> list[Tensor]:
        """Return each member's logits with its guidance, [tokens, words]."""
        bias = packed_bias(self.bias(features[DETECTED]), inputs, packing)  # [tokens, words]
        results = []
        for member in self._decoders():
            output, logits = member.packed_words(features, inputs, packing)
            results.append(member.guided(output, logits, bias, self.is_object.bias))
        return results

    def _numbered(self, names: Sequence[str]) -> tuple[str, ...]:
        return tuple(f"{name}_{i}" for i in range(len(self.members)) for name in names)

    def _decoders(self) -> list[GatedMember]:
        return [member for member in self.members if isinstance(member, GatedMember)]


class _Constant(nn.Module):
    """Numbers that are stored with the weights and not trained."""

    def __init__(self, values: Tensor) -> None:
        super().__init__()
        self.bias = nn.Parameter(values, requires_grad=False)


def packed_bias(bias: Tensor, inputs: Tensor, packing: Packing) -> Tensor:
    """Return the bias [photos, words] of each token, 0 for emitted words: [tokens, words]."""
    bias = bias.repeat_interleave(packing.rows // len(bias), 0)  # [rows, words]
    packed: list[Tensor] = []
    for step, rows in enumerate(packing.sizes):
        bias = without_tokens(bias, inputs[:, step])
        packed.append(bias[packing.order[:rows]])
    return torch.cat(packed)
