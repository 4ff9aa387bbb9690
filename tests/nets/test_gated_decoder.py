"""A gated decoder decides for every word how much the detected words count."""

from __future__ import annotations

import pytest
import torch

from showtell.decoding.keywords import DETECTED
from showtell.errors import RecipeError
from showtell.nets.decoder import DecoderSettings, Tensors
from showtell.nets.gated_decoder import LARGEST_RATIO, GatedDecoder
from showtell.nets.model import build_decoder
from showtell.vocabulary import FIRST_WORD, START
from support.decoder_inputs import CHANNELS, WORDS, random_batch

DETECTED_WORDS = 5
DOG = 3  # among the detected words
SETTINGS = DecoderSettings(
    embedding=10, hidden=16, heads=4, members=2, dropout=0, input_dropout=0, gated=True
)


@pytest.fixture
def decoder() -> GatedDecoder:
    torch.manual_seed(0)
    decoder = build_decoder(SETTINGS, CHANNELS, WORDS, DETECTED_WORDS)
    assert isinstance(decoder, GatedDecoder)
    for parameter in decoder.members.parameters():
        parameter.data += 0.3 * torch.randn_like(parameter)
    return decoder.eval().requires_grad_(False)


def features_of(batch_features: Tensors, logit: float = 0.0) -> Tensors:
    """Return features with a random detection in which the dog's logit is higher by `logit`."""
    photos = len(batch_features["regions"])
    detected = torch.randn(photos, DETECTED_WORDS, generator=torch.Generator().manual_seed(2))
    detected[:, DOG] += logit
    return batch_features | {DETECTED: detected}


def test_step_and_forward_give_the_same_scores(decoder: GatedDecoder) -> None:
    batch = random_batch()
    features = features_of(batch.features)
    expected = batch.packing.unpack(decoder(features, batch.inputs, batch.packing))
    memory, state = decoder.init_state(features)
    width = batch.packing.rows // len(features["regions"])
    state = {name: array.repeat_interleave(width, 0) for name, array in state.items()}
    for step in range(batch.packing.steps):
        scores, attention, state = decoder.step(batch.inputs[:, step], memory, state)
        assert attention is not None
        real = batch.targets[:, step] != 0
        assert torch.allclose(scores[real], expected[:, step][real], atol=1e-5)


def test_a_detected_word_is_more_probable_until_it_is_emitted(decoder: GatedDecoder) -> None:
    batch = random_batch()
    start = torch.full((len(batch.features["regions"]),), START)
    probabilities = []
    for logit in (0.0, 4.0):
        memory, state = decoder.init_state(features_of(batch.features, logit))
        first, _, state = decoder.step(start, memory, state)
        dog = torch.full_like(start, FIRST_WORD + DOG)
        second, _, _ = decoder.step(dog, memory, state)
        probabilities.append((first[:, FIRST_WORD + DOG], second[:, FIRST_WORD + DOG]))
    (first_low, second_low), (first_high, second_high) = probabilities
    assert (first_high > first_low).all()
    assert torch.allclose(second_high, second_low, atol=1e-6)


def test_log_ratios_are_limited_and_function_words_have_none(decoder: GatedDecoder) -> None:
    decoder.log_prior.bias.fill_(-20.0)
    decoder.strength.bias[0] = 0.0
    bias = decoder.bias(torch.full((2, DETECTED_WORDS), 3.0))
    assert bias.shape == (2, WORDS)
    assert (bias[:, FIRST_WORD + 1 : FIRST_WORD + DETECTED_WORDS] == LARGEST_RATIO).all()
    assert (bias[:, FIRST_WORD] == 0).all()
    assert (bias[:, FIRST_WORD + DETECTED_WORDS :] == 0).all()


def test_each_kind_of_word_has_a_gate_of_its_own(decoder: GatedDecoder) -> None:
    member = decoder._decoders()[0]
    torch.nn.init.zeros_(member.gate.weight)
    member.gate.bias.copy_(torch.tensor([-50.0, 50.0]))  # closed for caption words
    is_object = torch.zeros(WORDS)
    is_object[FIRST_WORD + DOG] = 1
    guided = member.guided(
        torch.randn(1, 32), torch.zeros(1, WORDS), torch.ones(1, WORDS), is_object
    )
    assert guided[0, FIRST_WORD + DOG] == pytest.approx(50.0)
    assert guided[0, FIRST_WORD] == pytest.approx(0.0, abs=1e-6)


def test_a_gated_decoder_needs_a_detector() -> None:
    with pytest.raises(RecipeError, match="the encoder has no word detector"):
        build_decoder(SETTINGS, CHANNELS, WORDS)
    with pytest.raises(RecipeError, match="gated: only for the kind attention"):
        DecoderSettings(kind="merge", gated=True)
