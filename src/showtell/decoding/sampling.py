"""Captions drawn from a decoder at random: temperature, top-k and nucleus sampling; numpy only.

Each photo has a random generator of its own, seeded by (seed, the photo's index), so that what it
gets depends neither on its batch nor on how long other photos' captions are.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from showtell.decoding.beam_search import (
    FIRST_WORD,
    Arrays,
    Decoder,
    Floats,
    Hypothesis,
    Integers,
    count_photos,
    take_rows,
)
from showtell.vocabulary import END, START

_HEAD = 128  # words sorted at first to find a nucleus: sorting all of them is slow


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

    Log-probabilities are divided by `temperature`; then only the `top_k` likeliest words stay
    (0: all), and of these the smallest set of likeliest words that holds `top_p` of the
    probability (nucleus: Holtzman et al., "The Curious Case of Neural Text Degeneration", 2020).
    PAD, START and UNKNOWN are never drawn, and END never first. `indices` are the photos' places
    in a larger input (default: 0, 1, …). Hypotheses hold the model's own log-probabilities.

    A photo's list is empty only where the decoder gives no word any probability.
    Raises ValueError where an option is out of range.
    """
    if samples < 1 or max_length < 1 or top_k < 0:
        raise ValueError("samples and max_length start at 1, top_k at 0")
    if not temperature > 0 or not 0 < top_p <= 1:
        raise ValueError("temperature is above 0, top_p above 0 and at most 1")
    if not features or not count_photos(features):
        return []
    photos = count_photos(features)
    indices = range(photos) if indices is None else indices
    draws = np.stack(
        [np.random.default_rng([seed, index]).random((samples, max_length)) for index in indices]
    )
    words = np.zeros((photos, samples, max_length), np.int64)
    gains = np.full((photos, samples, max_length), -np.inf)
    attention: Floats | None = None

    memory, state = decoder.init_state(features)
    alive = np.arange(photos)
    tokens = np.full((photos, 1), START)
    for step in range(max_length):
        width = tokens.shape[1]
        log_probabilities, looked, state = decoder.step(tokens.ravel(), memory, state)
        rows = np.arange(len(alive)).repeat(samples) * width
        rows += np.tile(np.arange(samples) if step else np.zeros(samples, np.int64), len(alive))
        table = _allowed(log_probabilities[rows], first=step == 0)
        tokens = _draw(table, temperature, top_k, top_p, draws[alive, :, step].ravel())
        gained = table[np.arange(len(table)), tokens]
        ended = (words[alive] == END).any(axis=2).ravel()
        tokens[ended | (gained == -np.inf)] = END
        words[alive, :, step] = tokens.reshape(-1, samples)
        gains[alive, :, step] = gained.reshape(-1, samples)
        if looked is not None:
            if attention is None:
                shape = (photos, samples, max_length, looked.shape[1])
                attention = np.zeros(shape, np.float32)
            attention[alive, :, step] = looked[rows].reshape(-1, samples, looked.shape[1])
        state = take_rows(state, rows)
        done = (words[alive] == END).any(axis=2).all(axis=1)
        if done.all():
            break
        if done.any():
            kept = np.flatnonzero(~done)
            live = np.flatnonzero(np.repeat(~done, samples))
            alive, tokens, memory = alive[kept], tokens[live], take_rows(memory, kept)
            state = take_rows(state, live)
        tokens = tokens.reshape(len(alive), samples)
    found = [
        [
            _hypothesis(
                words[photo, n],
                gains[photo, n],
                None if attention is None else attention[photo, n],
                length_penalty,
            )
            for n in range(samples)
        ]
        for photo in range(photos)
    ]
    return [[hypothesis for hypothesis in own if hypothesis.tokens] for own in found]


def _allowed(table: Floats, *, first: bool) -> Floats:
    """Copy log-probabilities with all that may not be drawn at -inf."""
    table = np.where(np.isnan(table), np.float32(-np.inf), table)
    table[:, [i for i in range(FIRST_WORD) if first or i != END]] = -np.inf
    return table


def _draw(
    table: Floats, temperature: float, top_k: int, top_p: float, uniform: NDArray[np.float64]
) -> Integers:
    """Draw one word a row by inverse transform: the same uniform number, the same word."""
    weights = table / np.float64(temperature)
    best = weights.max(axis=1, keepdims=True)
    weights = np.exp(weights - np.where(best == -np.inf, 0, best))  # (rows, words)
    order = None
    if top_p < 1 or 0 < top_k < weights.shape[1]:
        order, weights = _likeliest(weights, top_k, top_p)
    mass = np.cumsum(weights, axis=1)
    # the first word at which the running sum exceeds the drawn share of all
    below = (mass <= uniform[:, None] * mass[:, -1:]).sum(axis=1)
    place: Integers = np.minimum(below, weights.shape[1] - 1)
    if order is None:
        return place
    drawn: Integers = order[np.arange(len(order)), place]
    return drawn


def _likeliest(
    weights: NDArray[np.float64], top_k: int, top_p: float
) -> tuple[Integers, NDArray[np.float64]]:
    """Return the words that may be drawn, likeliest first, and weights, 0 beyond the nucleus."""
    total = weights.sum(axis=1, keepdims=True)
    size = weights.shape[1]
    count = min(top_k, size) if top_k else min(_HEAD, size)
    while True:
        order = np.argpartition(-weights, count - 1, axis=1)[:, :count]
        order.sort(axis=1)  # so that of equally likely words the lower id comes first
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
        count = min(8 * count, size)  # a flat distribution: its nucleus is larger than the head
    head[mass - head > enough] = 0  # a word stays while what is likelier holds less than top_p
    return order, head


def _hypothesis(
    words: Integers, gains: NDArray[np.float64], attention: Floats | None, length_penalty: float
) -> Hypothesis:
    ends = np.flatnonzero(words == END)
    length = int(ends[0]) if len(ends) else len(words)
    # A forced END (no word had any probability) was given by nobody and counts nothing.
    finished = bool(len(ends)) and gains[length] > -np.inf
    total = float(gains[: length + finished].sum())
    return Hypothesis(
        tokens=tuple(words[:length].tolist()),
        log_probability=total,
        score=total / max(1, length + finished) ** length_penalty,
        word_log_probabilities=tuple(gains[:length].tolist()),
        attention=None if attention is None else attention[:length],
        finished=bool(finished),
    )
