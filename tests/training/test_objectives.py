"""Objectives: sampling, self-critical training, cross-entropy and distillation."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import pytest
import torch
from torch import nn

from showtell.nets.decoder import DecoderSettings
from showtell.nets.model import build_decoder
from showtell.training.batches import collate
from showtell.training.objectives import NEVER_EMITTED, CrossEntropy, SelfCritical, sample_captions
from showtell.training.rewards import CiderReward
from showtell.vocabulary import END

WORDS, CHANNELS = 12, 6
REFERENCES = [
    [[4, 5, 6, END], [4, 5, 7, END]],
    [[8, 9, 10, END], [8, 9, 11, END]],
    [[5, 10, 4, END], [5, 10, 6, END]],
]


@dataclass
class Model:
    """A model whose features are given."""

    decoder: nn.Module


@pytest.fixture(params=["attention", "merge"])
def decoder(request):
    torch.manual_seed(0)
    settings = DecoderSettings(
        kind=request.param, embedding=16, hidden=16, heads=2, dropout=0.3, input_dropout=0.1
    )
    return build_decoder(settings, CHANNELS, WORDS)


def batch_of(captions_per_photo=2):
    torch.manual_seed(1)
    features = {"regions": torch.randn(3, 4, CHANNELS), "pooled": torch.randn(3, CHANNELS)}
    captions = [
        references[i % 2][:-1] for references in REFERENCES for i in range(captions_per_photo)
    ]
    batch = collate(features, captions)
    return type(batch)(batch.features, batch.inputs, batch.targets, batch.packing, (0, 1, 2))


def test_samples_are_not_empty_have_no_special_word_and_end_once(decoder):
    torch.manual_seed(2)
    drawn = sample_captions(decoder.eval(), batch_of().features, 200, 5)
    assert len(drawn) == 600
    for words in drawn:
        assert 1 <= len(words) <= 5
        assert words[0] != END
        assert END not in words[:-1]
        assert not set(words) & set(NEVER_EMITTED)
        assert words[-1] == END or len(words) == 5


def test_samples_follow_the_decoders_own_probabilities(decoder):
    decoder.eval()
    features = batch_of().features
    torch.manual_seed(3)
    drawn = sample_captions(decoder, features, 4000, 1)
    memory, state = decoder.init_state({name: features[name] for name in decoder.needs})
    scores, _, _ = decoder.step(torch.full((3,), 1), memory, state)
    scores[:, [*NEVER_EMITTED, END]] = -torch.inf
    expected = scores.softmax(-1)
    for photo in range(3):
        words = torch.tensor([w[0] for w in drawn[photo * 4000 : (photo + 1) * 4000]])
        share = torch.bincount(words, minlength=WORDS) / 4000
        assert (share - expected[photo]).abs().max() < 0.04


def test_self_critical_training_raises_the_reward(decoder):
    model, batch = Model(decoder), batch_of()
    objective = SelfCritical(CiderReward(REFERENCES), 16, max_length=5)
    optimizer = torch.optim.Adam(decoder.parameters(), 1e-2)
    rewards = []
    for step in range(250):
        torch.manual_seed(step)
        loss = objective.loss(model, batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        rewards.append(objective.values["reward"])
    assert sum(rewards[:10]) / 10 < 1.5
    assert sum(rewards[-10:]) / 10 > 4


def test_identical_rewards_give_no_gradient(decoder):
    class Same:
        def score(self, photo, words):
            return 1.0

    loss = SelfCritical(Same(), 4, max_length=6).loss(Model(decoder), batch_of())
    loss.backward()
    assert all(p.grad is None or p.grad.abs().max() < 1e-6 for p in decoder.parameters())


def test_cross_entropy_adds_the_loss_of_the_references(decoder):
    decoder.eval()
    model, batch = Model(decoder), batch_of()
    reward = CiderReward(REFERENCES)
    torch.manual_seed(4)
    alone = SelfCritical(reward, 4, max_length=6).loss(model, batch)
    torch.manual_seed(4)
    mixed = SelfCritical(reward, 4, max_length=6, cross_entropy=0.5).loss(model, batch)
    references = CrossEntropy(0.0).loss(model, batch)
    assert float((mixed - alone).detach()) == pytest.approx(
        0.5 * float(references.detach()), abs=1e-4
    )


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_without_a_teacher_it_is_the_cross_entropy_of_pytorch(decoder, smoothing):
    model, batch = Model(decoder.eval()), batch_of()
    logits = decoder(batch.features, batch.inputs, batch.packing)
    expected = nn.functional.cross_entropy(
        logits, batch.packing.pack(batch.targets), label_smoothing=smoothing
    )
    assert CrossEntropy(smoothing).loss(model, batch).item() == pytest.approx(expected.item())


def test_distillation_brings_a_decoder_close_to_its_teacher(decoder):
    batch = batch_of()
    teacher = copy.deepcopy(decoder).eval()
    for parameter in teacher.parameters():
        parameter.data += 0.3 * torch.randn_like(parameter)
    teacher_probabilities = teacher(batch.features, batch.inputs, batch.packing).softmax(-1)

    def divergence() -> float:
        scores = decoder.eval()(batch.features, batch.inputs, batch.packing).log_softmax(-1)
        return nn.functional.kl_div(scores, teacher_probabilities, reduction="batchmean").item()

    objective = CrossEntropy(0.1, teacher=teacher, distill=1.0)
    optimizer = torch.optim.Adam(decoder.parameters(), 1e-2)
    before = divergence()
    for _ in range(60):
        loss = objective.loss(Model(decoder), batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert divergence() < before / 5
    assert all(parameter.grad is None for parameter in teacher.parameters())


def test_a_teacher_reads_captions_without_the_words_that_are_new_to_it(decoder):
    known_words = 8
    new, old = [[8, 5, 9, 6], [5, 8, 8]], [[5, 6], [5]]
    features = batch_of().features
    first_two = {name: values[:2] for name, values in features.items()}
    batch, known = collate(first_two, new), collate(first_two, old)
    teacher = copy.deepcopy(decoder).eval()
    objective = CrossEntropy(0.0, teacher, 0.8, known_words)
    probabilities = objective._teacher_probabilities(first_two, batch)
    expected = known.packing.unpack(
        teacher(first_two, known.inputs, known.packing).softmax(-1)
    )  # [rows, steps, words]
    rows = batch.packing.unpack(probabilities)
    # the teacher's step for each token: a new word leaves it where it was
    for row, steps in enumerate([[0, 0, 1, 1, 2], [0, 1, 1, 1]]):
        for step, teacher_step in enumerate(steps):
            assert torch.allclose(rows[row, step], expected[row, teacher_step], atol=1e-6)
    share = batch.packing.unpack(objective._distill_share(batch.packing.pack(batch.targets)))
    assert share.tolist() == [
        pytest.approx([0, 0.8, 0, 0.8, 0.8]),  # END is known
        pytest.approx([0.8, 0, 0, 0.8, 0]),  # the last is padding
    ]
