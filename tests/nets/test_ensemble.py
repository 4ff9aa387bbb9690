"""An ensemble averages its members' probabilities and trains each member separately."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from showtell.decoding.beam_search import beam_search
from showtell.errors import RecipeError
from showtell.nets.decoder import DecoderSettings
from showtell.nets.ensemble import EnsembleDecoder
from showtell.nets.model import TorchDecoder, build_decoder
from showtell.training.objectives import CrossEntropy
from support.decoder_inputs import CHANNELS, WORDS, random_batch


class Model:
    def __init__(self, decoder: torch.nn.Module) -> None:
        self.decoder = decoder


def ensemble(kind: str, members: int = 3) -> EnsembleDecoder:
    torch.manual_seed(0)
    settings = DecoderSettings(
        kind=kind, embedding=10, hidden=16, heads=4, members=members, dropout=0, input_dropout=0
    )
    decoder = build_decoder(settings, CHANNELS, WORDS)
    assert isinstance(decoder, EnsembleDecoder)
    for parameter in decoder.parameters():
        parameter.data += 0.3 * torch.randn_like(parameter)
    return decoder.eval()


@pytest.mark.parametrize("kind", ["attention", "merge"])
def test_step_and_forward_of_an_ensemble_give_the_same_scores(kind: str) -> None:
    decoder, batch = ensemble(kind), random_batch()
    forced = batch.packing.unpack(decoder(batch.features, batch.inputs, batch.packing))
    memory, state = decoder.init_state(batch.features)
    assert tuple(memory) == decoder.memory_names
    assert tuple(state) == decoder.state_names
    state = {name: array.repeat_interleave(2, 0) for name, array in state.items()}
    steps: list[Tensor] = []
    for step in range(batch.packing.steps):
        scores, attention, state = decoder.step(batch.inputs[:, step], memory, state)
        steps.append(scores)
        assert (attention is not None) == decoder.has_attention
        if attention is not None:
            assert torch.allclose(attention.sum(1), torch.ones(len(attention)), atol=1e-5)
    real = batch.packing.unpack(torch.ones(len(batch.packing.index), 1))
    scores_of_steps = torch.stack(steps, 1) * real
    assert torch.allclose(scores_of_steps, forced, atol=1e-4)


def test_a_word_s_probability_is_the_mean_over_members() -> None:
    decoder, batch = ensemble("attention"), random_batch()
    together = decoder(batch.features, batch.inputs, batch.packing).exp()
    alone = [m(batch.features, batch.inputs, batch.packing).softmax(-1) for m in decoder.members]
    assert torch.allclose(together, torch.stack(alone).mean(0), atol=1e-6)
    assert not torch.allclose(alone[0], alone[1], atol=1e-2)


def test_each_member_gets_the_gradient_of_separate_training() -> None:
    decoder, batch = ensemble("attention", 2), random_batch()
    CrossEntropy(0.1).loss(Model(decoder), batch).backward()  # type: ignore[arg-type,no-untyped-call]
    together = {n: p.grad.clone() * 2 for n, p in decoder.members[1].named_parameters()}
    decoder.zero_grad()
    alone = Model(decoder.members[1])
    CrossEntropy(0.1).loss(alone, batch).backward()  # type: ignore[arg-type,no-untyped-call]
    for name, parameter in decoder.members[1].named_parameters():
        assert torch.allclose(together[name], parameter.grad, atol=1e-6), name
    assert all(p.grad is None or not p.grad.any() for p in decoder.members[0].parameters())


def test_beam_search_works_with_an_ensemble() -> None:
    decoder = TorchDecoder(ensemble("attention"))
    features = {name: array.numpy() for name, array in random_batch(4).features.items()}
    for photo, [best, *_] in enumerate(beam_search(decoder, features, beam=3, max_length=9)):
        alone = {name: array[photo : photo + 1] for name, array in features.items()}
        assert beam_search(decoder, alone, beam=3, max_length=9)[0][0].tokens == best.tokens


def test_an_ensemble_without_members_is_refused() -> None:
    with pytest.raises(RecipeError, match="members: must be at least 1"):
        DecoderSettings(members=0)
