"""`showtell compare`: compare scored models, with bootstrap confidence intervals."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from showtell.files.counts import count_of

if TYPE_CHECKING:
    from showtell.scoring.compare import Comparison, Interval


@click.command()
@click.argument(
    "reports", nargs=-1, required=True, metavar="REPORT...", type=click.Path(path_type=Path)
)
@click.option(
    "--samples", default=1000, show_default=True, type=click.IntRange(1), help="Bootstrap samples."
)
@click.option(
    "--seed",
    default=0,
    show_default=True,
    type=click.IntRange(0),
    help="Seed of the bootstrap samples.",
)
@click.option(
    "--format",
    "output_format",
    default="text",
    show_default=True,
    type=click.Choice(["text", "json"]),
)
def compare(reports: tuple[Path, ...], samples: int, seed: int, output_format: str) -> None:
    """Compare models by the --report or --json files that `showtell evaluate` wrote.

    Each model is compared with the first one, on the same photos. Brackets contain 95 % confidence
    intervals from a paired bootstrap; a * marks a difference that is unlikely to be chance.
    """
    from showtell.scoring.compare import compare_evaluations
    from showtell.scoring.evaluation import read_evaluation

    if len(reports) < 2:
        raise click.UsageError("nothing to compare: give at least two reports")
    evaluations = [read_evaluation(path) for path in reports]
    labels = [evaluation.model for evaluation in evaluations]
    if len(set(labels)) < len(labels):  # one model with several decodings or scorers
        labels = [str(path) for path in reports]
    comparison = compare_evaluations(evaluations, labels, samples=samples, seed=seed)
    if output_format == "json":
        click.echo(json.dumps(comparison.to_dict(), indent=2))
    else:
        click.echo(comparison_text(comparison))


def comparison_text(comparison: Comparison) -> str:
    """Return the comparison as text for a terminal."""
    from showtell.cli.evaluate import align_columns
    from showtell.scoring.metrics import METRICS

    first, *others = comparison.models
    lines = [
        f"{count_of(comparison.photos, 'photo')} of {' and '.join(comparison.splits)},"
        f" scorer: {comparison.scorer}",
        f"95 % intervals by paired bootstrap, {count_of(comparison.samples, 'sample')},"
        f" seed {comparison.seed}",
        *comparison.notes,
    ]
    rows = [["", *(METRICS[key] for key in first.scores)]]
    for model in comparison.models:
        rows.append([f"{model.label}, {model.decoding}", *map(_score, model.scores.values())])
        rows.append(["", *map(_range, model.scores.values())])
    for model in others:
        differences = (model.differences or {}).values()
        rows.append([f"{model.label} against {first.label}", *map(_difference, differences)])
        rows.append(["", *(_range(difference, signed=True) for difference in differences)])
    return "\n".join([*lines, "", *align_columns(rows)])


def _score(interval: Interval) -> str:
    return f"{interval.value:.1f}"


def _difference(interval: Interval) -> str:
    return f"{interval.value:+.1f}{'*' if interval.excludes_zero else ''}"


def _range(interval: Interval, signed: bool = False) -> str:
    sign = "+" if signed else ""
    return f"[{interval.low:{sign}.1f}, {interval.high:{sign}.1f}]"
