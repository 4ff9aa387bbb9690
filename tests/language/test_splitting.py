"""Text to words in languages with and without spaces."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from showtell.language.languages import LANGUAGES, language_of


@pytest.mark.parametrize(
    ("code", "text", "words"),
    [
        ("de", "Ein weißer Hund, der über Öl läuft.", "ein weißer hund der über öl läuft"),
        ("de", "im T-Shirt - 3,5 m; geht's?", "im t-shirt 3 5 m geht's"),
        ("de", "STRASSE Straße", "strasse straße"),
        ("fr", "L'homme d'aujourd'hui, jusqu’à", "l' homme d' aujourd'hui jusqu' à"),
        ("it", "un’altra dell'uomo", "un' altra dell' uomo"),
        ("tr", "İki IŞIK", "iki ışık"),
        ("hi", "एक कुत्ता दौड़ रहा है।", "एक कुत्ता दौड़ रहा है"),
        ("fa", "سگ می‌دود.", "سگ می‌دود"),
        ("de", "Ein ❤\ufe0f Hund\u200d \u0301", "ein hund"),
        ("ko", "개가 눈밭을 달린다.", "개가 눈밭을 달린다"),
        ("pt-BR", "um cão-d'água", "um cão-d'água"),
        ("tlh", "Qapla' 2", "qapla 2"),
        ("zh", "一只狗，穿着T恤和 Nike 鞋。", "一 只 狗 穿 着 t 恤 和 nike 鞋"),
        ("zh-Hant", "２隻狗", "2 隻 狗"),
        ("ja", "ｶﾞﾗｽのスケートボード、人々", "ガ ラ ス の ス ケ ー ト ボ ー ド 人 々"),
        ("th", "สุนัขวิ่ง 2 ตัว", "สุ นั ข วิ่ ง 2 ตั ว"),
    ],
)
def test_text_is_split_by_the_rule_of_its_language(code: str, text: str, words: str) -> None:
    assert language_of(code).words(text) == words.split()


@given(st.text(), st.sampled_from(LANGUAGES))
def test_splitting_words_again_changes_nothing(text, language):
    words = language.words(text)
    assert language.words(" ".join(words)) == words


@given(st.text(), st.sampled_from(LANGUAGES))
def test_no_word_is_empty_or_contains_a_space(text, language):
    assert all(word.split() == [word] for word in language.words(text))
