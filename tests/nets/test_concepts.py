"""Detected concepts raise the score of a word until it is emitted; training ignores them."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pytest
import torch
from torch import Tensor

from showtell.decoding.beam_search import beam_search
from showtell.errors import RecipeError
from showtell.nets.concepts import ConceptGuidedDecoder, ConceptHead
from showtell.nets.decoder import DecoderSettings
from showtell.nets.model import TorchDecoder, build_decoder
from showtell.vocabulary import FIRST_WORD
from support.decoder_inputs import CHANNELS, REGIONS, WORDS, random_batch

DOG = FIRST_WORD + 3


Where = Literal["pooled", "regions"]


def decoder_of(
    kind: str = "attention", members: int = 2, *, trained: bool = True, where: Where = "pooled"
) -> ConceptGuidedDecoder:
    torch.manual_seed(0)
    settings = DecoderSettings(
        kind=kind,
        embedding=10,
        hidden=16,
        heads=4,
        members=members,
        dropout=0,
        input_dropout=0,
        concept_weight=0.7,
        concepts_from=where,
    )
    decoder = build_decoder(settings, CHANNELS, WORDS)
    assert isinstance(decoder, ConceptGuidedDecoder)
    for parameter in decoder.parameters() if trained else ():
        parameter.data += 0.3 * torch.randn_like(parameter)
    return decoder.eval()


@pytest.mark.parametrize("where", ["pooled", "regions"])
@pytest.mark.parametrize("kind", ["attention", "merge"])
def test_step_and_forward_give_the_same_scores(kind: str, where: Where) -> None:
    decoder, batch = decoder_of(kind, where=where), random_batch()
    forced = batch.packing.unpack(decoder(batch.features, batch.inputs, batch.packing))
    memory, state = decoder.init_state(batch.features)
    assert tuple(memory) == decoder.memory_names
    assert tuple(state) == decoder.state_names
    state = {name: array.repeat_interleave(2, 0) for name, array in state.items()}
    steps: list[Tensor] = []
    for step in range(batch.packing.steps):
        scores, _, state = decoder.step(batch.inputs[:, step], memory, state)
        assert torch.allclose(scores.exp().sum(1), torch.ones(len(scores)), atol=1e-5)
        steps.append(scores)
    real = batch.packing.unpack(torch.ones(len(batch.packing.index), 1))
    assert torch.allclose(torch.stack(steps, 1) * real, forced, atol=1e-4)


def test_a_detected_concept_is_likelier_until_it_is_emitted() -> None:
    decoder, features = decoder_of(trained=False), random_batch().features
    with torch.no_grad():
        decoder.head.set_prior(torch.full((WORDS,), 0.25))
        decoder.head.global_logits.bias[DOG - FIRST_WORD] = (
            50.0  # surely there: four times as likely
        )
    memory, state = decoder.init_state(features)
    base_state = {name: state[name] for name in decoder.base.state_names}
    for token, gain in ((FIRST_WORD, 0.7 * np.log(4)), (DOG, 0.0), (FIRST_WORD, 0.0)):
        tokens = torch.full((3,), token)
        plain, _, base_state = decoder.base.step(tokens, memory, base_state)
        scores, _, state = decoder.step(tokens, memory, state)
        odds = (scores - plain)[:, DOG] - (scores - plain)[:, FIRST_WORD + 1]
        assert odds.tolist() == pytest.approx([gain] * 3, abs=1e-4)


def test_a_head_that_predicts_only_the_prior_leaves_the_scores_unchanged() -> None:
    decoder, batch = decoder_of(trained=False), random_batch()
    plain = decoder.base(batch.features, batch.inputs, batch.packing)
    for _ in range(2):
        scores = decoder(batch.features, batch.inputs, batch.packing)
        assert torch.allclose(scores, plain.log_softmax(-1), atol=1e-5)
        decoder.head.set_prior(torch.linspace(0, 1, WORDS))  # the prior alone is no information


def test_only_the_most_frequent_words_are_concepts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("showtell.nets.concepts.MAX_CONCEPTS", 5)
    head = ConceptHead(CHANNELS, WORDS)
    torch.nn.init.normal_(head.global_logits.weight)
    ratios = head.log_ratios({"pooled": torch.randn(4, CHANNELS)})
    assert ratios.shape == (4, WORDS)
    known = slice(FIRST_WORD, FIRST_WORD + 5)
    assert ratios[:, known].all()
    ratios[:, known] = 0
    assert not ratios.any()


def test_a_concept_in_a_single_region_is_detected_although_the_mean_hides_it() -> None:
    head = ConceptHead(CHANNELS, WORDS, regions=True)
    head.set_prior(torch.full((WORDS,), 0.25))
    assert head.region_logits is not None
    with torch.no_grad():
        head.region_logits.weight[DOG - FIRST_WORD, 0] = 1.0
    shown = torch.zeros(2, REGIONS, CHANNELS)
    shown[:, 0, 0], shown[0, 1, 0] = 10, -10  # the first photo's regions cancel out in the mean
    plain, regions = head.global_logits(shown.mean(1)), shown[..., 0]
    gained = (head({"regions": shown}) - plain)[:, DOG - FIRST_WORD]
    expected = regions.exp().mean(1).log()
    assert torch.allclose(gained, expected, atol=1e-5)
    assert gained.min() > 8
    others = [word for word in range(head.count) if word != DOG - FIRST_WORD]
    assert torch.allclose((head({"regions": shown}) - plain)[:, others], torch.zeros(1), atol=1e-5)


def test_concepts_from_regions_make_a_merge_decoder_need_regions() -> None:
    assert decoder_of("merge", where="regions").needs == ("regions", "pooled")
    assert decoder_of("merge").needs == ("pooled",)


def test_training_logits_are_those_of_the_base_decoder() -> None:
    decoder, batch = decoder_of(), random_batch()
    arguments = (batch.features, batch.inputs, batch.packing)
    for logits, base_logits in zip(
        decoder.member_logits(*arguments), decoder.base.member_logits(*arguments), strict=True
    ):
        assert torch.equal(logits, base_logits)


def test_each_hypothesis_of_a_beam_has_its_own_remaining_bias() -> None:
    decoder = TorchDecoder(decoder_of())
    features = {name: array.numpy() for name, array in random_batch(4).features.items()}
    for photo, [best, *_] in enumerate(beam_search(decoder, features, beam=3, max_length=9)):
        alone = {name: array[photo : photo + 1] for name, array in features.items()}
        assert beam_search(decoder, alone, beam=3, max_length=9)[0][0].tokens == best.tokens


def test_a_negative_weight_is_refused() -> None:
    with pytest.raises(RecipeError, match="concept_weight: must be at least 0"):
        DecoderSettings(concept_weight=-1)
