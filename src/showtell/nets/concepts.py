"""Concepts: frequent words that a linear layer detects in a photo to guide the decoder.

A decoder alone prefers common sentences, which name fewer things than the photo shows. A linear
layer on the photo's features knows better which words fit the photo. For each word, the log-ratio
of its detected probability to its overall frequency is added to the decoder's scores until the
word has been emitted.

Sources: detected words guide captions in Fang et al., From Captions to Visual Concepts and Back,
2015 (which detects words in every region, too) and You et al., Image Captioning with Semantic
Attention, 2016. The ratio to the prior comes from Li et al., A Diversity-Promoting Objective
Function for Neural Conversation Models, 2016.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from showtell.nets.decoder import DecoderNetwork, Tensors, mean_region
from showtell.nets.packed_lstm import Packing
from showtell.vocabulary import FIRST_WORD

MAX_CONCEPTS = 900  # only the most frequent words: rarer ones have too few training photos
REMAINING_BIAS = "remaining_bias"  # name of the state array


class _LogPrior(nn.Module):
    """The log-frequency of each concept over all photos: counted, not trained."""

    def __init__(self, count: int) -> None:
        super().__init__()
        # named `bias` because only weights and biases are read back from ONNX graphs
        self.bias = nn.Parameter(torch.full((count,), 0.5).log(), requires_grad=False)  # [count]


class ConceptHead(nn.Module):
    """Predicts which frequent words appear in the captions of a photo.

    It reads the photo's pooled features. With `regions` it also scores every region and takes a
    smooth maximum over them, because an object that fills one region of many is lost in the mean.
    """

    def __init__(
        self, channels: int, words: int, *, regions: bool = False, concepts: int = 0
    ) -> None:
        super().__init__()
        self.words = words
        self.count = concepts or min(MAX_CONCEPTS, words - FIRST_WORD)
        self.global_logits = nn.Linear(channels, self.count)
        self.region_logits = nn.Linear(channels, self.count, bias=False) if regions else None
        self.log_prior = _LogPrior(self.count)
        nn.init.zeros_(self.global_logits.bias)
        self._zero_weights()

    def forward(self, features: Tensors, dropout: float = 0.0) -> Tensor:
        """Return the logit of each concept's presence, [photos, count].

        `dropout` is applied to the features in evaluation mode too: a training objective sets it.
        """
        pooled = pooled_features(features).float()  # [photos, channels]
        logits: Tensor = self.global_logits(_dropout(pooled, dropout))  # [photos, count]
        if self.region_logits is None:
            return logits
        regions = features["regions"].float()  # [photos, regions, channels]
        by_region = self.region_logits(_dropout(regions, dropout))
        return logits + soft_maximum(by_region.transpose(1, 2))  # [photos, count]

    def set_prior(self, frequency: Tensor) -> None:
        """Make the head predict each word's `frequency` [words] for every photo."""
        frequency = frequency[FIRST_WORD : FIRST_WORD + self.count].clamp(1e-5, 1 - 1e-5)
        with torch.no_grad():
            self._zero_weights()
            self.global_logits.bias.copy_(frequency.logit())
            self.log_prior.bias.copy_(frequency.log())

    def log_ratios(self, features: Tensors) -> Tensor:
        """Return log(probability in this photo / overall frequency) of each word, [photos, words].

        It is 0 for words that are not concepts.
        """
        logits = self(features)  # [photos, count]
        # log-sigmoid as a softmax over two logits: the result of ONNX Runtime's logarithm depends
        # on the position in the batch
        pairs = torch.stack([logits, torch.zeros_like(logits)], -1)  # [photos, count, 2]
        ratios = pairs.log_softmax(-1)[..., 0] - self.log_prior.bias  # [photos, count]
        return functional.pad(ratios, (FIRST_WORD, self.words - FIRST_WORD - self.count))

    def _zero_weights(self) -> None:
        for layer in filter(None, (self.global_logits, self.region_logits)):
            nn.init.zeros_(layer.weight)


def soft_maximum(logits: Tensor) -> Tensor:
    """Return log(mean(exp(logits))) over the last dimension: [..., n] to [...].

    Computed through the softmax, which ONNX Runtime rounds the same way for one photo and for
    many.
    """
    maximum = logits[..., 0] - logits.log_softmax(-1)[..., 0]
    return maximum - math.log(logits.shape[-1])


class ConceptGuidedDecoder(DecoderNetwork):
    """A decoder whose scores are shifted towards the concepts detected in the photo.

    The base decoder is trained without the shift (`member_logits`): the head knows the training
    photos by heart, and the decoder would learn to trust it too much.
    """

    def __init__(
        self,
        base: DecoderNetwork,
        channels: int,
        words: int,
        weight: float,
        *,
        regions: bool = False,
    ) -> None:
        super().__init__()
        self.base = base
        self.weight = weight
        self.head = ConceptHead(channels, words, regions=regions)
        extra = ("regions",) if regions and "regions" not in base.needs else ()
        self.needs = (*extra, *base.needs)
        self.memory_names = base.memory_names
        self.state_names = (*base.state_names, REMAINING_BIAS)
        self.has_attention = base.has_attention

    def init_state(self, features: Tensors) -> tuple[Tensors, Tensors]:
        memory, state = self.base.init_state(features)
        return memory, state | {REMAINING_BIAS: self._bias(features)}

    def step(
        self, tokens: Tensor, memory: Tensors, state: Tensors
    ) -> tuple[Tensor, Tensor | None, Tensors]:
        base_state = {name: state[name] for name in self.base.state_names}
        scores, attention, new_state = self.base.step(tokens, memory, base_state)
        bias = without_tokens(state[REMAINING_BIAS], tokens)  # [rows, words]
        scores = (scores + bias).log_softmax(-1)
        return scores, attention, new_state | {REMAINING_BIAS: bias}

    def forward(self, features: Tensors, inputs: Tensor, packing: Packing) -> Tensor:
        """Score captions with the same shift as `step`: log-probabilities [tokens, words]."""
        scores = self.base(features, inputs, packing).float().log_softmax(-1)  # [tokens, words]
        bias = self._bias(features)  # [photos, words]
        bias = bias.repeat_interleave(packing.rows // len(bias), 0)  # [rows, words]
        packed_bias: list[Tensor] = []
        for step, rows in enumerate(packing.sizes):
            bias = without_tokens(bias, inputs[:, step])
            packed_bias.append(bias[packing.order[:rows]])
        total: Tensor = scores + torch.cat(packed_bias)  # [tokens, words]
        return total.log_softmax(-1)

    def member_logits(self, features: Tensors, inputs: Tensor, packing: Packing) -> list[Tensor]:
        return self.base.member_logits(features, inputs, packing)

    def _bias(self, features: Tensors) -> Tensor:
        """Return what is added to each word's score until it is emitted, [photos, words]."""
        return self.weight * self.head.log_ratios(features)


def base_decoder(decoder: DecoderNetwork) -> DecoderNetwork:
    """Return the decoder without concept guidance."""
    return decoder.base if isinstance(decoder, ConceptGuidedDecoder) else decoder


def pooled_features(features: Tensors) -> Tensor:
    """Return pooled features [photos, channels]: the mean of the regions where there are any."""
    return mean_region(features["regions"]) if "regions" in features else features["pooled"]


def _dropout(values: Tensor, p: float) -> Tensor:
    # not called with p = 0, so that exported graphs hold no dropout
    return functional.dropout(values, p) if p else values


def without_tokens(bias: Tensor, tokens: Tensor) -> Tensor:
    """Return bias [rows, words] set to 0 for the emitted tokens [rows]."""
    return bias.scatter(1, tokens[:, None], torch.zeros_like(bias[:, :1]))
