"""Caption text to tokens to ids and back, by the versioned rules of the captions' language.

The rules of a language, which split text into tokens and write tokens as text, are in
`showtell.language`.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from showtell.errors import BundleError
from showtell.files.plain_data import parse_json
from showtell.files.typed_settings import load_settings
from showtell.language.casing import Casing, learn_casing
from showtell.language.languages import ENGLISH, Language, language_of
from showtell.language.splitting import JOINERS

PAD, START, END, UNKNOWN = 0, 1, 2, 3
SPECIAL_WORDS = ("<pad>", "<start>", "<end>", "<unknown>")
MAX_WORDS = 500_000
LONGEST_WORD = 100  # characters
_WITHOUT_JOINERS = str.maketrans("", "", JOINERS)  # not printable, but part of words
FIRST_WORD = len(SPECIAL_WORDS)  # id of the first, and most frequent, real word


def tokenize(text: str) -> list[str]:
    """Split an English caption into normalised tokens."""
    return ENGLISH.words(text)


@dataclass(frozen=True)
class Vocabulary:
    """The words that a model can write; the id of a word is its index in `words`.

    The first four are padding, start, end and unknown. `language` is the BCP 47 tag of the
    captions' language, `rule` the version of its rule for splitting text, `writing_rule` of that
    for writing words, and `casing` says which words have capitals.

    Raises BundleError if the first words are others, a word occurs twice, or one is not a word:
    empty, too long, or with blanks or control characters; if `language` is not a tag; or if
    `casing` has other words.
    """

    words: tuple[str, ...] = field(metadata={"longest": MAX_WORDS})
    min_count: int = field(default=1, metadata={"ge": 1, "le": 10**12})
    rule: int = field(default=ENGLISH.rule, metadata={"ge": 1})
    language: str = ENGLISH.code
    writing_rule: int = field(default=ENGLISH.writing_rule, metadata={"ge": 1})
    casing: Casing | None = None
    _ids: dict[str, int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        try:
            language_of(self.language)
        except ValueError as error:
            raise BundleError(f"language: {error}") from None
        if self.words[: len(SPECIAL_WORDS)] != SPECIAL_WORDS:
            raise BundleError(f"words: the first must be {', '.join(SPECIAL_WORDS)}")
        ids = {word: index for index, word in enumerate(self.words)}
        if len(ids) != len(self.words):
            twice = next(word for word, count in Counter(self.words).items() if count > 1)
            raise BundleError(f"words: {twice[:LONGEST_WORD]!r} occurs twice")
        for index, word in enumerate(self.words):
            letters = word.translate(_WITHOUT_JOINERS)
            if not 0 < len(letters) <= LONGEST_WORD or not letters.isprintable() or " " in word:
                raise BundleError(f"words.{index}: {word[:LONGEST_WORD]!r} is not a word")
        if self.casing:
            self._check_casing(self.casing, ids)
        object.__setattr__(self, "_ids", ids)

    def _check_casing(self, casing: Casing, ids: dict[str, int]) -> None:
        lower = self.rules.lower
        for name, forms in (("forms", casing.forms), ("before_capital", casing.before_capital)):
            for word, form in forms.items():
                if word not in ids or lower(form) != word:
                    raise BundleError(
                        f"casing.{name}: {form[:LONGEST_WORD]!r} is not the written form of a word"
                    )

    @classmethod
    def build(
        cls, captions: Iterable[str], min_count: int = 1, language: Language = ENGLISH
    ) -> Vocabulary:
        """Collect the words that occur at least `min_count` times, most frequent first.

        Where the language is written with capitals, they are learned from the captions.
        """
        captions = list(captions)
        counts = Counter(token for caption in captions for token in language.words(caption))
        kept = sorted(
            (w for w, n in counts.items() if n >= min_count), key=lambda w: (-counts[w], w)
        )
        words = (*SPECIAL_WORDS, *kept)
        return cls(words, min_count).in_language(language, captions)

    def grown(self, captions: Iterable[str], min_count: int = 1) -> Vocabulary:
        """Return the vocabulary, followed by the new words of captions in its language."""
        other = Vocabulary.build(captions, min_count, self.rules)
        new = [word for word in other.words if word not in self]
        casing = self.casing
        if casing and other.casing:
            casing = casing.with_forms_of(other.casing, new)
        return replace(self, words=(*self.words, *new), casing=casing)

    def in_language(self, language: Language, captions: Sequence[str]) -> Vocabulary:
        """Return the vocabulary with a language's rules and the casing of captions in it."""
        casing = None
        if language.casing:
            casing = learn_casing(
                captions,
                self.words,
                language.written_words,
                language.lower,
                capital_nouns=language.capital_nouns,
            )
        return replace(
            self,
            rule=language.rule,
            language=language.code,
            writing_rule=language.writing_rule,
            casing=casing,
        )

    @property
    def rules(self) -> Language:
        """The language with its rules."""
        return language_of(self.language)

    def __len__(self) -> int:
        return len(self.words)

    def __contains__(self, word: str) -> bool:
        return word in self._ids

    def encode(self, caption: str) -> list[int]:
        """Return a caption's ids, without start and end; unknown words become `UNKNOWN`."""
        return [self._ids.get(token, UNKNOWN) for token in self.rules.words(caption)]

    def decode(self, ids: Sequence[int]) -> str:
        """Return the sentence of ids up to `END`, without the other special ids."""
        return self.rules.write(self.tokens(ids), self.casing)

    def written_words(self, ids: Sequence[int]) -> list[str]:
        """Return the tokens of ids up to `END` with their capitals, as `decode` writes them."""
        return self.rules.written_forms(self.tokens(ids), self.casing)

    def tokens(self, ids: Sequence[int]) -> list[str]:
        """Return the tokens of ids up to `END`, without the other special ids."""
        tokens: list[str] = []
        for index in ids:
            if index == END:
                break
            if index >= len(SPECIAL_WORDS):
                tokens.append(self.words[index])
        return tokens

    def to_json(self) -> str:
        """Return the vocabulary as JSON text, with one line per word for readable diffs.

        An English one has no keys that older versions do not know.
        """
        data: dict[str, Any] = {"rule": self.rule, "min_count": self.min_count}
        if self.language != ENGLISH.code:
            casing = asdict(self.casing) if self.casing else None
            data |= {"language": self.language, "writing_rule": self.writing_rule, "casing": casing}
        data["words"] = list(self.words)
        return json.dumps(data, ensure_ascii=False, indent=0) + "\n"

    @classmethod
    def from_json(cls, text: str | bytes, source: Path | str = "vocabulary.json") -> Vocabulary:
        """Read what `to_json` wrote; `source` is the file that errors name.

        Raises BundleError, naming file and key, where it is damaged or follows a newer rule than
        this version has for the language.
        """
        data = parse_json(text, error=BundleError, source=source)
        if isinstance(data, dict):
            _refuse_newer_rules(data, source)
        return load_settings(cls, data, error=BundleError, source=source)


def _refuse_newer_rules(data: dict[str, Any], source: Path | str) -> None:
    try:
        language = language_of(str(data.get("language", ENGLISH.code)))
    except ValueError:
        return  # loading names the key
    known = {
        "rule": ("normalisation rule", language.rule),
        "writing_rule": ("writing rule", language.writing_rule),
    }
    for key, (name, newest) in known.items():
        version = data.get(key)
        if type(version) is int and version > newest:
            raise BundleError(
                f"{source}: {name} {version} is newer than this showtell knows"
                f" ({newest}): upgrade showtell"
            )
