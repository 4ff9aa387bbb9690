"""Text to normalised words: English, other languages with spaces, languages without spaces.

A change of what a function here returns needs a new version of the rule of its languages (see
`languages.py`), because a trained model keeps the rule of its vocabulary.
"""

from __future__ import annotations

import re
import unicodedata

_HYPHENS_AND_APOSTROPHES = str.maketrans(
    {"\u2018": "'", "\u2019": "'", "\u02bc": "'", "\u2010": "-", "\u2011": "-"}
)
_USUAL_FORMS = {**_HYPHENS_AND_APOSTROPHES, **dict.fromkeys(range(0xFE00, 0xFE10))}
# A word may contain hyphens and apostrophes; a trailing 's is split off.
_ENGLISH = re.compile(r"[^\W_]+(?:-[^\W_]+|'(?!s(?![^\W_]))[^\W_]+)*|'s(?![^\W_])")
_INNER = "-'"  # characters that belong to a word between two letters
JOINERS = "\u200c\u200d"  # zero width, between the letters of a word in Persian and Hindi
_WORD = re.compile(r"[^\s'-]+(?:[-'][^\s'-]+)*")
# Scripts that are written without spaces between words, and the iteration marks of Chinese and
# Japanese: Thai, Lao, Tibetan, Burmese, Khmer, kana, bopomofo, Chinese characters.
_SPACELESS_RANGES = (
    "\u0e00-\u0eff\u0f00-\u0fff\u1000-\u109f\u1780-\u17ff\u3005-\u3007\u3040-\u312f"
    "\u31a0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U000323af"
)
_WIDTH_FORMS = re.compile("[\uff00-\uffef]+")
_SPACELESS = re.compile(f"[{_SPACELESS_RANGES}]")


class _WordCharacters(dict[int, str]):
    """A table for `str.translate` that replaces all but letters, digits, marks, - and '.

    `re` counts combining marks, such as the vowel signs of Hindi, as no part of a word.
    """

    def __missing__(self, code: int) -> str:
        character = chr(code)
        of_word = character.isalnum() or character in _INNER + JOINERS or is_mark(character)
        self[code] = character if of_word else " "
        return self[code]


_WORD_CHARACTERS = _WordCharacters()


def is_mark(character: str) -> bool:
    """Return whether a character combines with the one before it."""
    return unicodedata.category(character).startswith("M")


def is_spaceless(character: str) -> bool:
    """Return whether a character belongs to a script that has no spaces between words."""
    return bool(_SPACELESS.match(character))


def normalised(text: str) -> str:
    """Return text in NFC, with one kind of apostrophe and of hyphen, without variation selectors.

    A variation selector chooses the look of a character, such as that of an emoji.
    """
    return unicodedata.normalize("NFC", text.translate(_USUAL_FORMS))


def english_words(text: str) -> list[str]:
    """Split text into the tokens that coco-caption gets from its PTB tokenizer.

    Lower case, no punctuation, hyphenated words as one token, the possessive 's as its own token.
    """
    lower = text.translate(_HYPHENS_AND_APOSTROPHES).lower()
    return _ENGLISH.findall(unicodedata.normalize("NFC", lower))


def spaced_words(text: str, elided: frozenset[str] = frozenset()) -> list[str]:
    """Split normalised text into words of letters, digits and combining marks.

    A word may contain hyphens and apostrophes. A word before an apostrophe that is in `elided`
    ("l", "qu") is a token of its own, with its apostrophe: "l'", "homme".
    """
    found = _WORD.findall(text.translate(_WORD_CHARACTERS))
    words = [word for text in found if (word := _from_letter(text))]
    if not elided:
        return words
    return [part for word in words for part in _split_elisions(word, elided)]


def _from_letter(word: str) -> str:
    """Return a word from its first letter or digit on, empty if it has none."""
    start = next((index for index, c in enumerate(word) if c.isalnum()), len(word))
    return word[start:].rstrip(JOINERS)


def _split_elisions(word: str, elided: frozenset[str]) -> list[str]:
    head, apostrophe, rest = word.partition("'")
    if not apostrophe or head.lower() not in elided:
        return [word]
    return [head + apostrophe, *_split_elisions(rest, elided)]


def characters(text: str) -> list[str]:
    """Split text of a language without spaces into characters, each with its combining marks.

    Words in scripts with spaces, and numbers, stay whole: "T", "恤". Letters and digits of full
    width, and kana of half width, become the usual ones.
    """
    text = _WIDTH_FORMS.sub(lambda match: unicodedata.normalize("NFKC", match[0]), text)
    return [token for word in spaced_words(normalised(text)) for token in _clusters(word)]


def _clusters(word: str) -> list[str]:
    clusters: list[str] = []
    for character in word:
        joins = clusters and (
            is_mark(character)
            or character in JOINERS
            or not (is_spaceless(character) or is_spaceless(clusters[-1][-1]))
        )
        if joins:
            clusters[-1] += character
        else:
            clusters.append(character)
    return [cluster for cluster in (c.strip(_INNER + JOINERS) for c in clusters) if cluster]
