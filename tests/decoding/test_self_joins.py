from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from showtell.decoding.options import Decoding, Strategy
from showtell.decoding.self_joins import SelfJoins, WithoutSelfJoins
from showtell.vocabulary import END, START, Vocabulary
from support.fixed_decoders import FixedDecoder, SeededDecoder, photos

VOCABULARY = Vocabulary.build(
    ["a an the brown white dog horse and is are riding in hat woman dogs two"] * 2
)
SELF_JOINS = SelfJoins(VOCABULARY)
SMALL = Vocabulary.build(["a and is riding dog hat"])
SELF_JOINS_OF_SMALL = SelfJoins(SMALL)
STRATEGIES: tuple[Strategy, ...] = ("beam", "diverse", "sample", "mbr")


@pytest.mark.parametrize(
    "caption",
    [
        "a brown and brown dog",
        "a white and brown and white dog",
        "a woman in a hat and hat",
        "a brown horse is riding a horse",
        "dogs are riding the dogs",
        "a dog and a dog",
        "brown and brown",
    ],
)
def test_a_word_that_is_joined_to_itself_is_a_self_join(caption: str) -> None:
    assert SELF_JOINS.are_in(VOCABULARY.encode(caption))


@pytest.mark.parametrize(
    "caption",
    [
        "a brown and white dog and a white horse",
        "a dog in a hat and a horse in a hat",
        "a woman is riding a horse",
        "a horse is riding",
        "two dogs and two horse",
        "brown dog brown dog",
        "and",
        "",
    ],
)
def test_other_repetitions_are_none(caption: str) -> None:
    assert not SELF_JOINS.are_in(VOCABULARY.encode(caption))


def test_a_vocabulary_without_the_words_of_the_rules_forbids_nothing() -> None:
    other = Vocabulary.build(["ein hund und ein hund reitet"])
    assert not SelfJoins(other).are_in(other.encode("ein hund und ein hund"))


def likely(words: Vocabulary, *pairs: str) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    """Return log-probabilities [previous word, next word] that favour these pairs."""
    table = np.full((len(words), len(words)), -9, np.float32)
    for pair in pairs:
        first, second = (words.words.index(word) for word in pair.split())
        table[first, second] = -0.1
    return table


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_search_finds_another_word_instead(strategy: Strategy) -> None:
    table = likely(SMALL, "<start> dog", "dog and", "and dog", "hat <end>")
    table[SMALL.words.index("and"), SMALL.words.index("hat")] = -1
    table[SMALL.words.index("dog"), END] = -0.3
    options = {"sample": {"temperature": 0.1}, "diverse": {"groups": 1}}.get(strategy, {})
    decoding = Decoding(strategy=strategy, **options)  # type: ignore[arg-type]
    [before] = decoding.run(FixedDecoder(table), photos(0), [0])
    [after] = decoding.run(FixedDecoder(table), photos(0), [0], SELF_JOINS_OF_SMALL)
    assert SELF_JOINS_OF_SMALL.are_in(before[0].tokens)
    assert SMALL.decode(after[0].tokens) in ("dog", "dog and hat")
    path = [START, *after[0].tokens, END]
    assert after[0].log_probability == pytest.approx(table[path[:-1], path[1:]].sum(), abs=1e-5)


@settings(max_examples=40)
@given(st.integers(0, 10_000), st.sampled_from(STRATEGIES), st.integers(1, 3))
def test_only_captions_with_a_self_join_change(seed: int, strategy: Strategy, nbest: int) -> None:
    decoder = SeededDecoder(len(SMALL), seed=seed, end=-1.0, spread=2.0)
    decoding = Decoding(strategy=strategy, nbest=nbest, max_length=8)
    features, indices = photos(*range(6)), list(range(6))
    before = decoding.run(decoder, features, indices)
    after = decoding.run(decoder, features, indices, SELF_JOINS_OF_SMALL)
    for old, new in zip(before, after, strict=True):
        assert not any(SELF_JOINS_OF_SMALL.are_in(item.tokens) for item in new[:nbest])
        if not any(SELF_JOINS_OF_SMALL.are_in(item.tokens) for item in old[:nbest]):
            assert new == old


def test_other_words_keep_their_log_probabilities() -> None:
    decoder = SeededDecoder(len(SMALL), seed=1, regions=3)
    wrapped = WithoutSelfJoins(decoder, SELF_JOINS_OF_SMALL)
    memory, state = wrapped.init_state(photos(0))
    tokens = SMALL.encode("dog and")
    for token in tokens:
        scores, attention, state = wrapped.step(np.array([token]), memory, state)
    expected = decoder.log_probabilities(0, tokens)
    dog = SMALL.words.index("dog")
    assert scores[0, dog] == -np.inf
    scores[0, dog] = expected[dog]
    np.testing.assert_array_equal(scores[0], expected)
    np.testing.assert_array_equal(attention[0], decoder.attention(0, tokens))
