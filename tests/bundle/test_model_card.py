"""What a model's card says of the data it learned from."""

from __future__ import annotations

import pytest

from showtell.bundle.model_card import TERMS, terms_of
from showtell.data.readers.registry import LAYOUTS


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
