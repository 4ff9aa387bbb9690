"""Models side by side on the same photos, with paired bootstrap confidence intervals.

"Statistical Significance Tests for Machine Translation Evaluation" (Koehn, 2004): photos are drawn
with replacement, the same photos for every model, and every score is computed anew as the score
of the drawn corpus. BLEU and METEOR are summed from each photo's counts; ROUGE-L, CIDEr and SPICE
are means, CIDEr with the word frequencies of the photos compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from showtell.scoring import ScoringError
from showtell.scoring.coco import cider
from showtell.scoring.evaluation import EvaluatedPhoto, Evaluation
from showtell.scoring.metrics import METRICS
from showtell.scoring.statistics import as_counts, bleu, meteor

Values = NDArray[np.float64]

_CONFIDENCE = 0.95
_AT_ONCE = 2_000_000  # weights held at once: 16 MB


@dataclass(frozen=True)
class Interval:
    """A figure with its 95 % bootstrap interval."""

    value: float
    low: float
    high: float

    @property
    def clear(self) -> bool:
        """Whether the interval lies on one side of zero: a difference that is hardly chance."""
        return self.low > 0 or self.high < 0


@dataclass(frozen=True)
class ComparedModel:
    """A model's scores by metric key, and how they differ from the first model's."""

    label: str
    beam: int
    scores: dict[str, Interval]
    differences: dict[str, Interval] | None  # None for the first model


@dataclass(frozen=True)
class Comparison:
    """Models on the same photos, by the same scorer; scores in hundredths."""

    models: tuple[ComparedModel, ...]
    scorer: str
    splits: tuple[str, ...]
    photos: int
    samples: int
    seed: int
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return all of it as plain JSON data; an interval is {value, low, high}."""

        def plain(figures: dict[str, Interval] | None) -> Any:
            return figures and {key: vars(figure) for key, figure in figures.items()}

        return {
            "scorer": self.scorer,
            "splits": list(self.splits),
            "photos": self.photos,
            "samples": self.samples,
            "seed": self.seed,
            "confidence": _CONFIDENCE,
            "notes": list(self.notes),
            "models": [
                {
                    "label": model.label,
                    "beam": model.beam,
                    "scores": plain(model.scores),
                    "differences": plain(model.differences),
                }
                for model in self.models
            ],
        }


def compare(
    evaluations: Sequence[Evaluation],
    labels: Sequence[str] | None = None,
    *,
    samples: int = 1000,
    seed: int = 0,
) -> Comparison:
    """Compare evaluations with the first of them, on the photos that all have.

    Photos are known by name and must have the same references in all; where the sets differ, a
    note says so. Metrics that any of them lacks are left out, with a note.
    Raises ScoringError where there are fewer than two evaluations, fewer than two common photos,
    other references, or different scorers; MissingExtraError where the photo sets differ and
    pycocoevalcap is not there to compute CIDEr anew.
    """
    if len(evaluations) < 2:
        raise ScoringError("nothing to compare: give at least two evaluations")
    if samples < 1:
        raise ScoringError("samples must be at least 1")
    labels = _distinct(labels or [evaluation.model for evaluation in evaluations])
    scorer = _same_scorer(evaluations, labels)
    columns, notes = _common_photos(evaluations, labels)
    measures = [_Measures(photos) for photos in columns]
    keys = [key for key in METRICS if all(key in measure.keys for measure in measures)]
    if left_out := [
        METRICS[key] for key in METRICS if any(key in m.keys for m in measures) and key not in keys
    ]:
        notes.append(f"{', '.join(left_out)} left out: not every evaluation has it")

    observed = [measure.scores(np.ones((1, len(columns[0])))) for measure in measures]
    drawn = _resampled(measures, len(columns[0]), samples, seed)
    models = []
    for number, (evaluation, label) in enumerate(zip(evaluations, labels, strict=True)):
        mine = {key: _interval(observed[number][key][0], drawn[number][key]) for key in keys}
        differences = None
        if number:
            differences = {
                key: _interval(
                    observed[number][key][0] - observed[0][key][0],
                    drawn[number][key] - drawn[0][key],
                )
                for key in keys
            }
        models.append(ComparedModel(label, evaluation.beam, mine, differences))
    return Comparison(
        models=tuple(models),
        scorer=scorer,
        splits=tuple(dict.fromkeys(evaluation.split for evaluation in evaluations)),
        photos=len(columns[0]),
        samples=samples,
        seed=seed,
        notes=tuple(notes),
    )


class _Measures:
    """One model's per-photo values, from which any weighting of the photos is scored."""

    def __init__(self, photos: Sequence[EvaluatedPhoto]) -> None:
        self.counts = {"bleu": as_counts([photo.scores.bleu_counts for photo in photos])}
        aligned = [photo.scores.meteor_counts for photo in photos]
        if all(counts is not None for counts in aligned):
            self.counts["meteor"] = as_counts([counts or () for counts in aligned])
        self.means: dict[str, Values] = {}
        for key in ("rouge_l", "cider", "spice"):
            values = [getattr(photo.scores, key) for photo in photos]
            if all(value is not None for value in values):
                self.means[key] = np.asarray(values, dtype=np.float64)

    @property
    def keys(self) -> set[str]:
        """The metrics this model has."""
        bleus = {f"bleu_{n}" for n in range(1, 5)}
        return bleus | set(self.means) | ({"meteor"} & set(self.counts))

    def scores(self, weights: Values) -> dict[str, Values]:
        """Return each metric as [draws] for weights [draws, photos], how often a photo counts."""
        bleus = 100 * bleu(weights @ self.counts["bleu"])
        found = {f"bleu_{n + 1}": bleus[:, n] for n in range(4)}
        if "meteor" in self.counts:
            found["meteor"] = 100 * meteor(weights @ self.counts["meteor"])
        total = weights.sum(axis=1)
        return found | {key: weights @ values / total for key, values in self.means.items()}


def _resampled(
    measures: Sequence[_Measures], photos: int, samples: int, seed: int
) -> list[dict[str, Values]]:
    """Return each model's scores on `samples` draws of the photos, the same draws for all."""
    generator = np.random.default_rng(seed)
    draws: list[list[dict[str, Values]]] = [[] for _ in measures]
    at_once = max(1, _AT_ONCE // photos)
    even = np.full(photos, 1.0 / photos)
    for start in range(0, samples, at_once):
        size = min(at_once, samples - start)
        weights = generator.multinomial(photos, even, size=size).astype(np.float64)
        for found, measure in zip(draws, measures, strict=True):
            found.append(measure.scores(weights))
    return [{key: np.concatenate([d[key] for d in found]) for key in found[0]} for found in draws]


def _interval(value: float, drawn: Values) -> Interval:
    tail = (1 - _CONFIDENCE) / 2
    low, high = np.quantile(drawn, [tail, 1 - tail])
    return Interval(float(value), float(low), float(high))


def _same_scorer(evaluations: Sequence[Evaluation], labels: Sequence[str]) -> str:
    scorers = [evaluation.scores.scorer for evaluation in evaluations]
    for label, scorer in zip(labels, scorers, strict=True):
        if scorer != scorers[0]:
            raise ScoringError(
                f"{labels[0]} was scored by '{scorers[0]}', {label} by '{scorer}':"
                " evaluate both with the same one"
            )
    return scorers[0]


def _common_photos(
    evaluations: Sequence[Evaluation], labels: Sequence[str]
) -> tuple[list[list[EvaluatedPhoto]], list[str]]:
    """Return each model's photos, the same ones in the same order, and notes for the reader."""
    tables = [{photo.name: photo for photo in evaluation.photos} for evaluation in evaluations]
    names = [name for name in tables[0] if all(name in table for table in tables)]
    if len(names) < 2:
        raise ScoringError(
            f"{labels[0]} and the others have {len(names)} photos in common: nothing to compare"
        )
    columns = [[table[name] for name in names] for table in tables]
    for label, column in zip(labels, columns, strict=True):
        for mine, first in zip(column, columns[0], strict=True):
            if mine.references != first.references:
                raise ScoringError(
                    f"{mine.name!r} has other references in {label} than in {labels[0]}:"
                    " these are not the same data"
                )
    if all(len(table) == len(names) for table in tables):
        return columns, []
    sizes = ", ".join(
        f"{label} {len(table):,}" for label, table in zip(labels, tables, strict=True)
    )
    note = f"compared on the {len(names):,} photos that all have ({sizes})"
    return [_with_new_cider(column) for column in columns], [note]


def _with_new_cider(photos: Sequence[EvaluatedPhoto]) -> list[EvaluatedPhoto]:
    """Weigh words by how rare they are in these photos, not in each evaluation's own set."""
    from dataclasses import replace

    values = cider([photo.tokens for photo in photos], [photo.reference_tokens for photo in photos])
    return [
        replace(photo, scores=replace(photo.scores, cider=value))
        for photo, value in zip(photos, values, strict=True)
    ]


def _distinct(labels: Sequence[str]) -> list[str]:
    """Number labels that occur more than once."""
    return [
        f"{label} ({labels[: place + 1].count(label)})" if labels.count(label) > 1 else label
        for place, label in enumerate(labels)
    ]
