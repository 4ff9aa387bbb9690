"""Captions join no word to itself: no "brown and brown dog", no "horse is riding a horse".

A language model writes such words when it is sure of one word and has nothing to add. People do
not: of the 40,460 captions of Flickr8k, 3 have a word twice around "and", 5 around "and a", and 2
are like "a dog is licking a dog".

A photo whose caption has a self-join is searched again without (see `Decoding.run`), so that all
other captions stay as they are. A language without `JoinWords` forbids nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from showtell.decoding.beam_search import Arrays, Decoder, Floats, Integers, count_photos
from showtell.vocabulary import PAD, Vocabulary

__all__ = ["SelfJoins", "WithoutSelfJoins"]

PAST_WORDS = 4  # words before the next one that the rules look at
_PAST = "last_words"  # the name of a state, int64 [rows, PAST_WORDS]


@dataclass(frozen=True)
class JoinWords:
    """The words of a language by which a self-join is recognised.

    `participle` is the ending of verbs after a form of "be", empty where the language has none.
    """

    conjunctions: frozenset[str] = frozenset()
    articles: frozenset[str] = frozenset()
    be: frozenset[str] = frozenset()
    participle: str = ""


_JOIN_WORDS = {
    "en": JoinWords(
        frozenset({"and"}), frozenset({"a", "an", "the"}), frozenset({"is", "are"}), "ing"
    ),
    "de": JoinWords(
        frozenset({"und"}),
        frozenset(
            {"ein", "eine", "einen", "einem", "einer", "eines", "der", "die", "das", "den", "dem"}
        ),
    ),
}


class SelfJoins:
    """The words of a vocabulary that may not come next, because they would be joined to themselves.

    X is forbidden after `X and`, `X and Y and`, `X and a` and `X is VERBing a`, where `a` is any
    article and `is` may be `are`.
    """

    def __init__(self, vocabulary: Vocabulary) -> None:
        words = vocabulary.words
        join = _JOIN_WORDS.get(vocabulary.rules.base, JoinWords())
        self._is_and = _marks(words, lambda word: word in join.conjunctions)
        self._is_article = _marks(words, lambda word: word in join.articles)
        self._is_be = _marks(words, lambda word: word in join.be)
        self._is_participle = _marks(
            words, lambda word: bool(join.participle) and word.endswith(join.participle)
        )

    def are_in(self, tokens: Sequence[int]) -> bool:
        """Return whether a caption has a self-join."""
        words = np.array(tokens, np.int64)
        padded = np.concatenate([np.full(PAST_WORDS, PAD), words])
        rows, forbidden = self.after(sliding_window_view(padded, PAST_WORDS)[: len(words)])
        return bool((words[rows] == forbidden).any())

    def after(self, past: Integers) -> tuple[Integers, Integers]:
        """Return rows of `past`, int64 [rows, PAST_WORDS], and a forbidden next word of each."""
        fourth, third, second, last = past.T
        after_and = self._is_and[last]
        after_article = self._is_article[last]
        doing = self._is_be[third] & self._is_participle[second]
        cases = (
            (after_and, second),  # X and
            (after_and & self._is_and[third], fourth),  # X and Y and
            (after_article & self._is_and[second], third),  # X and a
            (after_article & doing, fourth),  # X is VERBing a
        )
        rows = [np.flatnonzero(applies) for applies, _ in cases]
        words = [word[row] for row, (_, word) in zip(rows, cases, strict=True)]
        return np.concatenate(rows), np.concatenate(words)


class WithoutSelfJoins:
    """A decoder that gives self-joins no probability, and else what `decoder` does."""

    def __init__(self, decoder: Decoder, self_joins: SelfJoins) -> None:
        self._decoder, self._self_joins = decoder, self_joins

    def init_state(self, features: Arrays) -> tuple[Arrays, Arrays]:
        """Return the decoder's memory and first state, and no words before the caption."""
        memory, state = self._decoder.init_state(features)
        return memory, {**state, _PAST: np.full((count_photos(features), PAST_WORDS), PAD)}

    def step(
        self, tokens: Integers, memory: Arrays, state: Arrays
    ) -> tuple[Floats, Floats | None, Arrays]:
        """Read one token per row (see `Decoder`); self-joins have log-probability -inf."""
        past = np.column_stack([state[_PAST][:, 1:], tokens])
        own_state = {name: array for name, array in state.items() if name != _PAST}
        log_probabilities, attention, next_state = self._decoder.step(tokens, memory, own_state)
        rows, words = self._self_joins.after(past)
        if len(rows):
            log_probabilities = log_probabilities.copy()
            log_probabilities[rows, words] = -np.inf
        return log_probabilities, attention, {**next_state, _PAST: past}


def _marks(words: Sequence[str], rule: Callable[[str], bool]) -> NDArray[np.bool_]:
    """Return for each word whether the rule applies."""
    return np.fromiter(map(rule, words), np.bool_, len(words))
