"""Capitals, learned from captions as people wrote them."""

from __future__ import annotations

from showtell.language.casing import Casing
from showtell.language.languages import language_of
from showtell.vocabulary import Vocabulary

NOISY = [
    "Ein Hund rennt über den Schnee.",
    "ein hund rennt durch den schnee",
    "ein hund im schnee",
    "zwei hunde im schnee",
    "EIN GROSSER HUND IM SCHNEE",
    "Hund im Schnee. Rennt schnell.",
    "Der Hund, ein brauner Hund, rennt im Schnee.",
]


def casing_of(captions: list[str], code: str = "de") -> Casing:
    casing = Vocabulary.build(captions, language=language_of(code)).casing
    assert casing is not None
    return casing


def test_nouns_have_the_capitals_of_the_captions_that_look_cased():
    casing = casing_of(NOISY)
    assert casing.forms == {"hund": "Hund", "schnee": "Schnee"}
    assert casing.sentence_capital


def test_captions_without_capitals_are_written_without():
    assert casing_of(["ein hund im schnee", "ein mann", "Ein Mann"]) == Casing()


def test_a_caption_of_a_language_with_few_capitals_counts_if_it_begins_with_one():
    captions = ["Un chien court.", "Un chien court à Paris.", "Le chien de Paris."]
    assert casing_of(captions, "fr").forms == {"paris": "Paris"}
    # one caption of three has a capital within, which would not tell that "orange" has none
    captions = ["Un chat orange.", "Un chat orange.", "Un chien de la ville d'Orange."]
    assert casing_of(captions, "fr").forms == {}


def test_the_form_before_a_capital_may_differ():
    captions = ["Ein Junge rennt im Schnee."] * 5 + ["Eine Frau, eine junge Frau im Schnee."] * 3
    casing = casing_of(captions)
    assert casing.forms["junge"] == "Junge"
    assert casing.before_capital == {"junge": "junge"}


def test_capitals_within_a_word_are_kept():
    assert casing_of(["Ein Mann im T-Shirt mit BMX."]).forms["t-shirt"] == "T-Shirt"


def test_a_caption_in_title_case_tells_nothing():
    assert casing_of(["Ein Hund Im Schnee", "Zwei Hunde Im Schnee"]).forms == {}
