"""The result of captioning: a caption with its words, alternatives, confidence and keywords."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from showtell.decoding.beam_search import Floats


@dataclass(frozen=True, slots=True)
class Word:
    """One word of a caption.

    `attention` is float32 [grid height, grid width], with a sum of at most 1: the weight of each
    region of the photo. It is None for a decoder without attention.
    """

    word: str
    log_probability: float
    attention: Floats | None = field(default=None, repr=False, compare=False)

    def to_dict(self) -> dict[str, Any]:
        """Return the word as plain JSON data."""
        attention = None
        if self.attention is not None:
            attention = [[round(value, 5) for value in row] for row in self.attention.tolist()]
        return {
            "word": self.word,
            "log_probability": round(self.log_probability, 6),
            "attention": attention,
        }


@dataclass(frozen=True, slots=True)
class Alternative:
    """Another caption of the same photo, with its log-probability."""

    text: str
    log_probability: float


@dataclass(frozen=True, slots=True)
class Keyword:
    """A noun, and the probability that people who describe the photo name it."""

    word: str
    probability: float

    def __str__(self) -> str:
        """Return the keyword as in text and CSV, `dog 0.93`; a certain one, by a person, alone."""
        return self.word if self.probability >= 1 else f"{self.word} {self.probability:.2f}"

    def to_dict(self) -> dict[str, Any]:
        """Return the keyword as plain JSON data."""
        return {"word": self.word, "probability": round(self.probability, 6)}


@dataclass(frozen=True, slots=True)
class Caption:
    """A photo's caption, or the reason why there is none.

    `path` is None for a photo given as bytes, image or array. `confidence` is the probability
    that the caption is good, calibrated on dev photos; it is None if the model has no calibration
    or the strategy is not `beam`. `keywords` come most probable first; there are none if the model
    has no calibration for them. If `error` is not None, it is one line that names the photo,
    and `text` is None.
    """

    path: Path | None = None
    text: str | None = None
    log_probability: float | None = None
    confidence: float | None = None
    alternatives: tuple[Alternative, ...] = ()
    words: tuple[Word, ...] = field(default=(), repr=False)
    keywords: tuple[Keyword, ...] = ()
    error: str | None = None

    def to_dict(self, *, words: bool = False, keywords: bool = False) -> dict[str, Any]:
        """Return the caption as plain JSON data: the fields of a line of JSONL."""
        record: dict[str, Any] = {
            "path": None if self.path is None else os.fspath(self.path),
            "text": self.text,
            "log_probability": _rounded(self.log_probability),
            "confidence": _rounded(self.confidence),
            "alternatives": [
                {"text": item.text, "log_probability": _rounded(item.log_probability)}
                for item in self.alternatives
            ],
            "error": self.error,
        }
        if words:
            record["words"] = [word.to_dict() for word in self.words]
        if keywords:
            record["keywords"] = [keyword.to_dict() for keyword in self.keywords]
        return record


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 6)
