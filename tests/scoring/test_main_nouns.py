"""A caption is asked for the noun that most references agree on, in any of its forms."""

from __future__ import annotations

from showtell.scoring.main_nouns import main_nouns, names_main_noun, nouns
from showtell.vocabulary import tokenize

SOFA = [
    "a cat on a sofa",
    "two cats sleep on a couch",
    "a cat lies on a red couch",
    "a sleeping kitten",
    "an animal on a blanket",
]


def test_forms_and_synonyms_count_as_one_noun() -> None:
    counts = {noun.name: count for noun, count in main_nouns(SOFA).items()}
    assert counts == {"cat": 4, "couch": 3}


def test_the_most_named_noun_must_be_named() -> None:
    assert names_main_noun(SOFA, "Two kittens.") is True
    assert names_main_noun(SOFA, "a dog on a couch") is False
    assert names_main_noun(SOFA, "a dog on a couch", ["cat"]) is True


def test_a_kind_names_the_noun_but_not_the_other_way_round() -> None:
    assert names_main_noun(["a person walks"] * 3, "a man walks") is True
    assert names_main_noun(["a man walks"] * 3, "a person walks") is False


def test_references_that_agree_on_nothing_have_no_main_noun() -> None:
    assert names_main_noun(["a cat", "a dog", "a bus"], "a cat") is None


def test_the_table_holds_each_noun_once_and_only_tokens() -> None:
    names = [noun.name for noun in nouns()]
    assert len(set(names)) == len(names)
    for noun in nouns():
        assert noun.name in noun.synonyms
        assert all(tokenize(word) == [word] for word in noun.synonyms | noun.kinds)
