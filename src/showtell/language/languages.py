"""The languages that captions can be in, as data; a language that is not listed has a generic rule.

A language has two versioned rules: `rule` for text to words (normalising), `writing_rule` for words
to text. Raise the version when a rule changes: a trained model keeps the rules of its vocabulary.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Literal

from showtell.language.casing import Casing
from showtell.language.splitting import (
    characters,
    english_words,
    is_spaceless,
    normalised,
    spaced_words,
)

# ISO 639, then optionally script, region and variants: RFC 5646 without extensions.
_TAG = re.compile(
    r"([A-Za-z]{2,3})(-[A-Za-z]{4})?(-(?:[A-Za-z]{2}|[0-9]{3}))?"
    r"((?:-(?:[A-Za-z0-9]{5,8}|[0-9][A-Za-z0-9]{3}))*)"
)


@dataclass(frozen=True)
class Language:
    """A language of captions.

    `code` is its BCP 47 tag, `name` its name in English. `splitting` is how text becomes words:
    as coco-caption splits English, at spaces and punctuation, or into characters. `casing` says
    whether captions are written with capitals, as the training captions have them; without, they
    are in lower case. `capital_nouns` says that nouns have capitals, so that a caption without any
    is not cased. `elided` are words that an apostrophe joins to the next word. `sides` is a regular
    expression of words for left and right: a photo with such a caption is not mirrored in training.
    """

    code: str
    name: str
    splitting: Literal["english", "words", "characters"] = "words"
    rule: int = 1
    writing_rule: int = 1
    casing: bool = True
    capital_nouns: bool = False
    elided: frozenset[str] = frozenset()
    dotless_i: bool = False  # the capitals of i and ı are İ and I
    sides: str = ""

    @property
    def base(self) -> str:
        """The language without script and region: "de" of "de-AT"."""
        return self.code.partition("-")[0]

    @property
    def spaced(self) -> bool:
        """Whether words are written with spaces between them."""
        return self.splitting != "characters"

    def words(self, text: str) -> list[str]:
        """Split text into normalised words, in lower case and without punctuation."""
        if self.splitting == "english":
            return english_words(text)
        return self.written_words(self.lower(text))

    def written_words(self, text: str) -> list[str]:
        """Split text into words as they are written, with their capitals."""
        if self.splitting == "characters":
            return characters(text)
        return spaced_words(normalised(text), self.elided)

    def write(self, words: Sequence[str], casing: Casing | None = None) -> str:
        """Join normalised words into a sentence; `casing` says which have capitals."""
        if self.splitting == "english":
            return " ".join(words).replace(" 's", "'s")
        return _joined(self.written_forms(words, casing), spaced=self.spaced)

    def written_forms(self, words: Sequence[str], casing: Casing | None = None) -> list[str]:
        """Return each of a caption's normalised words with its capitals."""
        return casing.apply(words, self.upper) if casing else list(words)

    def lower(self, text: str) -> str:
        """Return text in lower case, in NFC."""
        if self.dotless_i:
            text = text.replace("I", "ı").replace("İ", "i")
        return normalised(text.lower())

    def upper(self, text: str) -> str:
        """Return text in upper case."""
        return (text.replace("i", "İ") if self.dotless_i else text).upper()

    def names_side(self, text: str) -> bool:
        """Return whether a caption says left or right."""
        return bool(self.sides) and bool(re.search(self.sides, text, re.IGNORECASE))


def _joined(words: Sequence[str], *, spaced: bool) -> str:
    """Join words, without a space after an elision and between characters of spaceless scripts."""
    text = ""
    for word in words:
        joined = not text or text.endswith("'")
        if not spaced and text:
            joined = is_spaceless(text[-1]) or is_spaceless(word[0])
        text += word if joined else f" {word}"
    return text


def _elisions(words: str) -> frozenset[str]:
    return frozenset(words.split())


_FRENCH = _elisions("c d j l m n qu s t jusqu lorsqu puisqu quoiqu")
_ITALIAN = _elisions("l un d c all dall dell nell sull coll quell quest bell sant")
_CATALAN = _elisions("d l m n s t")
_CHARACTERS: Literal["characters"] = "characters"

ENGLISH = Language("en", "English", "english", casing=False, sides=r"\b(left|right)\b")
LANGUAGES: tuple[Language, ...] = (
    ENGLISH,
    Language("ar", "Arabic", sides="يسار|يمين"),
    Language("az", "Azerbaijani", dotless_i=True),
    Language("bg", "Bulgarian", sides=r"\b(ляв|дяс?н)"),
    Language("bn", "Bengali"),
    Language("ca", "Catalan", elided=_CATALAN, sides=r"\b(esquerr|dret)"),
    Language("cs", "Czech", sides=r"\b(v?lev|v?prav)"),
    Language("da", "Danish", sides=r"\b(venstre|højre)\b"),
    Language("de", "German", capital_nouns=True, sides=r"\b(links|rechts|(linke|rechte)[mnrs]?)\b"),
    Language("el", "Greek", sides=r"\b(αριστερ|δεξι)"),
    Language("es", "Spanish", sides=r"\b(izquierd[ao]s?|derech[ao]s?)\b"),
    Language("et", "Estonian", sides=r"\b(vasak|parem)"),
    Language("fa", "Persian", sides="چپ|راست"),
    Language("fi", "Finnish", sides=r"\b(vasem|oike)"),
    Language("fr", "French", elided=_FRENCH, sides=r"\b(gauche|droite?)s?\b"),
    Language("he", "Hebrew", sides="שמאל|ימין"),
    Language("hi", "Hindi", sides="बाएं|बाएँ|बाईं|दाएं|दाएँ|दाईं"),
    Language("hr", "Croatian", sides=r"\b(u?lijev|u?desn)"),
    Language("hu", "Hungarian", sides=r"\b(bal|jobb)"),
    Language("id", "Indonesian", sides=r"\b(kiri|kanan)\b"),
    Language("it", "Italian", elided=_ITALIAN, sides=r"\b(sinistr[aoe]|destr[aoe])\b"),
    Language("ja", "Japanese", _CHARACTERS, sides="[左右]"),
    Language("km", "Khmer", _CHARACTERS, sides="ឆ្វេង|ស្តាំ"),
    Language("ko", "Korean", sides="왼쪽|오른쪽|좌측|우측"),
    Language("lb", "Luxembourgish", capital_nouns=True, sides=r"\b(lénk|riets)"),
    Language("lo", "Lao", _CHARACTERS, sides="ຊ້າຍ|ຂວາ"),
    Language("lt", "Lithuanian", sides=r"\b(kair|dešin)"),
    Language("lv", "Latvian", sides=r"\b(kreis|lab)"),
    Language("my", "Burmese", _CHARACTERS, sides="ဘယ်|ညာ"),
    Language("nb", "Norwegian Bokmål", sides=r"\b(venstre|høyre)\b"),
    Language("nl", "Dutch", sides=r"\b(linker|rechter|links|rechts)"),
    Language("nn", "Norwegian Nynorsk", sides=r"\b(venstre|høgre)\b"),
    Language("no", "Norwegian", sides=r"\b(venstre|høyre)\b"),
    Language("pl", "Polish", sides=r"\b(lew|praw)"),
    Language("pt", "Portuguese", sides=r"\b(esquerd[ao]s?|direit[ao]s?)\b"),
    Language("ro", "Romanian", sides=r"\b(stâng|dreapt)"),
    Language("ru", "Russian", sides=r"\b(с?лев|с?прав)"),
    Language("sk", "Slovak", sides=r"\b(v?ľav|v?prav)"),
    Language("sl", "Slovenian", sides=r"\b(lev|desn)"),
    Language("sv", "Swedish", sides=r"\b(vänster|höger)"),
    Language("th", "Thai", _CHARACTERS, sides="ซ้าย|ขวา"),
    Language("tr", "Turkish", dotless_i=True, sides=r"\b(sol|sağ)"),
    Language("uk", "Ukrainian", sides=r"\b(лів|прав)"),
    Language("vi", "Vietnamese", sides=r"\b(trái|phải)\b"),
    Language("yue", "Cantonese", _CHARACTERS, sides="[左右]"),
    Language("zh", "Chinese", _CHARACTERS, sides="[左右]"),
)
_BY_BASE = {language.code: language for language in LANGUAGES}


@cache
def language_of(code: str) -> Language:
    """Return the language of a BCP 47 tag such as "de", "pt-BR" or "zh-Hant-TW".

    A language that is not listed splits text at spaces and punctuation. Raises ValueError if `code`
    is not a tag.
    """
    match = _TAG.fullmatch(code)
    if match is None:
        raise ValueError(f"{code[:40]!r} is not a BCP 47 language tag, such as de or pt-BR")
    base = match[1].lower()
    tag = f"{base}{(match[2] or '').title()}{(match[3] or '').upper()}{match[4].lower()}"
    known = _BY_BASE.get(base, Language(base, base))
    return known if tag == known.code else replace(known, code=tag)
