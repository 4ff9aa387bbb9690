from __future__ import annotations

import pytest

from showtell.bundle import load_bundle
from showtell.bundle.registry import find_bundle
from showtell.photos.catalogue.synonyms import _WORDS_OF_CAPTIONS, synonyms


@pytest.mark.parametrize("model", ["flickr8k", "general"])
def test_a_synonym_is_a_word_that_each_shipped_model_can_say(model: str) -> None:
    vocabulary = load_bundle(find_bundle(model)).vocabulary
    for word, others in _WORDS_OF_CAPTIONS.items():
        for other in others.split():
            assert other in vocabulary, f"{word}: {other}"


def test_the_table_is_sorted_and_names_no_word_as_its_own_synonym() -> None:
    assert list(_WORDS_OF_CAPTIONS) == sorted(_WORDS_OF_CAPTIONS)
    for word, others in _WORDS_OF_CAPTIONS.items():
        assert word not in others.split()
        assert len(set(others.split())) == len(others.split())
        assert word == word.lower()


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("puppy", ["dog"]),
        ("Puppies", ["dog"]),
        ("bikes", ["bicycle", "motorcycle", "motorbike"]),
        ("coaches", []),
        ("dog", []),
        ("", []),
        ("s", []),
    ],
)
def test_plurals_have_the_synonyms_of_their_singular(word: str, expected: list[str]) -> None:
    assert synonyms(word) == expected
