"""Decoders give the same scores word by word as in training, and for each photo separately."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from showtell.decoding.beam_search import beam_search
from showtell.errors import RecipeError
from showtell.nets.decoder import DECODERS, DecoderNetwork, DecoderSettings
from showtell.nets.model import TorchDecoder, build_decoder
from showtell.training.batches import Batch, collate

CHANNELS, REGIONS, WORDS = 12, 6, 15
kinds = st.sampled_from(sorted(DECODERS))


def small(kind: str, seed: int = 0, **settings: object) -> DecoderNetwork:
    torch.manual_seed(seed)
    sizes: dict[str, object] = {"embedding": 10, "hidden": 16, "heads": 4}
    chosen = DecoderSettings(kind=kind, **(sizes | settings))  # type: ignore[arg-type]
    decoder = build_decoder(chosen, CHANNELS, WORDS)
    for parameter in decoder.parameters():  # nothing at zero, where mistakes could hide
        parameter.data += 0.3 * torch.randn_like(parameter)
    return decoder.eval()


def features_of(photos: int, seed: int = 0) -> dict[str, Tensor]:
    random = torch.Generator().manual_seed(seed)
    regions = torch.randn(photos, REGIONS, CHANNELS, generator=random)
    return {"regions": regions, "pooled": regions.mean(1)}


def captions_of(rows: int, seed: int) -> list[list[int]]:
    random = np.random.default_rng(seed)
    return [random.integers(4, WORDS, random.integers(0, 8)).tolist() for _ in range(rows)]


def teacher_forced(decoder: DecoderNetwork, batch: Batch) -> Tensor:
    """Log-probabilities [rows, steps, words], zeros after each caption's end."""
    logits = decoder(batch.features, batch.inputs, batch.packing)
    return batch.packing.unpack(logits.log_softmax(-1))


def word_by_word(decoder: DecoderNetwork, batch: Batch) -> tuple[Tensor, list[Tensor | None]]:
    """Log-probabilities [rows, steps, words] by `step`, and the attention of each step."""
    memory, state = decoder.init_state(batch.features)
    width = batch.packing.rows // len(batch.features["pooled"])
    state = {name: array.repeat_interleave(width, 0) for name, array in state.items()}
    scores_of_steps, attention_of_steps = [], []
    for step in range(batch.packing.steps):
        scores, attention, state = decoder.step(batch.inputs[:, step], memory, state)
        scores_of_steps.append(scores)
        attention_of_steps.append(attention)
    return torch.stack(scores_of_steps, 1), attention_of_steps


@pytest.mark.parametrize("kind", sorted(DECODERS))
@settings(max_examples=25)
@given(photos=st.integers(1, 4), width=st.integers(1, 3), seed=st.integers(0, 1000))
def test_forward_and_step_give_the_same_log_probabilities(
    kind: str, photos: int, width: int, seed: int
) -> None:
    decoder = small(kind, seed)
    batch = collate(features_of(photos, seed), captions_of(photos * width, seed))
    with torch.inference_mode():
        forced = teacher_forced(decoder, batch)
        stepped, _ = word_by_word(decoder, batch)
    for row in range(photos * width):
        length = int((batch.targets[row] != 0).sum())
        torch.testing.assert_close(forced[row, :length], stepped[row, :length], atol=2e-5, rtol=0)


@pytest.mark.parametrize("kind", sorted(DECODERS))
def test_a_photo_s_scores_do_not_depend_on_its_batch(kind: str) -> None:
    decoder = small(kind)
    features = features_of(3)
    captions = captions_of(6, 5)
    others = {name: array.clone() for name, array in features.items()}
    for array in others.values():
        array[[0, 2]] *= -7
    with torch.inference_mode():
        for scores in (teacher_forced, lambda d, b: word_by_word(d, b)[0]):
            one = scores(decoder, collate(features, captions))
            two = scores(decoder, collate(others, captions))
            torch.testing.assert_close(one[2:4], two[2:4], atol=1e-6, rtol=0)
            assert (one[:2] - two[:2]).abs().max() > 0.01  # the others did change


@pytest.mark.parametrize("kind", sorted(DECODERS))
def test_captions_of_one_photo_do_not_influence_each_other(kind: str) -> None:
    decoder = small(kind)
    captions = captions_of(4, 7)
    changed = [captions[0], [4, 5, 6, 7, 8, 9, 10, 11], captions[2], []]
    with torch.inference_mode():
        one = teacher_forced(decoder, collate(features_of(2), captions))
        two = teacher_forced(decoder, collate(features_of(2), changed))
    for row in (0, 2):
        length = len(captions[row]) + 1
        torch.testing.assert_close(one[row, :length], two[row, :length], atol=1e-6, rtol=0)


@pytest.mark.parametrize("kind", sorted(DECODERS))
def test_the_scores_depend_on_the_photo(kind: str) -> None:
    decoder = small(kind)
    with torch.inference_mode():
        one, _ = word_by_word(decoder, collate(features_of(1, 1), [[4, 5]]))
        two, _ = word_by_word(decoder, collate(features_of(1, 2), [[4, 5]]))
    assert (one - two).abs().amax((0, 2)).min() > 0.01  # at every word


@settings(max_examples=15)
@given(heads=st.sampled_from([1, 2, 4, 16]), width=st.integers(1, 3), seed=st.integers(0, 99))
def test_the_attention_of_each_word_sums_to_one(heads: int, width: int, seed: int) -> None:
    decoder = small("attention", seed, heads=heads)
    with torch.inference_mode():
        scores, attention = word_by_word(
            decoder, collate(features_of(2, seed), captions_of(2 * width, seed))
        )
    torch.testing.assert_close(scores.exp().sum(-1), torch.ones(scores.shape[:2]))
    for weights in attention:
        assert weights is not None
        assert weights.shape == (2 * width, REGIONS)
        assert (weights >= 0).all()
        torch.testing.assert_close(weights.sum(-1), torch.ones(2 * width))


def test_changing_the_most_attended_region_changes_the_scores_most() -> None:
    """Weights that are returned are those that are used: without a region, words change."""
    decoder = small("attention", heads=1)
    features = features_of(1)
    with torch.inference_mode():
        memory, state = decoder.init_state(features)
        before, weights, _ = decoder.step(torch.tensor([1]), memory, state)
        assert weights is not None
        changes = []
        for region in range(REGIONS):
            values = memory["memory_values"].clone()
            values[0, region] += 1
            after, _, _ = decoder.step(torch.tensor([1]), memory | {"memory_values": values}, state)
            changes.append(float((after - before).norm()))
    # every region's value moved alike, so how much it counts is its weight
    ratio = np.array(changes) / weights[0].numpy()
    assert ratio.std() / ratio.mean() < 0.2


def test_a_merge_decoder_has_no_attention() -> None:
    _, attention = word_by_word(small("merge"), collate(features_of(1), [[4]]))
    assert attention == [None, None]
    assert not small("merge").has_attention


@pytest.mark.parametrize("kind", sorted(DECODERS))
def test_every_weight_gets_a_gradient(kind: str) -> None:
    decoder = small(kind).train()
    batch = collate(features_of(2), captions_of(4, 1))
    decoder(batch.features, batch.inputs, batch.packing).square().mean().backward()
    idle = [name for name, p in decoder.named_parameters() if p.grad is None or not p.grad.any()]
    # a key's bias adds the same to every region's score, which the softmax takes out again
    assert [name for name in idle if name != "key.bias"] == []


def test_dropout_is_active_only_in_training() -> None:
    for kind in DECODERS:
        decoder = small(kind)
        batch = collate(features_of(2), captions_of(2, 1))
        one, two = (teacher_forced(decoder.train(), batch) for _ in range(2))
        assert not torch.equal(one, two)
        one, two = (teacher_forced(decoder.eval(), batch) for _ in range(2))
        assert torch.equal(one, two)


def test_tied_weights_are_shared_and_untied_ones_are_not() -> None:
    tied, free = small("attention"), small("attention", tied=False)
    assert tied.word.weight is tied.embed.weight
    assert free.word.weight is not free.embed.weight


@pytest.mark.parametrize("kind", sorted(DECODERS))
def test_beam_search_with_a_torch_decoder_is_the_same_alone_and_in_a_batch(kind: str) -> None:
    decoder = TorchDecoder(small(kind, seed=3))
    features = {name: array.numpy() for name, array in features_of(4, seed=3).items()}
    together = beam_search(decoder, features, beam=3, max_length=9)
    for photo, [best, *_] in enumerate(together):
        alone = {name: array[photo : photo + 1] for name, array in features.items()}
        [[same]] = beam_search(decoder, alone, beam=3, max_length=9)
        assert same.tokens == best.tokens
        assert same.log_probability == pytest.approx(best.log_probability, abs=1e-4)


def test_torch_decoder_accepts_read_only_float16_features() -> None:
    features = {name: array.numpy().astype(np.float16) for name, array in features_of(2).items()}
    for array in features.values():
        array.flags.writeable = False
    for kind in DECODERS:
        memory, state = TorchDecoder(small(kind)).init_state(features)
        assert {array.dtype for array in (memory | state).values()} == {np.dtype(np.float32)}


@settings(max_examples=10)
@given(kinds)
def test_memory_and_state_have_the_declared_names(kind: str) -> None:
    decoder = small(kind)
    memory, state = decoder.init_state(features_of(2))
    _, _, new = decoder.step(torch.tensor([1, 1]), memory, state)
    assert tuple(memory) == decoder.memory_names
    assert tuple(state) == tuple(new) == decoder.state_names


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kind": "transformer"}, "kind: must be one of attention, merge, not 'transformer'"),
        ({"embedding": 0}, "embedding: must be at least 1, not 0"),
        ({"hidden": -5}, "hidden: must be at least 1, not -5"),
        ({"heads": 0}, "heads: must be at least 1, not 0"),
        ({"hidden": 10, "heads": 4}, "heads: 4 does not divide hidden (10)"),
        ({"dropout": 1.0}, "dropout: must be at least 0 and below 1, not 1.0"),
        ({"dropout": -0.1}, "dropout: must be at least 0 and below 1, not -0.1"),
    ],
)
def test_a_wrong_setting_is_refused_by_name(settings: dict[str, object], message: str) -> None:
    with pytest.raises(RecipeError) as error:
        DecoderSettings(**settings)  # type: ignore[arg-type]
    assert str(error.value) == message


def test_a_merge_decoder_ignores_heads() -> None:
    assert DecoderSettings(kind="merge", hidden=10, heads=4, embedding=3).hidden == 10
