"""One normalisation rule: what training reads, what the model says, what the scorers count."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from showtell.errors import BundleError
from showtell.language.casing import Casing
from showtell.language.languages import ENGLISH, LANGUAGES, language_of
from showtell.vocabulary import (
    END,
    PAD,
    SPECIAL_WORDS,
    START,
    UNKNOWN,
    Vocabulary,
    tokenize,
)


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("A dog runs .", ["a", "dog", "runs"]),
        ("A man's T-shirt, and 2 dogs!", ["a", "man", "'s", "t-shirt", "and", "2", "dogs"]),
        ("the dog 's ball", ["the", "dog", "'s", "ball"]),
        ("the dog\u2019s ball", ["the", "dog", "'s", "ball"]),
        ('she doesn\'t say "hi" #1', ["she", "doesn't", "say", "hi", "1"]),
        ("o'clock -- under_scored", ["o'clock", "under", "scored"]),
        ("Cafe\u0301 CAF\u00c9", ["caf\u00e9", "caf\u00e9"]),
        ("", []),
        (" . , ! '", []),
    ],
)
def test_captions_are_split_into_lower_case_words_without_punctuation(text, tokens):
    assert tokenize(text) == tokens


@given(st.text())
def test_normalising_twice_changes_nothing(text):
    tokens = tokenize(text)
    assert tokenize(" ".join(tokens)) == tokens
    assert tokenize(ENGLISH.write(tokens)) == tokens


@given(st.text())
def test_no_token_is_empty_or_holds_a_space_or_a_line_separator(text):
    for token in tokenize(text):
        assert token
        assert token.split() == [token]


@given(st.lists(st.text(), min_size=1))
def test_every_word_of_the_captions_comes_back_from_its_id(captions):
    vocabulary = Vocabulary.build(captions)
    for caption in captions:
        assert vocabulary.tokens(vocabulary.encode(caption)) == tokenize(caption)
        assert vocabulary.decode(vocabulary.encode(caption)) == ENGLISH.write(tokenize(caption))


@given(st.lists(st.text()), st.integers(1, 3))
def test_json_brings_back_the_same_vocabulary(captions, min_count):
    vocabulary = Vocabulary.build(captions, min_count)
    assert Vocabulary.from_json(vocabulary.to_json()) == vocabulary


def test_rare_words_are_unknown_and_frequent_ones_come_first():
    vocabulary = Vocabulary.build(["a dog", "a cat", "a dog", "the end"], min_count=2)
    assert vocabulary.words == (*SPECIAL_WORDS, "a", "dog")
    assert vocabulary.encode("a cat") == [4, UNKNOWN]
    assert "dog" in vocabulary
    assert "cat" not in vocabulary


def test_decoding_stops_at_the_end_and_says_no_special_word():
    vocabulary = Vocabulary.build(["a dog"])
    assert vocabulary.decode([START, 4, UNKNOWN, PAD, 5, END, 4]) == "a dog"


def test_a_caption_cannot_name_a_special_word():
    vocabulary = Vocabulary.build(["<end> <pad> end"])
    assert vocabulary.words[4:] == ("end", "pad")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"rule": 1, "min_count": 1, "words": ["a"]}',
        '{"rule": 1, "min_count": 1,'
        ' "words": ["<pad>", "<start>", "<end>", "<unknown>", "a", "a"]}',
    ],
)
def test_a_damaged_vocabulary_is_one_clear_error(text):
    with pytest.raises(BundleError, match="vocabulary"):
        Vocabulary.from_json(text)


def test_a_newer_rule_says_to_upgrade():
    text = Vocabulary.build(["a dog"]).to_json().replace('"rule": 1', '"rule": 2')
    with pytest.raises(BundleError, match="upgrade showtell"):
        Vocabulary.from_json(text)


@pytest.mark.parametrize(
    "word", ["", "x" * 101, "two words", "a\x1b[0m", "\u202eb", "a\n", "\ud800"]
)
def test_what_is_no_word_is_refused(word):
    with pytest.raises(BundleError, match=r"^words\.4: .* is not a word$") as caught:
        Vocabulary((*SPECIAL_WORDS, word))
    assert str(caught.value).isprintable()


def test_every_token_of_a_text_is_a_word():
    text = "A dog's re-entry: caf\u00e9 \u72ac \u0e2b\u0e21\u0e32 \u1100\u1161 42 \u0915\u0941"
    assert len(Vocabulary.build([text])) > len(SPECIAL_WORDS)


@given(st.lists(st.text()), st.sampled_from(LANGUAGES))
def test_json_brings_back_a_vocabulary_of_any_language(captions, language):
    vocabulary = Vocabulary.build(captions, 1, language)
    assert Vocabulary.from_json(vocabulary.to_json()) == vocabulary


def test_an_english_vocabulary_is_written_as_before_languages_existed():
    text = Vocabulary.build(["a dog"]).to_json()
    words = ",\n".join(f'"{word}"' for word in (*SPECIAL_WORDS, "a", "dog"))
    assert text == f'{{\n"rule": 1,\n"min_count": 1,\n"words": [\n{words}\n]\n}}\n'
    assert Vocabulary.from_json(text).rules == ENGLISH


def test_a_german_vocabulary_writes_nouns_with_capitals():
    captions = ["Ein Hund rennt über den Schnee.", "ein Hund im Schnee"]
    vocabulary = Vocabulary.build(captions, language=language_of("de"))
    assert vocabulary.words[4:6] == ("ein", "hund")
    ids = vocabulary.encode("ein hund rennt über den schnee")
    assert vocabulary.decode(ids) == "Ein Hund rennt über den Schnee"
    assert vocabulary.written_words(ids) == ["Ein", "Hund", "rennt", "über", "den", "Schnee"]


def test_a_chinese_vocabulary_writes_characters_without_spaces():
    vocabulary = Vocabulary.build(["一只狗在雪地里。"], language=language_of("zh"))
    assert len(vocabulary) == len(SPECIAL_WORDS) + 7
    assert vocabulary.decode(vocabulary.encode("一只狗")) == "一只狗"


def test_a_grown_vocabulary_keeps_its_words_and_learns_the_capitals_of_new_ones():
    german = Vocabulary.build(["Ein Hund im Schnee."], language=language_of("de"))
    grown = german.grown(["Eine Katze mit hund im Gras."])
    assert grown.words[: len(german)] == german.words
    assert grown.decode(grown.encode("hund im gras")) == "Hund im Gras"


def test_a_newer_writing_rule_says_to_upgrade():
    text = Vocabulary.build(["ein Hund"], language=language_of("de")).to_json()
    with pytest.raises(BundleError, match="writing rule 2 is newer"):
        Vocabulary.from_json(text.replace('"writing_rule": 1', '"writing_rule": 2'))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"language": "german"}, "^language: 'german' is not a BCP 47"),
        ({"casing": Casing({"hund": "Katze"})}, "^casing.forms: 'Katze' is not the written form"),
        ({"casing": Casing({}, {"der": "Der"})}, "^casing.before_capital: 'Der'"),
    ],
)
def test_an_unknown_language_or_casing_is_refused(changes, message):
    with pytest.raises(BundleError, match=message):
        Vocabulary((*SPECIAL_WORDS, "hund"), **({"language": "de"} | changes))
