"""Caption text to tokens to ids and back, by one versioned normalisation rule.

The rule follows what the coco-caption scorers see after their PTB tokenizer: lower case, no
punctuation, hyphenated words whole, the possessive ``'s`` a token of its own.
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

RULE = 1  # raise when `tokenize` changes: trained models keep the rule they were trained with
PAD, START, END, UNKNOWN = 0, 1, 2, 3
SPECIAL_WORDS = ("<pad>", "<start>", "<end>", "<unknown>")

# A word may hold hyphens and apostrophes inside; a trailing 's is split off.
_TOKEN = re.compile(r"[^\W_]+(?:-[^\W_]+|'(?!s(?![^\W_]))[^\W_]+)*|'s(?![^\W_])")
_APOSTROPHES = str.maketrans(
    {"\u2018": "'", "\u2019": "'", "\u02bc": "'", "\u2010": "-", "\u2011": "-"}
)


def tokenize(text: str) -> list[str]:
    """Split a caption into normalised tokens (rule 1); punctuation is dropped."""
    text = unicodedata.normalize("NFC", text.translate(_APOSTROPHES).lower())
    return _TOKEN.findall(text)


def detokenize(tokens: Iterable[str]) -> str:
    """Join tokens into a sentence, with the possessive back on its word."""
    return " ".join(tokens).replace(" 's", "'s")


@dataclass(frozen=True)
class Vocabulary:
    """The words a model can say; a word's id is its place in `words`.

    The first four are padding, start, end and unknown.
    """

    words: tuple[str, ...]
    min_count: int = 1
    rule: int = RULE
    _ids: dict[str, int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.words[: len(SPECIAL_WORDS)] != SPECIAL_WORDS:
            raise BundleError(f"vocabulary: the first words must be {', '.join(SPECIAL_WORDS)}")
        ids = {word: index for index, word in enumerate(self.words)}
        if len(ids) != len(self.words):
            raise BundleError("vocabulary: a word stands in it twice")
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
        """Turn a caption into ids, without start and end; unknown words become `UNKNOWN`."""
        return [self._ids.get(token, UNKNOWN) for token in tokenize(caption)]

    def decode(self, ids: Sequence[int]) -> str:
        """Turn ids into a sentence; stops at `END`, leaves out the other special ids."""
        return detokenize(self.tokens(ids))

    def tokens(self, ids: Sequence[int]) -> list[str]:
        """Turn ids into tokens; stops at `END`, leaves out the other special ids."""
        tokens: list[str] = []
        for index in ids:
            if index == END:
                break
            if index >= len(SPECIAL_WORDS):
                tokens.append(self.words[index])
        return tokens

    def to_json(self) -> str:
        """Return the vocabulary as JSON text, one line a word so that it diffs well."""
        head = {"rule": self.rule, "min_count": self.min_count, "words": list(self.words)}
        return json.dumps(head, ensure_ascii=False, indent=0) + "\n"

    @classmethod
    def from_json(cls, text: str, source: Path | str = "vocabulary.json") -> Vocabulary:
        """Read what `to_json` wrote.

        Raises BundleError where it is damaged or follows a newer normalisation rule.
        """
        try:
            data = json.loads(text)
            words, min_count, rule = tuple(data["words"]), int(data["min_count"]), int(data["rule"])
        except (ValueError, KeyError, TypeError) as error:
            raise BundleError(f"{source}: not a vocabulary ({error})") from None
        if rule > RULE:
            raise BundleError(
                f"{source}: normalisation rule {rule} is newer than this showtell knows ({RULE}):"
                " upgrade with pip install -U showtell"
            )
        return cls(words, min_count, rule)
