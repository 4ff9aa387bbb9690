"""What a model's card says of the data it learned from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from showtell.bundle import Bundle, DetectorInfo, EncoderInfo, ScoreInfo
from showtell.bundle.model_card import TERMS, model_card, terms_of
from showtell.data.readers.registry import LAYOUTS
from showtell.decoding.keywords import KeywordCalibration, KeywordCheck
from support.tiny_bundles import write_bundle


@pytest.mark.parametrize(
    ("layout", "terms"),
    [
        ("Flickr8k", "Flickr8k"),
        ("Kaggle Flickr8k", "Flickr8k"),
        ("Flickr30k, Karpathy's splits", "Flickr30k"),
        ("COCO", "COCO"),
    ],
)
def test_terms_are_those_of_the_dataset_whatever_its_layout(layout: str, terms: str) -> None:
    assert terms_of(layout) == TERMS[terms]


def test_terms_of_other_photos_are_not_made_up() -> None:
    own = [layout.name for layout in LAYOUTS if not any(name in layout.name for name in TERMS)]
    assert "your own" in own
    assert all("those of the photos and captions" in terms_of(name) for name in own)


@pytest.mark.parametrize(
    ("limited", "parts", "sentence"),
    [
        (False, ("all", "first half"), "The checkpoint was chosen on the first half of dev."),
        (False, ("all",), "The checkpoint may have been chosen on these photos."),
        (True, ("all",), "Only the first 1,200 photos of the split were scored: a quick look."),
    ],
)
def test_the_card_says_which_photos_were_scored(
    limited: bool, parts: tuple[str, ...], sentence: str, tmp_path: Path
) -> None:
    bundle = write_bundle(tmp_path / "tiny")
    scores = tuple(
        ScoreInfo(split="dev", beam=3, scorer="coco", part=part, limited=limited, photos=1200)
        for part in parts
    )
    assert sentence in model_card(replace(bundle.manifest, scores=scores), bundle.vocabulary)


def test_the_card_says_how_right_keywords_are(tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "tiny")
    keywords = KeywordCalibration(
        measure="a person names it",
        features=("log_odds",),
        weights=(1.0,),
        words={"dog": "dog dogs", "ball": "ball"},
        biases={"dog": 0.0, "ball": 0.0},
        checks=(KeywordCheck("COCO", 91, 1.6, 0.754, 0.02),),
    )
    manifest = replace(bundle.manifest, keywords=keywords, encoder=with_detector(bundle))
    card = model_card(manifest, bundle.vocabulary)
    assert "2 nouns, each with the probability that a person names it." in card
    assert "| COCO | 91 | 1.60 | 75% | 0.020 |" in card
    assert "Keywords" not in model_card(bundle.manifest, bundle.vocabulary)


def with_detector(bundle: Bundle) -> EncoderInfo:
    detector = DetectorInfo(network="average", size=32, words=10, caption_words=10)
    return replace(bundle.manifest.encoder, detector=detector)
