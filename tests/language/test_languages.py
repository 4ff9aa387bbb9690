"""BCP 47 tags, and words to text."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from showtell.language.casing import Casing
from showtell.language.languages import ENGLISH, LANGUAGES, language_of


@pytest.mark.parametrize(
    ("code", "text"),
    [
        ("en", "the dog's ball"),
        ("de", "ein hund rennt über den schnee"),
        ("fr", "l'homme court jusqu'à la plage"),
        ("zh", "一只狗穿着t恤和nike air鞋"),
        ("ja", "犬が2匹"),
        ("th", "สุนัขวิ่ง"),
    ],
)
def test_words_are_joined_as_the_language_is_written(code, text):
    language = language_of(code)
    assert language.write(language.words(text)) == text


@given(st.text(), st.sampled_from(LANGUAGES))
def test_a_written_caption_has_the_same_words(text, language):
    words = language.words(text)
    assert language.words(language.write(words)) == words


def test_a_caption_is_written_with_capitals():
    casing = Casing({"hund": "Hund", "junge": "Junge", "frau": "Frau"}, {"junge": "junge"}, True)
    german = language_of("de")
    words = german.words("eine junge frau und ein junge rennen mit dem hund")
    assert german.write(words, casing) == "Eine junge Frau und ein Junge rennen mit dem Hund"


def test_a_turkish_caption_begins_with_a_dotted_capital():
    assert language_of("tr").write(["iki", "köpek"], Casing(sentence_capital=True)) == "İki köpek"


def test_a_tag_is_brought_into_its_usual_form_and_keeps_the_rules_of_its_language():
    swiss = language_of("DE-ch-1996")
    assert (swiss.code, swiss.base, swiss.name) == ("de-CH-1996", "de", "German")
    assert swiss.capital_nouns
    assert language_of("zh-hant-tw").code == "zh-Hant-TW"
    assert language_of("EN") == ENGLISH


def test_a_language_that_is_not_listed_has_words_with_spaces():
    klingon = language_of("tlh")
    assert (klingon.name, klingon.spaced, klingon.rule) == ("tlh", True, 1)


@pytest.mark.parametrize("code", ["", "german", "d", "de_DE", "de-", "../en"])
def test_what_is_no_tag_is_refused(code):
    with pytest.raises(ValueError, match="not a BCP 47 language tag"):
        language_of(code)


def test_languages_are_listed_once_in_alphabetical_order_with_valid_patterns():
    codes = [language.code for language in LANGUAGES if language != ENGLISH]
    assert codes == sorted(set(codes))
    for language in LANGUAGES:
        assert language_of(language.code) is language
        re.compile(language.sides)


@pytest.mark.parametrize(
    ("code", "text", "says"),
    [
        ("en", "a dog on the Left", True),
        ("en", "leftovers", False),
        ("de", "der linke Hund", True),
        ("de", "Linkin Park", False),
        ("zh", "左边的狗", True),
        ("tlh", "left", False),
    ],
)
def test_captions_that_say_left_or_right_are_recognised(code, text, says):
    assert language_of(code).names_side(text) is says
