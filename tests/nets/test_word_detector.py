"""The word detector combines two concept heads and the object classes of each word."""

from __future__ import annotations

import pytest
import torch

from showtell.decoding.keywords import DETECTED
from showtell.errors import RecipeError
from showtell.nets.detector_settings import DetectorSettings
from showtell.nets.encoder import Encoder, EncoderSpec, encoder_from_spec
from showtell.nets.word_detector import WordDetector

SETTINGS = DetectorSettings(network="tf_efficientnet_lite0", size=96, words=5, caption_words=3)
CHANNELS, REGIONS = 8, 4
BADGER = 4  # a word that only the object classes know


@pytest.fixture(scope="module")
def detector() -> WordDetector:
    torch.manual_seed(0)
    detector = WordDetector(CHANNELS, SETTINGS).eval()
    for parameter in (*detector.concepts.parameters(), *detector.photo_logits.parameters()):
        parameter.data += 0.1 * torch.randn_like(parameter)
    detector.class_words.weight.data.zero_()
    detector.class_words.weight.data[BADGER, 362] = 1
    detector.odds.weight.data.fill_(1 / 3)
    return detector.requires_grad_(False)


def photos(count: int) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    generator = torch.Generator().manual_seed(1)
    pixels = torch.randn(count, 3, 96, 96, generator=generator)
    return pixels, {"regions": torch.randn(count, REGIONS, CHANNELS, generator=generator)}


def test_a_photo_has_the_same_words_alone_and_in_a_batch(detector: WordDetector) -> None:
    pixels, features = photos(3)
    logits = detector(pixels, features)
    alone = detector(pixels[1:2], {"regions": features["regions"][1:2]})
    assert logits.shape == (3, SETTINGS.words)
    assert torch.allclose(logits[1:2], alone, atol=1e-4)


def test_the_classes_of_a_word_raise_its_logit(detector: WordDetector) -> None:
    pixels, features = photos(1)
    before = detector(pixels, features)[0]
    detector.classes.bias.data[362] += 5
    after = detector(pixels, features)[0]
    detector.classes.bias.data[362] -= 5
    raised = (after - before) * detector.stack.weight[:, 2].sign()
    assert raised[BADGER] > 0
    others = [word for word in range(SETTINGS.words) if word != BADGER]
    assert torch.allclose(after[others], before[others], atol=1e-5)


def test_words_without_captions_ignore_the_concept_heads(detector: WordDetector) -> None:
    pixels, features = photos(1)
    before = detector(pixels, features)[0]
    other = {"regions": features["regions"] + 1}
    after = detector(pixels, other)[0]
    assert torch.equal(before[SETTINGS.caption_words :], after[SETTINGS.caption_words :])
    assert not torch.allclose(before[: SETTINGS.caption_words], after[: SETTINGS.caption_words])


def test_an_encoder_keeps_its_detector_in_spec_and_weights() -> None:
    spec = EncoderSpec("mobilenetv2_035", detector=SETTINGS, folded=True)
    encoder: Encoder = encoder_from_spec(spec).eval()
    again = encoder_from_spec(EncoderSpec.from_dict(encoder.spec.to_dict()), encoder.weights())
    size = spec.preprocessing.height
    pixels = torch.randn(1, 3, size, size)
    with torch.inference_mode():
        first, second = encoder(pixels), again.eval()(pixels)
    assert first[DETECTED].shape == (1, SETTINGS.words)
    assert torch.equal(first[DETECTED], second[DETECTED])
    assert encoder.fingerprint() == again.fingerprint()
    assert not any(weight.requires_grad for weight in encoder.parameters())


def test_the_spec_of_an_encoder_without_detector_does_not_mention_one() -> None:
    assert "detector" not in EncoderSpec("mobilenetv2_035").to_dict()


def test_more_caption_words_than_words_are_an_error() -> None:
    with pytest.raises(RecipeError, match="caption_words: must be at most words"):
        DetectorSettings(words=2, caption_words=3)
