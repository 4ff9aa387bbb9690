"""Compare models on the same photos, with paired bootstrap confidence intervals.

The method is that of "Statistical Significance Tests for Machine Translation Evaluation" (Koehn,
2004). Photos are drawn with replacement, the same photos for every model, and each score is
computed as the score of the drawn corpus. BLEU and METEOR are computed from summed counts per
photo; ROUGE-L, CIDEr and SPICE are means. CIDEr uses the word frequencies of the compared photos.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from showtell.files.counts import count_of
from showtell.scoring import ScoringError
from showtell.scoring.coco import cider_per_photo
from showtell.scoring.evaluation import EvaluatedPhoto, Evaluation, decoding_text
from showtell.scoring.metrics import METRICS
from showtell.scoring.statistics import ENGLISH_METEOR, as_counts, bleu, meteor, meteor_settings

Values = NDArray[np.float64]

_CONFIDENCE = 0.95
_MAX_WEIGHTS = 2_000_000  # weights [draws, photos] in memory at a time: 16 MB


@dataclass(frozen=True)
class Interval:
    """A value with its 95 % bootstrap interval."""

    value: float
    low: float
    high: float

    @property
    def excludes_zero(self) -> bool:
        """Whether the interval excludes zero: the difference is unlikely to be chance."""
        return self.low > 0 or self.high < 0


@dataclass(frozen=True)
class ComparedModel:
    """A model's scores by metric key, and their differences from the first model's."""

    label: str
    beam: int
    scores: dict[str, Interval]
    differences: dict[str, Interval] | None  # None for the first model
    length_penalty: float | None = None

    @property
    def decoding(self) -> str:
        """The decoding options in words, such as "beam 3, length penalty 1"."""
        return decoding_text(self.beam, self.length_penalty)

    def to_dict(self) -> dict[str, Any]:
        """Return the model as plain JSON data; an interval is {value, low, high}."""
        return {
            "label": self.label,
            "beam": self.beam,
            "length_penalty": self.length_penalty,
            "scores": _intervals_to_dict(self.scores),
            "differences": None
            if self.differences is None
            else _intervals_to_dict(self.differences),
        }


@dataclass(frozen=True)
class Comparison:
    """Models on the same photos, scored by the same scorer, multiplied by 100."""

    models: tuple[ComparedModel, ...]
    scorer: str
    splits: tuple[str, ...]
    photos: int
    samples: int
    seed: int
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return the comparison as plain JSON data."""
        return {
            "scorer": self.scorer,
            "splits": list(self.splits),
            "photos": self.photos,
            "samples": self.samples,
            "seed": self.seed,
            "confidence": _CONFIDENCE,
            "notes": list(self.notes),
            "models": [model.to_dict() for model in self.models],
        }


def compare_evaluations(
    evaluations: Sequence[Evaluation],
    labels: Sequence[str] | None = None,
    *,
    samples: int = 1000,
    seed: int = 0,
) -> Comparison:
    """Compare evaluations with the first one, on the photos that all of them contain.

    Photos are matched by name and must have the same references in all evaluations. If the sets of
    photos differ, a note says so. Metrics that an evaluation lacks are left out, with a note.

    Raises ScoringError if there are fewer than two evaluations or common photos, or if references
    or scorers differ; MissingExtraError if the sets of photos differ and pycocoevalcap, which
    computes CIDEr for the common photos, is missing.
    """
    if len(evaluations) < 2:
        raise ScoringError("nothing to compare: give at least two evaluations")
    if samples < 1:
        raise ScoringError("samples must be at least 1")
    labels = _distinct(labels or [evaluation.model for evaluation in evaluations])
    scorer = _common_scorer(evaluations, labels)
    columns, notes = _common_photos(evaluations, labels)
    statistics = [_PhotoStatistics(photos, evaluations[0].language) for photos in columns]
    keys, note = _common_metrics(statistics)
    photos = len(columns[0])
    observed = [item.scores(np.ones((1, photos))) for item in statistics]
    resampled = _resample(statistics, photos, samples, seed)
    scores = [
        {key: _interval(observed[model][key][0], resampled[model][key]) for key in keys}
        for model in range(len(evaluations))
    ]
    differences = [
        {
            key: _interval(
                observed[model][key][0] - observed[0][key][0],
                resampled[model][key] - resampled[0][key],
            )
            for key in keys
        }
        for model in range(1, len(evaluations))
    ]
    return Comparison(
        models=tuple(map(_compared_model, evaluations, labels, scores, [None, *differences])),
        scorer=scorer,
        splits=tuple(dict.fromkeys(evaluation.split for evaluation in evaluations)),
        photos=photos,
        samples=samples,
        seed=seed,
        notes=(*notes, *note),
    )


def _compared_model(
    evaluation: Evaluation,
    label: str,
    scores: dict[str, Interval],
    differences: dict[str, Interval] | None,
) -> ComparedModel:
    return ComparedModel(
        label, evaluation.beam, scores, differences, length_penalty=evaluation.length_penalty
    )


class _PhotoStatistics:
    """One model's values per photo, from which the photos are scored with any weights."""

    def __init__(self, photos: Sequence[EvaluatedPhoto], language: str) -> None:
        self.meteor_settings = meteor_settings(language) or ENGLISH_METEOR
        self.counts = {"bleu": as_counts([photo.scores.bleu_counts for photo in photos])}
        meteor_counts = [photo.scores.meteor_counts for photo in photos]
        if all(counts is not None for counts in meteor_counts):
            self.counts["meteor"] = as_counts([counts or () for counts in meteor_counts])
        self.means: dict[str, Values] = {}
        for key in ("rouge_l", "cider", "spice"):
            values = [getattr(photo.scores, key) for photo in photos]
            if all(value is not None for value in values):
                self.means[key] = np.asarray(values, dtype=np.float64)

    @property
    def keys(self) -> set[str]:
        """The metrics of this model."""
        bleus = {f"bleu_{n}" for n in range(1, 5)}
        return bleus | set(self.means) | ({"meteor"} & set(self.counts))

    def scores(self, weights: Values) -> dict[str, Values]:
        """Return each metric as [draws]; `weights` [draws, photos] count each photo's draws."""
        bleus = 100 * bleu(weights @ self.counts["bleu"])
        scores = {f"bleu_{n + 1}": bleus[:, n] for n in range(4)}
        if "meteor" in self.counts:
            scores["meteor"] = 100 * meteor(weights @ self.counts["meteor"], self.meteor_settings)
        total = weights.sum(axis=1)
        return scores | {key: weights @ values / total for key, values in self.means.items()}


def _resample(
    statistics: Sequence[_PhotoStatistics], photos: int, samples: int, seed: int
) -> list[dict[str, Values]]:
    """Return each model's scores on `samples` draws of the photos, the same draws for all."""
    generator = np.random.default_rng(seed)
    batches: list[list[dict[str, Values]]] = [[] for _ in statistics]
    batch_size = max(1, _MAX_WEIGHTS // photos)
    uniform = np.full(photos, 1.0 / photos)
    for start in range(0, samples, batch_size):
        size = min(batch_size, samples - start)
        weights = generator.multinomial(photos, uniform, size=size).astype(np.float64)
        for model_batches, item in zip(batches, statistics, strict=True):
            model_batches.append(item.scores(weights))
    return [
        {key: np.concatenate([batch[key] for batch in model_batches]) for key in model_batches[0]}
        for model_batches in batches
    ]


def _interval(value: float, resampled: Values) -> Interval:
    tail = (1 - _CONFIDENCE) / 2
    low, high = np.quantile(resampled, [tail, 1 - tail])
    return Interval(float(value), float(low), float(high))


def _intervals_to_dict(intervals: Mapping[str, Interval]) -> dict[str, dict[str, float]]:
    return {key: dict(vars(interval)) for key, interval in intervals.items()}


def _common_metrics(statistics: Sequence[_PhotoStatistics]) -> tuple[list[str], list[str]]:
    """Return the keys of the metrics that all models have, and a note about the others."""
    keys = [key for key in METRICS if all(key in item.keys for item in statistics)]
    left_out = [
        METRICS[key]
        for key in METRICS
        if key not in keys and any(key in item.keys for item in statistics)
    ]
    if not left_out:
        return keys, []
    return keys, [f"{', '.join(left_out)} left out: not every evaluation has it"]


def _common_scorer(evaluations: Sequence[Evaluation], labels: Sequence[str]) -> str:
    scorers = [evaluation.scores.scorer for evaluation in evaluations]
    for label, scorer in zip(labels, scorers, strict=True):
        if scorer != scorers[0]:
            raise ScoringError(
                f"{labels[0]} was scored by '{scorers[0]}', {label} by '{scorer}':"
                " evaluate both with the same scorer"
            )
    return scorers[0]


def _common_photos(
    evaluations: Sequence[Evaluation], labels: Sequence[str]
) -> tuple[list[list[EvaluatedPhoto]], list[str]]:
    """Return each model's common photos, in the same order, and a note if photos are left out."""
    tables = [{photo.name: photo for photo in evaluation.photos} for evaluation in evaluations]
    names = [name for name in tables[0] if all(name in table for table in tables)]
    if len(names) < 2:
        raise ScoringError(
            f"{labels[0]} and the others have {count_of(len(names), 'photo')} in common:"
            " nothing to compare"
        )
    columns = [[table[name] for name in names] for table in tables]
    for label, column in zip(labels, columns, strict=True):
        _check_references(columns[0], column, labels[0], label)
    if all(len(table) == len(names) for table in tables):
        return columns, []
    sizes = ", ".join(
        f"{label} {len(table):,}" for label, table in zip(labels, tables, strict=True)
    )
    note = f"compared on the {len(names):,} photos that all have ({sizes})"
    return [_recompute_cider(column) for column in columns], [note]


def _check_references(
    first: Sequence[EvaluatedPhoto], other: Sequence[EvaluatedPhoto], *labels: str
) -> None:
    """Raise ScoringError if the references of a photo differ."""
    for photo, other_photo in zip(first, other, strict=True):
        if photo.references != other_photo.references:
            raise ScoringError(
                f"{photo.name!r} has other references in {labels[1]} than in {labels[0]}:"
                " these are not the same data"
            )


def _recompute_cider(photos: Sequence[EvaluatedPhoto]) -> list[EvaluatedPhoto]:
    """Return the photos with CIDEr computed from the word frequencies of these photos only."""
    candidates = [photo.tokens for photo in photos]
    values = cider_per_photo(candidates, [photo.reference_tokens for photo in photos])
    return [
        replace(photo, scores=replace(photo.scores, cider=value))
        for photo, value in zip(photos, values, strict=True)
    ]


def _distinct(labels: Sequence[str]) -> list[str]:
    """Number the labels that occur more than once."""
    return [
        f"{label} ({labels[: index + 1].count(label)})" if labels.count(label) > 1 else label
        for index, label in enumerate(labels)
    ]
