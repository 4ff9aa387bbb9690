"""Words that are seen in a photo, beside those that a decoder would say of it.

A decoder prefers what is usually said: its likeliest sentence is about fewer things than a photo
shows. A linear layer on the photo's features knows better which words belong to it. How much
likelier it holds a word than the word is anyway is added to the decoder's scores, until the word is
said. Detected words have long been offered to captioners (Fang et al., From Captions to Visual
Concepts and Back, 2015, who look for each word in every region, too; You et al., Image Captioning
with Semantic Attention, 2016); the ratio to the usual is what Li et al. (A Diversity-Promoting
Objective Function for Neural Conversation Models, 2016) choose sentences by.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from showtell.nets.decoder import Arrays, Decoder, mean_region
from showtell.nets.packed_lstm import Packing
from showtell.vocabulary import SPECIAL_WORDS

FREQUENT = 900  # words that a head knows, the most frequent: of rarer ones it has seen too few
FIRST = len(SPECIAL_WORDS)  # the vocabulary's first word, which is its most frequent
UNSAID = "unsaid"


class _Usual(nn.Module):
    """How likely each word is whatever the photo, as a logarithm; counted, not trained."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.full((count,), 0.5).log(), requires_grad=False)


class WordHead(nn.Module):
    """Says of a photo's features which frequent words its captions hold.

    By its pooled features and, with `regions`, by the region that speaks for a word the most: what
    fills one region of many is lost in their mean.
    """

    def __init__(self, channels: int, words: int, *, regions: bool = False) -> None:
        super().__init__()
        self.words = words
        self.count = min(FREQUENT, words - FIRST)
        self.present = nn.Linear(channels, self.count)
        self.local = nn.Linear(channels, self.count, bias=False) if regions else None
        self.usual = _Usual(self.count)
        nn.init.zeros_(self.present.bias)
        for layer in filter(None, (self.present, self.local)):
            nn.init.zeros_(layer.weight)

    def forward(self, features: Arrays, dropout: float = 0.0) -> Tensor:
        """Return the logit of each frequent word's presence: [photos, count]."""
        pooled = pooled_of(features).float()
        logits: Tensor = self.present(functional.dropout(pooled, dropout) if dropout else pooled)
        if self.local is None:
            return logits
        regions = features["regions"].float()
        spoken = self.local(functional.dropout(regions, dropout) if dropout else regions)
        return logits + _soft_maximum(spoken.transpose(1, 2))

    def begin_with(self, frequency: Tensor) -> None:
        """Say how frequent each word [words] is, whatever the photo."""
        chance = frequency[FIRST : FIRST + self.count].clamp(1e-5, 1 - 1e-5)
        with torch.no_grad():
            for layer in filter(None, (self.present, self.local)):
                layer.weight.zero_()
            self.present.bias.copy_(chance.logit())
            self.usual.bias.copy_(chance.log())

    def evidence(self, features: Arrays) -> Tensor:
        """Return log(how likely a photo makes each word / how likely it is): [photos, words].

        Of words that the head does not know, nothing: 0.
        """
        logits = self(features)
        # a row of two for each word: ONNX Runtime's logarithm hangs on the place in the batch
        chance = torch.stack([logits, torch.zeros_like(logits)], -1).log_softmax(-1)[..., 0]
        gained = chance - self.usual.bias
        return functional.pad(gained, (FIRST, self.words - FIRST - self.count))


def _soft_maximum(logits: Tensor) -> Tensor:
    """Return the logarithm of the mean of exp(logits) [..., n] over n, a smooth maximum: [...].

    Through the softmax, which ONNX Runtime rounds alike for one photo and for many.
    """
    first = logits[..., 0] - logits.log_softmax(-1)[..., 0]
    return first - math.log(logits.shape[-1])


class EvidenceDecoder(Decoder):
    """A decoder whose every word is chosen in the light of the words seen in the photo.

    The decoder itself is trained without (`member_logits`): on photos that it learns from, the head
    knows the words by heart, and the decoder would come to trust it too far.
    """

    def __init__(
        self, inner: Decoder, channels: int, words: int, weight: float, *, regions: bool = False
    ) -> None:
        super().__init__()
        self.inner = inner
        self.weight = weight
        self.head = WordHead(channels, words, regions=regions)
        more = ("regions",) if regions and "regions" not in inner.needs else ()
        self.needs = (*more, *inner.needs)
        self.memory_names = inner.memory_names
        self.state_names = (*inner.state_names, UNSAID)
        self.has_attention = inner.has_attention

    def begin(self, features: Arrays) -> tuple[Arrays, Arrays]:
        memory, state = self.inner.begin(features)
        return memory, state | {UNSAID: self._seen(features)}

    def step(
        self, tokens: Tensor, memory: Arrays, state: Arrays
    ) -> tuple[Tensor, Tensor | None, Arrays]:
        own = {name: state[name] for name in self.inner.state_names}
        scores, looked, new = self.inner.step(tokens, memory, own)
        unsaid = _without(state[UNSAID], tokens)
        return (scores + unsaid).log_softmax(-1), looked, new | {UNSAID: unsaid}

    def forward(self, features: Arrays, inputs: Tensor, packing: Packing) -> Tensor:
        """Score captions as `step` does: log-probabilities [tokens, words], packed."""
        scores = self.inner(features, inputs, packing).float().log_softmax(-1)
        seen = self._seen(features)
        unsaid = seen.repeat_interleave(packing.rows // len(seen), 0)  # (rows, words)
        light: list[Tensor] = []
        for step, going in enumerate(packing.sizes):
            unsaid = _without(unsaid, inputs[:, step])
            light.append(unsaid[packing.order[:going]])
        total: Tensor = scores + torch.cat(light)
        return total.log_softmax(-1)

    def member_logits(self, features: Arrays, inputs: Tensor, packing: Packing) -> list[Tensor]:
        return self.inner.member_logits(features, inputs, packing)

    def _seen(self, features: Arrays) -> Tensor:
        return self.weight * self.head.evidence(features)


def speaker(decoder: Decoder) -> Decoder:
    """Return the decoder that speaks, without the evidence beside it."""
    return decoder.inner if isinstance(decoder, EvidenceDecoder) else decoder


def pooled_of(features: Arrays) -> Tensor:
    """Return a photo's pooled features [photos, channels], of its regions where they are here."""
    return mean_region(features["regions"]) if "regions" in features else features["pooled"]


def _without(evidence: Tensor, tokens: Tensor) -> Tensor:
    """Return evidence [rows, words] less that for the words [rows] that were said."""
    return evidence.scatter(1, tokens[:, None], torch.zeros_like(evidence[:, :1]))
