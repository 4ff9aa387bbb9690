"""Words that a photo shows are said the sooner for it, each once; the decoder learns without."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pytest
import torch
from torch import Tensor

from showtell.decoding.beam_search import beam_search
from showtell.errors import RecipeError
from showtell.nets.concepts import FIRST, EvidenceDecoder, WordHead
from showtell.nets.decoder import DecoderSettings, build_decoder
from showtell.nets.model import TorchDecoder
from showtell.training.batches import Batch, collate

CHANNELS, REGIONS, WORDS = 12, 6, 15
DOG = FIRST + 3


Where = Literal["pooled", "regions"]


def decoder_of(
    kind: str = "attention", members: int = 2, *, trained: bool = True, where: Where = "pooled"
) -> EvidenceDecoder:
    torch.manual_seed(0)
    settings = DecoderSettings(
        kind=kind,
        embedding=10,
        hidden=16,
        heads=4,
        members=members,
        dropout=0,
        input_dropout=0,
        evidence=0.7,
        evidence_from=where,
    )
    decoder = build_decoder(settings, CHANNELS, WORDS)
    assert isinstance(decoder, EvidenceDecoder)
    for parameter in decoder.parameters() if trained else ():
        parameter.data += 0.3 * torch.randn_like(parameter)
    return decoder.eval()


def batch_of(photos: int = 3, width: int = 2) -> Batch:
    random = np.random.default_rng(1)
    regions = torch.randn(photos, REGIONS, CHANNELS, generator=torch.Generator().manual_seed(2))
    captions = [
        random.integers(FIRST, WORDS, random.integers(1, 8)).tolist() for _ in range(photos * width)
    ]
    return collate({"regions": regions, "pooled": regions.mean(1)}, captions)


@pytest.mark.parametrize("where", ["pooled", "regions"])
@pytest.mark.parametrize("kind", ["attention", "merge"])
def test_word_by_word_it_says_what_it_says_of_whole_captions(kind: str, where: Where) -> None:
    decoder, batch = decoder_of(kind, where=where), batch_of()
    forced = batch.packing.unpack(decoder(batch.features, batch.inputs, batch.packing))
    memory, state = decoder.begin(batch.features)
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


def test_a_word_is_likelier_by_its_evidence_until_it_is_said() -> None:
    decoder, features = decoder_of(trained=False), batch_of().features
    with torch.no_grad():
        decoder.head.begin_with(torch.full((WORDS,), 0.25))
        decoder.head.present.bias[DOG - FIRST] = 50.0  # surely there: four times as likely
    memory, state = decoder.begin(features)
    own = {name: state[name] for name in decoder.inner.state_names}
    for said, gain in ((FIRST, 0.7 * np.log(4)), (DOG, 0.0), (FIRST, 0.0)):
        tokens = torch.full((3,), said)
        plain, _, own = decoder.inner.step(tokens, memory, own)
        scores, _, state = decoder.step(tokens, memory, state)
        odds = (scores - plain)[:, DOG] - (scores - plain)[:, FIRST + 1]
        assert odds.tolist() == pytest.approx([gain] * 3, abs=1e-4)


def test_a_head_that_knows_nothing_changes_nothing() -> None:
    decoder, batch = decoder_of(trained=False), batch_of()
    plain = decoder.inner(batch.features, batch.inputs, batch.packing)
    for _ in range(2):
        scores = decoder(batch.features, batch.inputs, batch.packing)
        assert torch.allclose(scores, plain.log_softmax(-1), atol=1e-5)
        decoder.head.begin_with(torch.linspace(0, 1, WORDS))  # how frequent words are is no news


def test_only_the_most_frequent_words_have_evidence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("showtell.nets.concepts.FREQUENT", 5)
    head = WordHead(CHANNELS, WORDS)
    torch.nn.init.normal_(head.present.weight)
    evidence = head.evidence({"pooled": torch.randn(4, CHANNELS)})
    assert evidence.shape == (4, WORDS)
    known = slice(FIRST, FIRST + 5)
    assert evidence[:, known].all()
    evidence[:, known] = 0
    assert not evidence.any()


def test_a_word_that_one_region_shows_is_seen_though_the_mean_hides_it() -> None:
    head = WordHead(CHANNELS, WORDS, regions=True)
    head.begin_with(torch.full((WORDS,), 0.25))
    assert head.local is not None
    with torch.no_grad():
        head.local.weight[DOG - FIRST, 0] = 1.0
    shown = torch.zeros(2, REGIONS, CHANNELS)
    shown[:, 0, 0], shown[0, 1, 0] = 10, -10  # the first photo's regions cancel out in the mean
    plain, regions = head.present(shown.mean(1)), shown[..., 0]
    gained = (head({"regions": shown}) - plain)[:, DOG - FIRST]
    expected = regions.exp().mean(1).log()
    assert torch.allclose(gained, expected, atol=1e-5)
    assert gained.min() > 8
    others = [word for word in range(head.count) if word != DOG - FIRST]
    assert torch.allclose((head({"regions": shown}) - plain)[:, others], torch.zeros(1), atol=1e-5)


def test_words_of_regions_have_a_merge_decoder_read_the_regions() -> None:
    assert decoder_of("merge", where="regions").needs == ("regions", "pooled")
    assert decoder_of("merge").needs == ("pooled",)


def test_the_decoder_learns_without_evidence() -> None:
    decoder, batch = decoder_of(), batch_of()
    given = (batch.features, batch.inputs, batch.packing)
    for own, plain in zip(
        decoder.member_logits(*given), decoder.inner.member_logits(*given), strict=True
    ):
        assert torch.equal(own, plain)


def test_beams_keep_their_own_evidence() -> None:
    decoder = TorchDecoder(decoder_of())
    features = {name: array.numpy() for name, array in batch_of(4).features.items()}
    for photo, [best, *_] in enumerate(beam_search(decoder, features, beam=3, max_length=9)):
        alone = {name: array[photo : photo + 1] for name, array in features.items()}
        assert beam_search(decoder, alone, beam=3, max_length=9)[0][0].tokens == best.tokens


def test_a_negative_weight_is_refused() -> None:
    with pytest.raises(RecipeError, match=r"decoder\.evidence: must not be negative"):
        DecoderSettings(evidence=-1)
