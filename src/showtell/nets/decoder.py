"""LSTM decoders: features of a photo to a distribution over the next word.

Every decoder offers the same three calls. `forward` scores whole captions at once (teacher
forcing); `begin` and `step` write a caption word by word, for `showtell.decoding` and for export.
What never changes while a caption is written is the memory, one row a photo; what changes is the
state, one row a hypothesis. Rows are grouped by photo, so attention needs no copy of the memory.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from showtell.errors import RecipeError
from showtell.nets.packed_lstm import PackedLSTM, Packing

Arrays = dict[str, Tensor]


@dataclass(frozen=True)
class DecoderSettings:
    """A decoder's size and kind; `DECODERS` lists the kinds."""

    kind: str = "attention"
    embedding: int = 512
    hidden: int = 512
    heads: int = 8
    dropout: float = 0.5  # on what the softmax reads
    input_dropout: float = 0.2  # on words and between layers (attention kind)
    tied: bool = True  # of attention: the softmax shares the word embedding (Press and Wolf, 2017)
    members: int = 1  # decoders that are trained apart and choose each word together
    evidence: float = 0.0  # weight of the words seen in the photo, where a stage learns words
    evidence_from: Literal["pooled", "regions"] = "pooled"  # where words are looked for

    def __post_init__(self) -> None:
        if self.kind not in DECODERS:
            raise RecipeError(f"decoder.kind: '{self.kind}' is none of {', '.join(DECODERS)}")
        for name in ("embedding", "hidden", "heads", "members"):
            if getattr(self, name) < 1:
                raise RecipeError(f"decoder.{name}: must be at least 1")
        if self.kind == "attention" and self.hidden % self.heads:
            raise RecipeError(
                f"decoder.heads: {self.heads} does not divide decoder.hidden ({self.hidden})"
            )
        for name in ("dropout", "input_dropout"):
            if not 0 <= getattr(self, name) < 1:
                raise RecipeError(f"decoder.{name}: must be from 0 to below 1")
        if self.evidence < 0:
            raise RecipeError("decoder.evidence: must not be negative")

    @property
    def looks_in_regions(self) -> bool:
        """Whether words are looked for in every region, not in their mean alone."""
        return self.evidence_from == "regions"


class Decoder(nn.Module):
    """What all decoders share: which features they read and the names of their arrays."""

    needs: tuple[str, ...]  # of "regions" and "pooled"
    memory_names: tuple[str, ...]
    state_names: tuple[str, ...]
    has_attention: bool

    def begin(self, features: Arrays) -> tuple[Arrays, Arrays]:
        """Take features (`needs` of `regions` and `pooled`) to memory and state, a row a photo."""
        raise TypeError(f"{type(self).__name__} has no begin")

    def step(
        self, tokens: Tensor, memory: Arrays, state: Arrays
    ) -> tuple[Tensor, Tensor | None, Arrays]:
        """Take the last words [rows] to log-probabilities [rows, words] of the next.

        Also returns attention [rows, regions] (or None) and the new state.
        """
        raise TypeError(f"{type(self).__name__} has no step")

    def forward(self, features: Arrays, inputs: Tensor, packing: Packing) -> Tensor:
        """Score captions: words so far `inputs` [rows, steps] to logits [tokens, words], packed."""
        raise TypeError(f"{type(self).__name__} has no forward")

    def member_logits(self, features: Arrays, inputs: Tensor, packing: Packing) -> list[Tensor]:
        """Score captions as `forward` does, once for each decoder that is trained on its own."""
        return [self(features, inputs, packing)]


class Attention(nn.Module):
    """Scaled dot-product attention of a word over a photo's regions, with several heads.

    Soft attention of Show, Attend and Tell (Xu et al., 2015) in the form of Vaswani et al. (2017).
    """

    def __init__(self, size: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.scale = (size // heads) ** -0.5
        self.query = nn.Linear(size, size)
        self.drop = nn.Dropout(dropout)

    def forward(self, words: Tensor, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Attend from words [photos, width, size] to keys and values [photos, regions, size].

        Returns contexts [photos, width, size] and weights [photos, width, regions], the mean
        over heads, which sum to 1.
        """
        query = self._parted(self.query(words))  # (P, h, W, d/h)
        key = self._parted(keys).transpose(2, 3)  # (P, h, d/h, R)
        value = self._parted(values)  # (P, h, R, d/h)
        weights = ((query * self.scale) @ key).softmax(-1)  # (P, h, W, R)
        context = (self.drop(weights) @ value).transpose(1, 2).flatten(2)  # (P, W, d)
        return context, weights.mean(1)

    def _parted(self, vectors: Tensor) -> Tensor:
        """Part [photos, n, size] among the heads: [photos, heads, n, size / heads]."""
        photos, n, size = vectors.shape
        return vectors.reshape(photos, n, self.heads, size // self.heads).transpose(1, 2)


def mean_region(regions: Tensor) -> Tensor:
    """Return the mean [photos, channels] of regions [photos, regions, channels].

    As a product, which ONNX Runtime rounds alike for one photo and for many.
    """
    count = regions.shape[1]
    return (regions.new_full((1, count), 1 / count) @ regions).squeeze(1)


class AttentionDecoder(Decoder):
    """Two LSTM layers with attention between them.

    The lower layer reads words and asks; attention answers from the regions; the upper layer
    reads both and speaks. This is the bottom-up top-down decoder of Anderson et al. (2018)
    without the upper layer's feedback into the lower, so that in training attention and gates
    of all steps are a few large products.
    """

    needs = ("regions",)
    memory_names = ("memory_keys", "memory_values")
    state_names = ("lower_h", "lower_c", "upper_h", "upper_c")
    has_attention = True

    def __init__(self, settings: DecoderSettings, channels: int, words: int) -> None:
        super().__init__()
        size, embedding = settings.hidden, settings.embedding
        self.embed = nn.Embedding(words, embedding)
        self.region = nn.Sequential(nn.Linear(channels, size), nn.ReLU(), nn.Dropout(0.1))
        self.key = nn.Linear(size, size)
        self.value = nn.Linear(size, size)
        self.start = nn.Linear(size, 4 * size)
        self.lower = PackedLSTM(embedding, size)
        self.attention = Attention(size, settings.heads, 0.1)
        self.upper = PackedLSTM(2 * size, size)
        self.speak = nn.Linear(2 * size, embedding)
        self.word = nn.Linear(embedding, words)
        self.drop = nn.Dropout(settings.dropout)
        self.drop_input = nn.Dropout(settings.input_dropout)
        nn.init.normal_(self.embed.weight, std=embedding**-0.5)
        nn.init.zeros_(self.word.bias)
        if settings.tied:
            self.word.weight = self.embed.weight

    def begin(self, features: Arrays) -> tuple[Arrays, Arrays]:
        region = self.region(features["regions"])  # (P, R, size)
        memory = {"memory_keys": self.key(region), "memory_values": self.value(region)}
        start = self.start(mean_region(region)).tanh().chunk(4, dim=-1)
        return memory, dict(zip(self.state_names, start, strict=True))

    def step(
        self, tokens: Tensor, memory: Arrays, state: Arrays
    ) -> tuple[Tensor, Tensor | None, Arrays]:
        keys, values = memory["memory_keys"], memory["memory_values"]
        h1, c1 = self.lower.step(self.embed(tokens), state["lower_h"], state["lower_c"])
        asked = h1.reshape(keys.shape[0], -1, h1.shape[-1])  # (P, width, size)
        context, weights = self.attention(asked, keys, values)
        context = context.flatten(0, 1)
        h2, c2 = self.upper.step(torch.cat([h1, context], -1), state["upper_h"], state["upper_c"])
        logits = self.word(self.speak(torch.cat([h2, context], -1)))
        new = {"lower_h": h1, "lower_c": c1, "upper_h": h2, "upper_c": c2}
        return logits.float().log_softmax(-1), weights.flatten(0, 1), new

    def forward(self, features: Arrays, inputs: Tensor, packing: Packing) -> Tensor:
        memory, state = self.begin(features)
        photos = features["regions"].shape[0]
        width = packing.rows // photos
        # states (rows, size), in packed order
        lower_h, lower_c, upper_h, upper_c = (
            state[name].float().repeat_interleave(width, 0)[packing.order]
            for name in self.state_names
        )
        words = self.drop_input(self.embed(packing.pack(inputs)))  # (tokens, embedding)
        below = self.drop_input(
            self.lower(words, packing.sizes, lower_h, lower_c)
        )  # (tokens, size)
        asked = packing.unpack(below).view(photos, width * packing.steps, -1)
        context, _ = self.attention(asked, memory["memory_keys"], memory["memory_values"])
        context = context.flatten(0, 1)[packing.index]  # (tokens, size)
        above = self.upper(torch.cat([below, context], -1), packing.sizes, upper_h, upper_c)
        spoken = self.speak(self.drop(torch.cat([above, context], -1)))
        logits: Tensor = self.word(spoken)
        return logits


class MergeDecoder(Decoder):
    """The notebook's decoder: the photo joins the LSTM's output, not its input.

    The merge architecture of Tanti, Gatt and Camilleri (Where to put the image in an image caption
    generator, 2018): pooled features and an LSTM over the words so far, added before the softmax.
    """

    needs = ("pooled",)
    memory_names = ("memory_photo",)
    state_names = ("h", "c")
    has_attention = False

    def __init__(self, settings: DecoderSettings, channels: int, words: int) -> None:
        super().__init__()
        size = settings.hidden
        self.size = size
        project = nn.Linear(channels, size)
        self.photo = nn.Sequential(nn.Dropout(settings.dropout), project)
        self.embed = nn.Embedding(words, settings.embedding)
        self.drop = nn.Dropout(settings.dropout)
        self.lstm = PackedLSTM(settings.embedding, size)
        self.join = nn.Linear(size, size)
        self.word = nn.Linear(size, words)
        nn.init.uniform_(self.embed.weight, -0.05, 0.05)  # as Keras begins, here and below
        for layer in (project, self.join, self.word):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)

    def begin(self, features: Arrays) -> tuple[Arrays, Arrays]:
        photo = self.photo(features["pooled"]).relu()  # (P, size)
        return {"memory_photo": photo}, {"h": photo * 0, "c": photo * 0}

    def step(
        self, tokens: Tensor, memory: Arrays, state: Arrays
    ) -> tuple[Tensor, Tensor | None, Arrays]:
        photo = memory["memory_photo"]
        h, c = self.lstm.step(self.embed(tokens), state["h"], state["c"])
        joined = h.reshape(photo.shape[0], -1, self.size) + photo[:, None]  # (P, width, size)
        logits = self.word(self.join(joined.flatten(0, 1)).relu())
        return logits.float().log_softmax(-1), None, {"h": h, "c": c}

    def forward(self, features: Arrays, inputs: Tensor, packing: Packing) -> Tensor:
        photo = self.photo(features["pooled"]).relu()
        width = packing.rows // photo.shape[0]
        zero = photo.new_zeros(packing.rows, self.size, dtype=torch.float32)
        words = self.drop(self.embed(packing.pack(inputs)))
        h = self.lstm(words, packing.sizes, zero, zero)  # (tokens, size)
        row = packing.index // packing.steps
        logits: Tensor = self.word(self.join(h + photo[row // width]).relu())
        return logits


DECODERS: dict[str, Callable[[DecoderSettings, int, int], Decoder]] = {
    "attention": AttentionDecoder,
    "merge": MergeDecoder,
}


def build_decoder(settings: DecoderSettings, channels: int, words: int) -> Decoder:
    """Build a decoder over features of `channels` channels and a vocabulary of `words` words."""
    # which are made of decoders
    from showtell.nets.concepts import EvidenceDecoder
    from showtell.nets.ensemble import EnsembleDecoder

    kind = DECODERS[settings.kind]
    members = [kind(settings, channels, words) for _ in range(settings.members)]
    decoder = members[0] if len(members) == 1 else EnsembleDecoder(members)
    if settings.evidence:
        regions = settings.looks_in_regions
        return EvidenceDecoder(decoder, channels, words, settings.evidence, regions=regions)
    return decoder
