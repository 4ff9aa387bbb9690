"""Caption text to tokens to ids and back, with one versioned normalisation rule.

The rule matches the tokens that the coco-caption scorers get from their PTB tokenizer: lower
case, no punctuation, hyphenated words as one token, the possessive ``'s`` as its own token.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from showtell.errors import BundleError
from showtell.files.plain_data import parse_json
from showtell.files.typed_settings import load_settings

NORMALISATION_RULE = 1  # increment when `tokenize` changes: a trained model keeps its rule
PAD, START, END, UNKNOWN = 0, 1, 2, 3
SPECIAL_WORDS = ("<pad>", "<start>", "<end>", "<unknown>")
MAX_WORDS = 500_000
LONGEST_WORD = 100  # characters
FIRST_WORD = len(SPECIAL_WORDS)  # id of the first, and most frequent, real word

# A word may contain hyphens and apostrophes; a trailing 's is split off.
_TOKEN = re.compile(r"[^\W_]+(?:-[^\W_]+|'(?!s(?![^\W_]))[^\W_]+)*|'s(?![^\W_])")
_ASCII_PUNCTUATION = str.maketrans(
    {"\u2018": "'", "\u2019": "'", "\u02bc": "'", "\u2010": "-", "\u2011": "-"}
)


def tokenize(text: str) -> list[str]:
    """Split a caption into normalised tokens (rule 1); punctuation is dropped."""
    text = unicodedata.normalize("NFC", text.translate(_ASCII_PUNCTUATION).lower())
    return _TOKEN.findall(text)


def detokenize(tokens: Iterable[str]) -> str:
    """Join tokens into a sentence, with the possessive back on its word."""
    return " ".join(tokens).replace(" 's", "'s")


@dataclass(frozen=True)
class Vocabulary:
    """The words that a model can write; the id of a word is its index in `words`.

    The first four are padding, start, end and unknown. Raises BundleError if they are not, a word
    occurs twice, or one is not a word: empty, too long, or with blanks or control characters.
    """

    words: tuple[str, ...] = field(metadata={"longest": MAX_WORDS})
    min_count: int = field(default=1, metadata={"ge": 1, "le": 10**12})
    rule: int = field(default=NORMALISATION_RULE, metadata={"ge": 1})
    _ids: dict[str, int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.words[: len(SPECIAL_WORDS)] != SPECIAL_WORDS:
            raise BundleError(f"words: the first must be {', '.join(SPECIAL_WORDS)}")
        ids = {word: index for index, word in enumerate(self.words)}
        if len(ids) != len(self.words):
            twice = next(word for word, count in Counter(self.words).items() if count > 1)
            raise BundleError(f"words: {twice[:LONGEST_WORD]!r} occurs twice")
        for index, word in enumerate(self.words):
            if not 0 < len(word) <= LONGEST_WORD or not word.isprintable() or " " in word:
                raise BundleError(f"words.{index}: {word[:LONGEST_WORD]!r} is not a word")
        object.__setattr__(self, "_ids", ids)

    @classmethod
    def build(cls, captions: Iterable[str], min_count: int = 1) -> Vocabulary:
        """Collect the words that occur at least `min_count` times, most frequent first."""
        counts = Counter(token for caption in captions for token in tokenize(caption))
        kept = sorted(
            (w for w, n in counts.items() if n >= min_count), key=lambda w: (-counts[w], w)
        )
        return cls((*SPECIAL_WORDS, *kept), min_count)

    def __len__(self) -> int:
        return len(self.words)

    def __contains__(self, word: str) -> bool:
        return word in self._ids

    def encode(self, caption: str) -> list[int]:
        """Return a caption's ids, without start and end; unknown words become `UNKNOWN`."""
        return [self._ids.get(token, UNKNOWN) for token in tokenize(caption)]

    def decode(self, ids: Sequence[int]) -> str:
        """Return the sentence of ids up to `END`, without the other special ids."""
        return detokenize(self.tokens(ids))

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
        """Return the vocabulary as JSON text, with one line per word for readable diffs."""
        data = {"rule": self.rule, "min_count": self.min_count, "words": list(self.words)}
        return json.dumps(data, ensure_ascii=False, indent=0) + "\n"

    @classmethod
    def from_json(cls, text: str | bytes, source: Path | str = "vocabulary.json") -> Vocabulary:
        """Read what `to_json` wrote; `source` is the file that errors name.

        Raises BundleError, naming file and key, where it is damaged or follows a newer
        normalisation rule.
        """
        data = parse_json(text, error=BundleError, source=source)
        rule = data.get("rule") if isinstance(data, dict) else None
        if type(rule) is int and rule > NORMALISATION_RULE:
            raise BundleError(
                f"{source}: normalisation rule {rule} is newer than this showtell knows"
                f" ({NORMALISATION_RULE}): upgrade showtell"
            )
        return load_settings(cls, data, error=BundleError, source=source)
