"""LSTM decoders: from the features of a photo to a distribution over the next word.

Every decoder has three methods. `forward` scores whole captions at once (teacher forcing);
`init_state` and `step` write a caption word by word, for `showtell.decoding` and for export.
The memory has one row per photo and stays constant while a caption is written. The state has one
row per hypothesis and changes with every word. Rows are grouped by photo, so attention needs no
copy of the memory.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor, nn

from showtell.errors import RecipeError
from showtell.files.typed_settings import check_limits
from showtell.nets.packed_lstm import PackedLSTM, Packing

Tensors = dict[str, Tensor]

_REGION_DROPOUT = 0.1  # on projected regions and on attention weights


@dataclass(frozen=True)
class DecoderSettings:
    """Kind and size of a decoder. `DECODERS` lists the kinds."""

    kind: str = "attention"
    embedding: int = field(default=512, metadata={"ge": 1})
    hidden: int = field(default=512, metadata={"ge": 1})
    heads: int = field(default=8, metadata={"ge": 1})
    # attention: on the input of the softmax layer; merge: on photo features and word embeddings
    dropout: float = field(default=0.5, metadata={"ge": 0, "lt": 1})
    # on words and between layers (attention decoder)
    input_dropout: float = field(default=0.2, metadata={"ge": 0, "lt": 1})
    # attention decoder: the softmax layer shares the word embedding (Press and Wolf, 2017)
    tied: bool = True
    # decoders that are trained separately and choose each word together
    members: int = field(default=1, metadata={"ge": 1})
    # weight of the concepts detected in the photo; 0: no concept guidance
    concept_weight: float = field(default=0.0, metadata={"ge": 0, "old_names": ("evidence",)})
    # features in which concepts are detected
    concepts_from: Literal["pooled", "regions"] = field(
        default="pooled", metadata={"old_names": ("evidence_from",)}
    )

    def __post_init__(self) -> None:
        check_limits(self, RecipeError)
        if self.kind not in DECODERS:
            raise RecipeError(f"kind: must be one of {', '.join(DECODERS)}, not '{self.kind}'")
        if self.gated and self.kind != "attention":
            raise RecipeError("gated: only for the kind attention")
        if self.kind == "attention" and self.hidden % self.heads:
            raise RecipeError(f"heads: {self.heads} does not divide hidden ({self.hidden})")

    # The decoder learns when to name a detected word, instead of a fixed weight; the encoder needs
    # a word detector.
    gated: bool = False

    @property
    def concepts_in_regions(self) -> bool:
        """Whether concepts are detected in every region, not only in the pooled features."""
        return self.concepts_from == "regions"


class DecoderNetwork(nn.Module):
    """Base class of decoders: the features they need and the names of their arrays."""

    needs: tuple[str, ...]  # of "regions" and "pooled"
    memory_names: tuple[str, ...]
    state_names: tuple[str, ...]
    has_attention: bool

    def init_state(self, features: Tensors) -> tuple[Tensors, Tensors]:
        """Return memory and first state, one row per photo, for the features named in `needs`."""
        raise NotImplementedError

    def step(
        self, tokens: Tensor, memory: Tensors, state: Tensors
    ) -> tuple[Tensor, Tensor | None, Tensors]:
        """Read the last tokens [rows]; return log-probabilities [rows, words] of the next.

        Also returns attention [rows, regions], or None, and the new state.
        """
        raise NotImplementedError

    def forward(self, features: Tensors, inputs: Tensor, packing: Packing) -> Tensor:
        """Score captions: input tokens [rows, steps] to logits [tokens, words], packed."""
        raise NotImplementedError

    def member_logits(self, features: Tensors, inputs: Tensor, packing: Packing) -> list[Tensor]:
        """Return logits to train on, [tokens, words], one array per separately trained member.

        They have no concept guidance, unlike those of `forward`.
        """
        return [self(features, inputs, packing)]


class Attention(nn.Module):
    """Multi-head scaled dot-product attention over the regions of a photo.

    Soft attention of Show, Attend and Tell (Xu et al., 2015) in the form of Vaswani et al. (2017).
    """

    def __init__(self, size: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.scale = (size // heads) ** -0.5
        self.query = nn.Linear(size, size)
        self.drop = nn.Dropout(dropout)

    def forward(self, queries: Tensor, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Attend from queries [photos, n, size] to keys and values [photos, regions, size].

        Returns contexts [photos, n, size] and weights [photos, n, regions]: the mean over heads,
        which sums to 1 over regions.
        """
        query = self._split_heads(self.query(queries))  # [photos, heads, n, size / heads]
        key = self._split_heads(keys).transpose(2, 3)  # [photos, heads, size / heads, regions]
        value = self._split_heads(values)  # [photos, heads, regions, size / heads]
        weights = ((query * self.scale) @ key).softmax(-1)  # [photos, heads, n, regions]
        context = self.drop(weights) @ value  # [photos, heads, n, size / heads]
        return context.transpose(1, 2).flatten(2), weights.mean(1)

    def _split_heads(self, vectors: Tensor) -> Tensor:
        """Turn [photos, n, size] into [photos, heads, n, size / heads]."""
        photos, n, size = vectors.shape
        return vectors.reshape(photos, n, self.heads, size // self.heads).transpose(1, 2)


def mean_region(regions: Tensor) -> Tensor:
    """Return the mean [photos, channels] over regions [photos, regions, channels].

    Computed as a matrix product, which ONNX Runtime rounds the same way for one photo and for
    many.
    """
    count = regions.shape[1]
    return (regions.new_full((1, count), 1 / count) @ regions).squeeze(1)


class AttentionDecoder(DecoderNetwork):
    """Two LSTM layers with attention between them.

    The lower layer reads words and gives the attention query; the upper layer reads the lower
    layer's output and the attended context, and predicts the next word. This is the bottom-up
    top-down decoder of Anderson et al. (2018) without the feedback from the upper layer to the
    lower, so that training computes attention and gate inputs of all steps as a few large
    products.
    """

    needs = ("regions",)
    memory_names = ("memory_keys", "memory_values")
    state_names = ("lower_h", "lower_c", "upper_h", "upper_c")
    has_attention = True

    # A parameter's name also is its name in checkpoints and ONNX graphs: one that is renamed needs
    # an entry in `nets/renamed_parameters.py`.
    def __init__(self, settings: DecoderSettings, channels: int, words: int) -> None:
        super().__init__()
        size, embedding = settings.hidden, settings.embedding
        self.embed = nn.Embedding(words, embedding)
        self.region = nn.Sequential(
            nn.Linear(channels, size), nn.ReLU(), nn.Dropout(_REGION_DROPOUT)
        )
        self.key = nn.Linear(size, size)
        self.value = nn.Linear(size, size)
        self.start = nn.Linear(size, 4 * size)
        self.lower = PackedLSTM(embedding, size)
        self.attention = Attention(size, settings.heads, _REGION_DROPOUT)
        self.upper = PackedLSTM(2 * size, size)
        self.output_proj = nn.Linear(2 * size, embedding)
        self.word = nn.Linear(embedding, words)
        self.drop = nn.Dropout(settings.dropout)
        self.drop_input = nn.Dropout(settings.input_dropout)
        nn.init.normal_(self.embed.weight, std=embedding**-0.5)
        nn.init.zeros_(self.word.bias)
        if settings.tied:
            self.word.weight = self.embed.weight

    def init_state(self, features: Tensors) -> tuple[Tensors, Tensors]:
        region = self.region(features["regions"])  # [photos, regions, size]
        memory = {"memory_keys": self.key(region), "memory_values": self.value(region)}
        state = self.start(mean_region(region)).tanh().chunk(4, dim=-1)  # each [photos, size]
        return memory, dict(zip(self.state_names, state, strict=True))

    def step(
        self, tokens: Tensor, memory: Tensors, state: Tensors
    ) -> tuple[Tensor, Tensor | None, Tensors]:
        _, logits, attention, new_state = self.next_word(tokens, memory, state)
        return logits.float().log_softmax(-1), attention, new_state

    def next_word(
        self, tokens: Tensor, memory: Tensors, state: Tensors
    ) -> tuple[Tensor, Tensor, Tensor, Tensors]:
        """Read the last tokens; return output [rows, 2 * size], logits, attention and state."""
        keys, values = memory["memory_keys"], memory["memory_values"]
        lower_h, lower_c = self.lower.step(self.embed(tokens), state["lower_h"], state["lower_c"])
        query = lower_h.reshape(keys.shape[0], -1, lower_h.shape[-1])  # [photos, width, size]
        context, attention = self.attention(query, keys, values)
        context = context.flatten(0, 1)  # [rows, size]
        upper_input = torch.cat([lower_h, context], -1)  # [rows, 2 * size]
        upper_h, upper_c = self.upper.step(upper_input, state["upper_h"], state["upper_c"])
        output = torch.cat([upper_h, context], -1)  # [rows, 2 * size]
        logits = self.word(self.output_proj(output))  # [rows, words]
        new_state = dict(zip(self.state_names, (lower_h, lower_c, upper_h, upper_c), strict=True))
        return output, logits, attention.flatten(0, 1), new_state

    def forward(self, features: Tensors, inputs: Tensor, packing: Packing) -> Tensor:
        return self.packed_words(features, inputs, packing)[1]

    def packed_words(
        self, features: Tensors, inputs: Tensor, packing: Packing
    ) -> tuple[Tensor, Tensor]:
        """Read whole captions; return output [tokens, 2 * size] and logits [tokens, words]."""
        memory, state = self.init_state(features)
        photos = features["regions"].shape[0]
        width = packing.rows // photos
        lower_h, lower_c, upper_h, upper_c = (
            state[name].float().repeat_interleave(width, 0)[packing.order]  # [rows, size]
            for name in self.state_names
        )
        embedded = self.drop_input(self.embed(packing.pack(inputs)))  # [tokens, embedding]
        lower = self.lower(embedded, packing.sizes, lower_h, lower_c)  # [tokens, size]
        lower = self.drop_input(lower)
        # attention needs rows grouped by photo: [photos, width * steps, size]
        query = packing.unpack(lower).view(photos, width * packing.steps, -1)
        context, _ = self.attention(query, memory["memory_keys"], memory["memory_values"])
        context = context.flatten(0, 1)[packing.index]  # [tokens, size]
        upper_input = torch.cat([lower, context], -1)  # [tokens, 2 * size]
        upper = self.upper(upper_input, packing.sizes, upper_h, upper_c)  # [tokens, size]
        output = torch.cat([upper, context], -1)  # [tokens, 2 * size]
        return output, self.word(self.output_proj(self.drop(output)))


class MergeDecoder(DecoderNetwork):
    """The decoder of the notebook: the photo is added to the LSTM's output, not to its input.

    The merge architecture of Tanti, Gatt and Camilleri (Where to put the image in an image caption
    generator, 2018): pooled features and an LSTM over the words so far, added before the softmax
    layers.
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
        # Keras' default initialisation
        nn.init.uniform_(self.embed.weight, -0.05, 0.05)
        for layer in (project, self.join, self.word):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)

    def init_state(self, features: Tensors) -> tuple[Tensors, Tensors]:
        photo = self.photo(features["pooled"]).relu()  # [photos, size]
        return {"memory_photo": photo}, {"h": photo * 0, "c": photo * 0}

    def step(
        self, tokens: Tensor, memory: Tensors, state: Tensors
    ) -> tuple[Tensor, Tensor | None, Tensors]:
        photo = memory["memory_photo"]
        h, c = self.lstm.step(self.embed(tokens), state["h"], state["c"])  # [rows, size]
        merged = h.reshape(photo.shape[0], -1, self.size) + photo[:, None]  # [photos, width, size]
        logits = self.word(self.join(merged.flatten(0, 1)).relu())  # [rows, words]
        return logits.float().log_softmax(-1), None, {"h": h, "c": c}

    def forward(self, features: Tensors, inputs: Tensor, packing: Packing) -> Tensor:
        photo = self.photo(features["pooled"]).relu()  # [photos, size]
        width = packing.rows // photo.shape[0]
        zeros = photo.new_zeros(packing.rows, self.size, dtype=torch.float32)
        embedded = self.drop(self.embed(packing.pack(inputs)))  # [tokens, embedding]
        h = self.lstm(embedded, packing.sizes, zeros, zeros)  # [tokens, size]
        row = packing.index // packing.steps  # of each token
        logits: Tensor = self.word(self.join(h + photo[row // width]).relu())  # [tokens, words]
        return logits


DECODERS: dict[str, Callable[[DecoderSettings, int, int], DecoderNetwork]] = {
    "attention": AttentionDecoder,
    "merge": MergeDecoder,
}
