"""Keywords of a photo: nouns, each with the probability that people name it.

A keyword stands for detected words: synonyms, singular and plural. Its probability is that of any
of them, corrected by a logistic regression that also sees whether the caption says one (Platt,
"Probabilistic Outputs for Support Vector Machines", 1999). The regression is part of a model; the
script `experiments/general/fit_keywords.py` fits it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from showtell.decoding.beam_search import Floats

Doubles = NDArray[np.float64]

DETECTED = "detected"  # name of the feature: logits of detected words, [photos, words]
LEAST_PROBABILITY = 0.1  # of a keyword
MOST_KEYWORDS = 10  # of a photo
SURE = 0.5  # keywords with a higher probability are more often right than wrong
_LARGEST = 100.0  # logit
_LEAST = 1e-6  # detected probabilities are at least this far from 0 and 1
_BOUNDS = {"ge": -100, "le": 100}  # of coefficients


def _log_odds(log_odds: Doubles, said: Doubles) -> Doubles:
    return log_odds


def _said(log_odds: Doubles, said: Doubles) -> Doubles:
    return said


def _log_odds_said(log_odds: Doubles, said: Doubles) -> Doubles:
    return log_odds * said


FEATURES: dict[str, Callable[[Doubles, Doubles], Doubles]] = {
    "log_odds": _log_odds,
    "said": _said,
    "log_odds_said": _log_odds_said,
}


@dataclass(frozen=True)
class KeywordCheck:
    """How right keywords above `SURE` are on photos that the regression was not fitted on.

    `per_photo` is their mean number, `right` the share that a caption of the photo names.
    """

    dataset: str = field(metadata={"longest": 200})
    photos: int = field(metadata={"ge": 1, "le": 10**12})
    per_photo: float = field(metadata={"ge": 0, "le": 1000})
    right: float = field(metadata={"ge": 0, "le": 1})
    expected_calibration_error: float = field(metadata={"ge": 0, "le": 1})


@dataclass(frozen=True)
class KeywordCalibration:
    """A fitted regression and its keywords; a bundle's manifest holds one as `keywords`.

    `measure` says what the probability is of. `weights` has one value for each of the `features`.
    `words` maps each keyword to the words that it stands for, separated by blanks, and `biases`
    to what is added to its logit. `kinds` maps a keyword to narrower ones, separated by blanks: it
    is left out where one of them is as probable. `photos` counts the photos it was fitted on.
    """

    measure: str = field(metadata={"longest": 1000})
    features: tuple[str, ...] = field(metadata={"longest": 100})
    weights: tuple[float, ...] = field(metadata=_BOUNDS)
    words: dict[str, str] = field(metadata={"longest": 100_000})
    biases: dict[str, float] = field(metadata={"longest": 100_000, **_BOUNDS})
    kinds: dict[str, str] = field(default_factory=dict, metadata={"longest": 100_000})
    photos: int = field(default=0, metadata={"ge": 0, "le": 10**12})
    checks: tuple[KeywordCheck, ...] = field(default=(), metadata={"longest": 100})

    def __post_init__(self) -> None:
        if len(self.weights) != len(self.features):
            raise ValueError("weights: must hold one number for each of the features")
        if self.words.keys() != self.biases.keys():
            raise ValueError("biases: must hold one number for each keyword of words")
        for keyword, words in self.words.items():
            if not words.split():
                raise ValueError(f"words.{keyword[:100]}: names no word")


class KeywordModel:
    """Computes keywords from the logits of detected words, with one calibration.

    `words` are the detected words, in the order of the logits. A keyword that stands for none of
    them is left out. There are no keywords at all if the calibration uses features that this
    version does not know.
    """

    def __init__(self, calibration: KeywordCalibration, words: Sequence[str]) -> None:
        self._column = {word: column for column, word in enumerate(words)}
        is_known = FEATURES.keys() >= set(calibration.features)
        members = {
            keyword: [self._column[word] for word in synonyms.split() if word in self._column]
            for keyword, synonyms in (calibration.words.items() if is_known else ())
        }
        members = {keyword: columns for keyword, columns in members.items() if columns}
        self.names = tuple(members)
        self._biases = np.array([calibration.biases[keyword] for keyword in self.names])
        self._weights = dict(zip(calibration.features, calibration.weights, strict=True))
        # the columns of one keyword's words after those of another, and where each begins
        self._columns = np.array([c for columns in members.values() for c in columns], np.int64)
        counts = [len(columns) for columns in members.values()]
        self._begins = np.cumsum([0, *counts[:-1]])
        row = {keyword: index for index, keyword in enumerate(self.names)}
        self._kinds = {
            row[keyword]: [row[kind] for kind in kinds.split() if kind in row]
            for keyword, kinds in calibration.kinds.items()
            if keyword in row
        }

    def of_photo(self, logits: Floats, caption: Iterable[str]) -> list[tuple[str, float]]:
        """Return a photo's keywords with their probabilities, most probable first.

        `logits` are those of the detected words, [words]; `caption` has the words of the photo's
        caption. There are at most `MOST_KEYWORDS`, each with a probability of at least
        `LEAST_PROBABILITY`.
        """
        if not self.names:
            return []
        features = self.features(logits[None], [caption])
        [probabilities] = self.probabilities(features)
        order = np.argsort(-probabilities, kind="stable")[:MOST_KEYWORDS]
        return [
            (self.names[i], float(probabilities[i]))
            for i in order
            if probabilities[i] >= LEAST_PROBABILITY
        ]

    def features(self, logits: Floats, captions: Sequence[Iterable[str]]) -> dict[str, Doubles]:
        """Return the regression's inputs for some photos, each [photos, keywords].

        `logits` is [photos, words]; `captions` has the words of each photo's caption.
        """
        limited = np.clip(np.nan_to_num(logits.astype(np.float64)), -_LARGEST, _LARGEST)
        softplus = np.logaddexp(0, limited)  # -log of the probability that a word is absent
        present = 1 - np.exp(-self._reduced(np.add, softplus))
        present = np.clip(present, _LEAST, 1 - _LEAST)
        log_odds = np.log(present / (1 - present))
        said = np.zeros_like(limited)
        for row, caption in enumerate(captions):
            said[row, [self._column[word] for word in caption if word in self._column]] = 1
        is_said = self._reduced(np.maximum, said)
        return {name: feature(log_odds, is_said) for name, feature in FEATURES.items()}

    def probabilities(self, features: dict[str, Doubles]) -> Doubles:
        """Return the probability of each keyword, [photos, keywords]; 0 where it is left out."""
        weighted = [weight * features[name] for name, weight in self._weights.items()]
        logits = np.clip(self._biases + sum(weighted), -_LARGEST, _LARGEST)
        probabilities = 1 / (1 + np.exp(-logits))
        shown = probabilities.copy()
        for keyword, kinds in self._kinds.items():
            narrower = probabilities[:, kinds].max(axis=1, initial=0)
            shown[narrower >= probabilities[:, keyword], keyword] = 0
        return np.asarray(shown)

    def _reduced(self, operation: np.ufunc, values: Doubles) -> Doubles:
        """Return values [photos, words] as [photos, keywords]."""
        return np.asarray(operation.reduceat(values[:, self._columns], self._begins, axis=1))
