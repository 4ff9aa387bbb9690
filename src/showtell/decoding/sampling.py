"""Random captions from a decoder: temperature, top-k and nucleus sampling (numpy only).

Each photo has its own random generator, seeded by (seed, index of the photo), so that its
captions depend neither on its batch nor on the length of other photos' captions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from showtell.decoding.beam_search import (
    Arrays,
    Decoder,
    Floats,
    Hypothesis,
    Integers,
    count_photos,
    take_rows,
)
from showtell.vocabulary import END, FIRST_WORD, START

__all__ = ["sample"]

_HEAD = 128  # words that are sorted first to find a nucleus: sorting all of them is slow


def sample(
    decoder: Decoder,
    features: Arrays,
    *,
    samples: int = 1,
    temperature: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
    seed: int = 0,
    indices: Sequence[int] | None = None,
    length_penalty: float = 1.0,
    max_length: int = 24,
) -> list[list[Hypothesis]]:
    """Draw `samples` captions for each photo, in the order drawn.

    Log-probabilities are divided by `temperature`. Then only the `top_k` likeliest words remain
    (0: all), and of these the smallest set of likeliest words that holds `top_p` of the
    probability (nucleus: Holtzman et al., "The Curious Case of Neural Text Degeneration", 2020).
    PAD, START and UNKNOWN are never drawn, and END never first. Hypotheses hold the model's own
    log-probabilities.

    `features` have one row per photo; `indices` are the photos' positions in a larger input (by
    default 0, 1, ...). A photo's list is empty only if the decoder gives no word any probability.
    Raises ValueError where an option is out of range.
    """
    if samples < 1 or max_length < 1 or top_k < 0:
        raise ValueError("samples and max_length must be at least 1, top_k at least 0")
    if not temperature > 0 or not 0 < top_p <= 1:
        raise ValueError("temperature must be above 0, top_p above 0 and at most 1")
    if not features or not count_photos(features):
        return []
    photos = count_photos(features)
    indices = range(photos) if indices is None else indices
    uniforms = np.stack(
        [np.random.default_rng([seed, index]).random((samples, max_length)) for index in indices]
    )  # (photos, samples, max_length)
    sampler = _Sampler(temperature, top_k, top_p)
    captions = _draw_captions(decoder, features, sampler, uniforms)
    hypotheses = [
        [captions.hypothesis(photo, number, length_penalty) for number in range(samples)]
        for photo in range(photos)
    ]
    return [[hypothesis for hypothesis in row if hypothesis.tokens] for row in hypotheses]


@dataclass
class _Samples:
    """The drawn captions; tokens after the first END mean nothing."""

    tokens: Integers  # (photos, samples, max_length)
    log_probabilities: NDArray[np.float64]  # (photos, samples, max_length)
    attention: Floats | None  # (photos, samples, max_length, regions)

    def hypothesis(self, photo: int, number: int, length_penalty: float) -> Hypothesis:
        tokens = self.tokens[photo, number]
        log_probabilities = self.log_probabilities[photo, number]
        ends = np.flatnonzero(tokens == END)
        length = int(ends[0]) if len(ends) else len(tokens)
        # an END that was forced, because no word had any probability, does not count
        finished = bool(len(ends)) and bool(log_probabilities[length] > -np.inf)
        total = float(log_probabilities[: length + finished].sum())
        return Hypothesis(
            tokens=tuple(tokens[:length].tolist()),
            log_probability=total,
            score=total / max(1, length + finished) ** length_penalty,
            word_log_probabilities=tuple(log_probabilities[:length].tolist()),
            attention=None if self.attention is None else self.attention[photo, number, :length],
            finished=finished,
        )

    def ended(self, photos: Integers) -> NDArray[np.bool_]:
        """Return which captions of these photos have an END, bool (photos, samples)."""
        ended: NDArray[np.bool_] = (self.tokens[photos] == END).any(axis=2)
        return ended

    def record(
        self,
        step: int,
        photos: Integers,
        tokens: Integers,
        log_probabilities: Floats,
        attention: Floats | None,
    ) -> None:
        """Store one step of these photos; arrays have one row per caption, grouped by photo."""
        samples, max_length = self.tokens.shape[1:]
        self.tokens[photos, :, step] = tokens.reshape(-1, samples)
        self.log_probabilities[photos, :, step] = log_probabilities.reshape(-1, samples)
        if attention is None:
            return
        regions = attention.shape[1]
        if self.attention is None:
            shape = (len(self.tokens), samples, max_length, regions)
            self.attention = np.zeros(shape, np.float32)
        self.attention[photos, :, step] = attention.reshape(-1, samples, regions)


def _draw_captions(
    decoder: Decoder, features: Arrays, sampler: _Sampler, uniforms: NDArray[np.float64]
) -> _Samples:
    """Draw captions word by word; `uniforms` (photos, samples, steps) decide all draws."""
    photos, samples, max_length = uniforms.shape
    captions = _Samples(
        np.zeros((photos, samples, max_length), np.int64),
        np.full((photos, samples, max_length), -np.inf),
        None,
    )
    memory, state = decoder.init_state(features)
    open_photos = np.arange(photos)  # photos with an unfinished caption
    tokens = np.full(photos, START)  # one per row: a row per photo, then one per caption
    for step in range(max_length):
        predicted, attention, state = decoder.step(tokens, memory, state)
        rows = np.arange(len(tokens))  # of the decoder, for each caption
        if not step:  # all captions of a photo start from its only row
            rows = rows.repeat(samples)
        allowed = _allowed(predicted[rows], first=step == 0)  # (open photos * samples, words)
        tokens = sampler.draw(allowed, uniforms[open_photos, :, step].ravel())
        log_probabilities = allowed[np.arange(len(allowed)), tokens]
        tokens[captions.ended(open_photos).ravel() | (log_probabilities == -np.inf)] = END
        attention = None if attention is None else attention[rows]
        captions.record(step, open_photos, tokens, log_probabilities, attention)
        state = take_rows(state, rows)
        done = captions.ended(open_photos).all(axis=1)
        if done.all():
            break
        if done.any():
            kept = np.flatnonzero(~done)
            open_rows = np.flatnonzero(np.repeat(~done, samples))
            open_photos, memory = open_photos[kept], take_rows(memory, kept)
            tokens, state = tokens[open_rows], take_rows(state, open_rows)
    return captions


def _allowed(log_probabilities: Floats, *, first: bool) -> Floats:
    """Return a copy of log-probabilities [rows, words] with -inf for what may not be drawn."""
    allowed = np.where(np.isnan(log_probabilities), np.float32(-np.inf), log_probabilities)
    allowed[:, [i for i in range(FIRST_WORD) if first or i != END]] = -np.inf
    return allowed


@dataclass(frozen=True)
class _Sampler:
    """How a word is drawn from a distribution."""

    temperature: float
    top_k: int
    top_p: float

    def draw(self, log_probabilities: Floats, uniform: NDArray[np.float64]) -> Integers:
        """Draw one word per row by inverse transform: the same uniform number, the same word."""
        weights = log_probabilities / np.float64(self.temperature)  # (rows, words)
        best = weights.max(axis=1, keepdims=True)
        weights = np.exp(weights - np.where(best == -np.inf, 0, best))
        order = None
        if self.top_p < 1 or 0 < self.top_k < weights.shape[1]:
            order, weights = _likeliest(weights, self.top_k, self.top_p)
        mass = np.cumsum(weights, axis=1)
        # the first word at which the running sum exceeds the drawn share of the whole
        below = (mass <= uniform[:, None] * mass[:, -1:]).sum(axis=1)
        column: Integers = np.minimum(below, weights.shape[1] - 1)
        if order is None:
            return column
        words: Integers = order[np.arange(len(order)), column]
        return words


def _likeliest(
    weights: NDArray[np.float64], top_k: int, top_p: float
) -> tuple[Integers, NDArray[np.float64]]:
    """Return the words that may be drawn, likeliest first, and their weights.

    Both are (rows, words considered); weights outside the nucleus are 0.
    """
    total = weights.sum(axis=1, keepdims=True)
    size = weights.shape[1]
    count = min(top_k, size) if top_k else min(_HEAD, size)
    while True:
        order = np.argpartition(-weights, count - 1, axis=1)[:, :count]
        order.sort(axis=1)  # of equally likely words, the lower id comes first
        head = np.take_along_axis(weights, order, axis=1)
        by_weight = np.argsort(-head, axis=1, kind="stable")
        order = np.take_along_axis(order, by_weight, axis=1)
        head = np.take_along_axis(head, by_weight, axis=1)
        mass = np.cumsum(head, axis=1)
        if top_k:
            total = mass[:, -1:]
        enough = top_p * total * (1 - 1e-9)
        if count == size or top_k or (mass[:, -1:] >= enough).all():
            break
        count = min(8 * count, size)  # a flat distribution has a larger nucleus
    # a word stays while the likelier words together hold less than top_p
    head[mass - head > enough] = 0
    return order, head
