from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from showtell.decoding.beam_search import beam_search, best_words, diverse_beam_search
from showtell.vocabulary import END, PAD, START, UNKNOWN
from support.fixed_decoders import FixedDecoder, SeededDecoder, every_finished_caption, photos

seeds = st.integers(0, 10_000)


def greedy(decoder: SeededDecoder, photo: int, max_length: int) -> tuple[list[int], float]:
    tokens, total = [START], 0.0
    for step in range(max_length):
        row = decoder.log_probabilities(photo, tokens).copy()
        row[[PAD, START, UNKNOWN]] = -np.inf
        if step == 0:
            row[END] = -np.inf
        tokens.append(int(row.argmax()))
        total += float(row[tokens[-1]])
        if tokens[-1] == END:
            return tokens[1:-1], total
    return tokens[1:], total


@settings(max_examples=60)
@given(seeds, st.integers(5, 30), st.floats(-3, 5), st.integers(1, 8))
def test_beam_of_one_is_greedy_search(seed: int, words: int, end: float, length: int) -> None:
    decoder = SeededDecoder(words, seed=seed, end=end)
    tokens, total = greedy(decoder, 3, length)
    [[found]] = beam_search(decoder, photos(3), beam=1, max_length=length)
    assert list(found.tokens) == tokens
    assert found.log_probability == pytest.approx(total, abs=1e-5)


@settings(max_examples=20)
@given(seeds, st.integers(5, 7), st.floats(-2, 2), st.sampled_from([0.0, 0.7, 1.0, 1.3]))
def test_wide_beam_finds_what_trying_every_caption_finds(
    seed: int, words: int, end: float, length_penalty: float
) -> None:
    decoder = SeededDecoder(words, seed=seed, end=end)
    everything = sorted(
        every_finished_caption(decoder, 0, 5),
        key=lambda item: -item[1] / (len(item[0]) + 1) ** length_penalty,
    )
    [found] = beam_search(
        decoder, photos(0), beam=150, nbest=3, max_length=5, length_penalty=length_penalty
    )
    assert len(found) == 3
    for hypothesis, (tokens, total) in zip(found, everything[:3], strict=True):
        assert hypothesis.finished
        assert hypothesis.tokens == tokens
        assert hypothesis.log_probability == pytest.approx(total, abs=1e-4)
        assert hypothesis.score == pytest.approx(total / (len(tokens) + 1) ** length_penalty)


@settings(max_examples=20)
@given(
    seeds,
    st.lists(st.integers(0, 50), min_size=2, max_size=9),
    st.integers(1, 4),
    st.floats(-2, 4),
    st.booleans(),
    st.sampled_from([0, 2]),
)
def test_photo_alone_and_in_a_batch_get_the_same_captions(
    seed: int, numbers: list[int], beam: int, end: float, diverse: bool, no_repeat: int
) -> None:
    decoder = SeededDecoder(40, seed=seed, end=end, regions=4, spread=2.0)
    search = diverse_beam_search if diverse else beam_search
    options = {"beam": beam, "nbest": beam, "max_length": 9, "no_repeat_ngram": no_repeat}
    together = search(decoder, photos(*numbers), **options)
    for number, batched in zip(numbers, together, strict=True):
        [alone] = search(decoder, photos(number), **options)
        assert alone == batched
        for one, other in zip(alone, batched, strict=True):
            np.testing.assert_array_equal(one.attention, other.attention)


@settings(max_examples=60)
@given(seeds, st.integers(5, 80), st.integers(1, 6), st.floats(-5, 8), st.integers(1, 7))
def test_hypotheses_add_up_and_hold_no_special_word(
    seed: int, words: int, beam: int, end: float, length: int
) -> None:
    decoder = SeededDecoder(words, seed=seed, end=end, regions=3)
    for found in beam_search(decoder, photos(1, 2), beam=beam, nbest=beam, max_length=length):
        assert found
        assert len({hypothesis.tokens for hypothesis in found}) == len(found)
        ordered = [(not h.finished, -h.score) for h in found]
        assert ordered == sorted(ordered)
        for hypothesis in found:
            tokens = hypothesis.tokens
            assert tokens
            assert min(tokens) > UNKNOWN
            assert len(tokens) + hypothesis.finished <= length
            assert len(hypothesis.word_log_probabilities) == len(tokens)
            rest = hypothesis.log_probability - sum(hypothesis.word_log_probabilities)
            assert rest <= 1e-6 if hypothesis.finished else rest == pytest.approx(0, abs=1e-5)
            emitted = len(tokens) + hypothesis.finished
            assert hypothesis.score == pytest.approx(hypothesis.log_probability / emitted)


def test_words_carry_the_attention_of_their_own_hypothesis() -> None:
    decoder = SeededDecoder(9, seed=5, regions=6)
    for photo, found in enumerate(beam_search(decoder, photos(0, 1, 2), nbest=3)):
        for hypothesis in found:
            assert hypothesis.attention is not None
            assert hypothesis.attention.shape == (len(hypothesis.tokens), 6)
            for place, row in enumerate(hypothesis.attention):
                prefix = [START, *hypothesis.tokens[:place]]
                np.testing.assert_array_equal(row, decoder.attention(photo, prefix))


def test_decoder_without_attention_gives_none() -> None:
    [[found]] = beam_search(SeededDecoder(), photos(1))
    assert found.attention is None


@pytest.mark.parametrize("beam", [1, 3])
def test_best_unfinished_is_returned_when_nothing_ends(beam: int) -> None:
    decoder = SeededDecoder(20, end=-1000.0)
    [found, other] = beam_search(decoder, photos(1, 2), beam=beam, nbest=beam, max_length=6)
    assert [len(h.tokens) for h in found + other] == [6] * 2 * beam
    assert not any(h.finished for h in found)
    assert found[0].score == max(h.score for h in found)


def test_caption_is_never_empty_even_if_the_decoder_wants_to_end_at_once() -> None:
    [found] = beam_search(SeededDecoder(8, end=50.0), photos(1), nbest=3)
    assert all(h.tokens and h.finished for h in found)


def test_special_words_are_never_emitted_however_likely() -> None:
    table = np.full((6, 6), -20, np.float32)
    table[:, [PAD, START, UNKNOWN]] = -0.1
    table[4, END] = table[5, END] = -15
    [found] = beam_search(FixedDecoder(table), photos(1), nbest=2, beam=2)
    assert [h.tokens for h in found] == [(4,), (5,)]


def test_equal_candidates_go_by_hypothesis_then_word() -> None:
    table = np.full((300, 300), -1.0, np.float32)
    [found] = beam_search(FixedDecoder(table), photos(1), beam=3, nbest=3, max_length=2)
    assert [h.tokens for h in found] == [(4,), (4, 4), (4, 5)]


def test_finished_photos_leave_the_batch() -> None:
    decoder = SeededDecoder(12, seed=1, end=1.0, spread=3.0)
    beam_search(decoder, photos(*range(24)), max_length=20)
    assert decoder.photos[0] == 24
    assert decoder.photos[-1] < 6
    assert decoder.photos == sorted(decoder.photos, reverse=True)


def test_search_stops_when_the_best_finished_cannot_be_beaten() -> None:
    table = np.full((40, 40), -9.0, np.float32)
    table[:, END] = -0.01
    table[START, 4] = -0.01
    decoder = SeededDecoder(40)
    decoder.log_probabilities = lambda photo, prefix: table[prefix[-1]]  # type: ignore[method-assign]
    [[found]] = beam_search(decoder, photos(1), beam=20, length_penalty=0.0, max_length=20)
    assert found.tokens == (4,)
    assert len(decoder.rows) == 2


def test_longer_captions_win_as_the_length_penalty_grows() -> None:
    decoder = SeededDecoder(9, seed=2, end=0.5)
    lengths = []
    for penalty in (0.0, 1.0, 3.0):
        [[found]] = beam_search(decoder, photos(4), beam=50, length_penalty=penalty, max_length=6)
        lengths.append(len(found.tokens))
    assert lengths == sorted(lengths)
    assert lengths[0] < lengths[-1]


def test_no_ngram_repeats_when_asked() -> None:
    table = np.full((9, 9), -5.0, np.float32)
    table[[4, 5], [5, 4]] = -0.01  # 4 5 4 5 ...
    table[:, END] = -50.0
    decoder = FixedDecoder(table)
    [[plain]] = beam_search(decoder, photos(1), max_length=9)
    assert plain.tokens[:4] in {(4, 5, 4, 5), (5, 4, 5, 4)}
    for n in (1, 2, 3):
        for found in beam_search(decoder, photos(1, 2), nbest=3, no_repeat_ngram=n, max_length=9):
            for h in found:
                ngrams = [h.tokens[i : i + n] for i in range(len(h.tokens) - n + 1)]
                assert len(set(ngrams)) == len(ngrams)
                assert not any(a == b for a, b in pairwise(h.tokens))


def test_photo_without_usable_numbers_gets_no_caption_and_harms_no_other() -> None:
    decoder = SeededDecoder(200, seed=3)
    honest = decoder.log_probabilities
    nothing = np.full(200, np.nan, np.float32)
    decoder.log_probabilities = (  # type: ignore[method-assign]
        lambda photo, prefix: nothing if photo == 7 else honest(photo, prefix)
    )
    [first, broken, last] = beam_search(decoder, photos(1, 7, 2), max_length=5)
    assert broken == []
    assert [first, last] == beam_search(decoder, photos(1, 2), max_length=5)


def test_no_photos_give_no_captions() -> None:
    assert beam_search(SeededDecoder(), photos()) == []


@pytest.mark.parametrize(
    "options",
    [{"beam": 0}, {"beam": 2, "nbest": 3}, {"nbest": 0}, {"max_length": 0}, {"length_penalty": -1}],
)
def test_options_out_of_range_are_refused(options: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=next(iter(options))):
        beam_search(SeededDecoder(), photos(1), **options)


@settings(max_examples=100)
@given(seeds, st.integers(1, 4), st.integers(1, 5), st.integers(1, 400), st.integers(1, 9))
def test_best_words_are_those_of_a_full_sort(
    seed: int, batch: int, width: int, size: int, count: int
) -> None:
    draw = np.random.default_rng(seed)
    # few distinct values make ties; some hypotheses are dead, some words impossible
    words = draw.choice(np.float32([-np.inf, -7.25, -3.5, -1.1, -1.0]), (batch, width, size))
    live = draw.choice([-np.inf, -11.3, -2.0, 0.0], (batch, width))
    scores, parents, chosen = best_words(live, words, count)
    for photo in range(batch):
        flat = (live[photo][:, None] + words[photo]).ravel()
        order = [i for i in np.argsort(-flat, kind="stable")[:count] if flat[i] > -np.inf]
        assert scores[photo, : len(order)].tolist() == flat[order].tolist()
        assert (parents * size + chosen)[photo, : len(order)].tolist() == order
        assert (scores[photo, len(order) :] == -np.inf).all()


def test_diverse_groups_start_with_different_words() -> None:
    decoder = SeededDecoder(30, seed=4, spread=0.5)
    [found] = diverse_beam_search(decoder, photos(1), beam=4, diversity=10.0, nbest=4)
    assert len({h.tokens[0] for h in found}) == 4


def test_diverse_search_in_one_group_is_beam_search() -> None:
    decoder = SeededDecoder(30, seed=4)
    one = diverse_beam_search(decoder, photos(1, 2), beam=4, groups=1, nbest=4)
    assert one == beam_search(decoder, photos(1, 2), beam=4, nbest=4)


def test_diversity_costs_no_log_probability() -> None:
    decoder = SeededDecoder(12, seed=6)
    [found] = diverse_beam_search(decoder, photos(1), beam=6, groups=3, diversity=3.0, nbest=6)
    for h in found:
        prefix, total = [START], 0.0
        for token in (*h.tokens, *([END] if h.finished else [])):
            total += float(decoder.log_probabilities(1, prefix)[token])
            prefix.append(token)
        assert h.log_probability == pytest.approx(total, abs=1e-4)


def test_diverse_groups_must_divide_the_beam() -> None:
    with pytest.raises(ValueError, match="groups: 2"):
        diverse_beam_search(SeededDecoder(), photos(1), beam=3, groups=2)
