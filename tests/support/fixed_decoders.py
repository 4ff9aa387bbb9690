"""Small decoders to search in: language models whose every caption can be listed."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import numpy as np

from showtell.decoding.beam_search import Arrays, Floats, Integers
from showtell.vocabulary import END, START


class SeededDecoder:
    """Log-probabilities drawn from a seed, the photo's number and all tokens so far.

    `features["pooled"]` is [photos, 1], the photo's number. `end` is added to END's logit.
    """

    def __init__(
        self,
        words: int = 7,
        *,
        seed: int = 0,
        end: float = 0.0,
        regions: int | None = None,
        spread: float = 1.0,
    ) -> None:
        self.words, self.seed, self.end, self.regions = words, seed, end, regions
        self.spread = spread
        self.rows: list[int] = []  # rows of each step, to see what was dropped
        self.photos: list[int] = []

    def log_probabilities(self, photo: int, prefix: Sequence[int]) -> Floats:
        draw = np.random.default_rng([self.seed, photo, *prefix])
        logits = draw.normal(size=self.words) * self.spread
        logits[END] += self.end
        return np.float32(logits - np.log(np.exp(logits).sum()))

    def attention(self, photo: int, prefix: Sequence[int]) -> Floats:
        assert self.regions is not None
        draw = np.random.default_rng([self.seed + 1, photo, *prefix])
        return draw.dirichlet(np.ones(self.regions)).astype(np.float32)

    def init_state(self, features: Arrays) -> tuple[Arrays, Arrays]:
        photos = features["pooled"].astype(np.int64)
        return {"photo": photos}, {"prefix": np.zeros((len(photos), 0), np.int64)}

    def step(
        self, tokens: Integers, memory: Arrays, state: Arrays
    ) -> tuple[Floats, Floats | None, Arrays]:
        assert tokens.dtype == np.int64
        assert len(state["prefix"]) == len(tokens)
        width, rest = divmod(len(tokens), len(memory["photo"]))
        assert rest == 0
        self.rows.append(len(tokens))
        self.photos.append(len(memory["photo"]))
        photos = memory["photo"][:, 0].repeat(width).tolist()
        prefixes = np.concatenate([state["prefix"], tokens[:, None]], axis=1)
        rows = list(zip(photos, prefixes.tolist(), strict=True))
        attention = None
        if self.regions is not None:
            attention = np.stack([self.attention(*row) for row in rows])
        return (
            np.stack([self.log_probabilities(*row) for row in rows]),
            attention,
            {"prefix": prefixes},
        )


class FixedDecoder:
    """The same table [previous token, next token] for every photo."""

    def __init__(self, table: Floats) -> None:
        self.table = table

    def init_state(self, features: Arrays) -> tuple[Arrays, Arrays]:
        return {}, {"nothing": np.zeros((len(features["pooled"]), 1), np.float32)}

    def step(
        self, tokens: Integers, memory: Arrays, state: Arrays
    ) -> tuple[Floats, Floats | None, Arrays]:
        return self.table[tokens], None, state


def photos(*numbers: int) -> dict[str, Floats]:
    return {"pooled": np.float32(numbers).reshape(-1, 1)}


def every_finished_caption(
    decoder: SeededDecoder, photo: int, max_length: int
) -> Iterator[tuple[tuple[int, ...], float]]:
    """All captions that end within `max_length` tokens, END included, with log-probability."""
    for length in range(1, max_length):
        for tokens in itertools.product(range(4, decoder.words), repeat=length):
            prefix, total = [START], 0.0
            for token in (*tokens, END):
                total += float(decoder.log_probabilities(photo, prefix)[token])
                prefix.append(token)
            yield tokens, total
