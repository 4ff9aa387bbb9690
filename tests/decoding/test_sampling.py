from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from showtell.decoding.beam_search import beam_search
from showtell.decoding.sampling import _likeliest, sample
from showtell.vocabulary import END, START, UNKNOWN
from support.fixed_decoders import FixedDecoder, SeededDecoder, photos

seeds = st.integers(0, 10_000)


@settings(max_examples=40)
@given(
    seeds,
    st.lists(st.integers(0, 50), min_size=2, max_size=7),
    st.integers(1, 4),
    st.floats(0.3, 2),
    st.sampled_from([0, 3]),
    st.sampled_from([0.6, 1.0]),
)
def test_photo_alone_and_in_a_batch_draws_the_same_captions(
    seed: int, numbers: list[int], samples: int, temperature: float, top_k: int, top_p: float
) -> None:
    decoder = SeededDecoder(30, seed=seed, end=1.0, regions=3)
    options = {
        "samples": samples,
        "temperature": temperature,
        "top_k": top_k,
        "top_p": top_p,
        "seed": seed,
        "max_length": 8,
    }
    together = sample(decoder, photos(*numbers), **options)
    for index, number in enumerate(numbers):
        [alone] = sample(decoder, photos(number), indices=[index], **options)
        assert alone == together[index]
        for one, other in zip(alone, together[index], strict=True):
            np.testing.assert_array_equal(one.attention, other.attention)
            assert one.attention is not None
            for place, row in enumerate(one.attention):
                prefix = [START, *one.tokens[:place]]
                np.testing.assert_array_equal(row, decoder.attention(number, prefix))


@settings(max_examples=40)
@given(seeds, st.floats(-4, 6), st.integers(1, 7))
def test_samples_hold_their_own_log_probability_and_no_special_word(
    seed: int, end: float, length: int
) -> None:
    decoder = SeededDecoder(9, seed=seed, end=end)
    [found] = sample(
        decoder, photos(2), samples=4, temperature=0.7, top_k=4, seed=seed, max_length=length
    )
    assert len(found) == 4
    for h in found:
        assert h.tokens
        assert min(h.tokens) > UNKNOWN
        emitted = [*h.tokens, *([END] if h.finished else [])]
        total = sum(
            float(decoder.log_probabilities(2, [START, *emitted[:place]])[token])
            for place, token in enumerate(emitted)
        )
        assert h.log_probability == pytest.approx(total, abs=1e-4)
        assert len(emitted) <= length


def test_another_seed_draws_other_captions_and_the_same_seed_the_same() -> None:
    decoder = SeededDecoder(100)
    one, same, other = (sample(decoder, photos(1), samples=5, seed=s) for s in (1, 1, 2))
    assert one == same != other


def test_one_likeliest_word_is_greedy_search() -> None:
    decoder = SeededDecoder(40, seed=9, end=1.0)
    for options in ({"top_k": 1}, {"top_p": 1e-9}, {"temperature": 1e-4}):
        [[drawn]] = sample(decoder, photos(3), seed=5, **options)
        [[greedy]] = beam_search(decoder, photos(3), beam=1)
        assert drawn.tokens == greedy.tokens


def test_words_are_drawn_as_often_as_the_model_says() -> None:
    shares = np.array([0.5, 0.3, 0.15, 0.05])
    table = np.full((8, 8), -np.inf, np.float32)
    table[:, 4:] = np.log(shares)
    count = 4000

    def frequencies(**options: float) -> np.ndarray:
        [found] = sample(FixedDecoder(table), photos(0), samples=count, max_length=1, **options)
        return np.bincount([h.tokens[0] - 4 for h in found], minlength=4) / count

    assert frequencies() == pytest.approx(shares, abs=0.03)
    assert frequencies(top_k=2) == pytest.approx([0.625, 0.375, 0, 0], abs=0.03)
    assert frequencies(top_p=0.79) == pytest.approx([0.625, 0.375, 0, 0], abs=0.03)
    assert frequencies(top_p=0.81) == pytest.approx([0.526, 0.316, 0.158, 0], abs=0.03)
    squared = shares**2 / (shares**2).sum()
    assert frequencies(temperature=0.5) == pytest.approx(squared, abs=0.03)


def test_photo_without_usable_numbers_draws_nothing() -> None:
    decoder = SeededDecoder(9)
    honest = decoder.log_probabilities
    decoder.log_probabilities = (  # type: ignore[method-assign]
        lambda photo, prefix: np.full(9, np.nan) if photo == 7 else honest(photo, prefix)
    )
    broken, good = sample(decoder, photos(7, 1))
    assert broken == []
    assert good == sample(decoder, photos(1), indices=[1])[0]


@pytest.mark.parametrize(
    "options", [{"samples": 0}, {"temperature": 0}, {"top_p": 0}, {"top_p": 1.5}, {"top_k": -1}]
)
def test_options_out_of_range_are_refused(options: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=next(iter(options))):
        sample(SeededDecoder(), photos(1), **options)


@pytest.mark.parametrize("sharpness", [0.1, 3.0, 20.0])
def test_nucleus_is_that_of_a_full_sort(sharpness: float) -> None:
    weights = np.random.default_rng(1).random((20, 2000)) ** sharpness
    order, kept = _likeliest(weights.copy(), 0, 0.9)
    for row in range(20):
        sorted_ids = np.argsort(-weights[row], kind="stable")
        mass = np.cumsum(weights[row][sorted_ids])
        size = int(np.searchsorted(mass, 0.9 * mass[-1])) + 1
        assert order[row, :size].tolist() == sorted_ids[:size].tolist()
        assert (kept[row, :size] > 0).all()
        assert (kept[row, size:] == 0).all()
