"""The choice of a bundle's precision: the smallest that stays as good on dev photos."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from showtell.bundle import Bundle, Precision
from showtell.captioner import Captioner
from showtell.data import Dataset
from showtell.scoring.evaluate import evaluate
from showtell.scoring.evaluation import Evaluation

logger = logging.getLogger(__name__)

MAX_BLEU_LOSS, MAX_CIDER_LOSS = 0.3, 1.0  # what a smaller precision may cost on dev
TRIALS: tuple[tuple[str, Precision], ...] = (
    ("decoder", "float16"),
    ("decoder", "int8"),
    ("encoder", "float16"),
    ("encoder", "int8"),
)
MakeBundle = Callable[[Precision, Precision], Bundle]  # of encoder and decoder


@dataclass(frozen=True)
class Candidate:
    """One choice of precisions: its size in bytes and its scores on dev, if it was measured."""

    encoder: Precision
    decoder: Precision
    bytes: int
    evaluation: Evaluation | None = field(default=None, repr=False)
    kept: bool = True


def choose_precision(make_bundle: MakeBundle, dataset: Dataset) -> tuple[Candidate, ...]:
    """Measure smaller precisions, one part at a time; the last one that is kept is the choice."""
    current: dict[str, Precision] = {"encoder": "float32", "decoder": "float32"}
    candidates = [_measure(make_bundle, current, dataset)]
    for part, precision in TRIALS:
        trial = _measure(make_bundle, {**current, part: precision}, dataset)
        kept = is_worth_it(trial, candidates)
        if kept:
            current[part] = precision
        candidates.append(replace(trial, kept=kept))
    return tuple(candidates)


def is_worth_it(trial: Candidate, earlier: Sequence[Candidate]) -> bool:
    """Whether a trial is about as good as float32, the first of `earlier`, and smaller."""
    assert trial.evaluation is not None
    assert earlier[0].evaluation is not None
    scores, base = trial.evaluation.scores, earlier[0].evaluation.scores
    as_good = (
        scores.bleu_4 >= base.bleu_4 - MAX_BLEU_LOSS and scores.cider >= base.cider - MAX_CIDER_LOSS
    )
    smallest = next(candidate for candidate in reversed(earlier) if candidate.kept)
    return as_good and trial.bytes < smallest.bytes


def _measure(
    make_bundle: MakeBundle, precision: Mapping[str, Precision], dataset: Dataset
) -> Candidate:
    bundle = make_bundle(precision["encoder"], precision["decoder"])
    evaluation = evaluate(Captioner(bundle), dataset)
    size = sum(bundle.file(name).stat().st_size for name in bundle.manifest.files)
    logger.info(
        "encoder %s, decoder %s: %.1f MB, BLEU-4 %.1f, CIDEr %.1f",
        precision["encoder"],
        precision["decoder"],
        size / 1e6,
        evaluation.scores.bleu_4,
        evaluation.scores.cider,
    )
    return Candidate(precision["encoder"], precision["decoder"], size, evaluation)
