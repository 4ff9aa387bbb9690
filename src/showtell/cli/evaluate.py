"""`showtell evaluate`: caption a split with a model and score the captions."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from showtell.cli.address import ADDRESS, ON_BROKEN
from showtell.cli.completion import complete_models
from showtell.cli.decoding_options import decoding_option
from showtell.cli.limit_option import limit_option
from showtell.cli.model_option import resolve_model
from showtell.files.counts import count_of

if TYPE_CHECKING:
    from showtell.data.shards.index import OnBroken
    from showtell.scoring.evaluation import Evaluation

FAILED = 1
_FILE = click.Path(path_type=Path, dir_okay=False)


@click.command()
@click.argument("model", shell_complete=complete_models)
@click.option(
    "--data", required=True, type=ADDRESS, help="Captioned dataset: folder, file or shard address."
)
@ON_BROKEN
@click.option("--split", default="dev", show_default=True, help="train, dev or test.")
@limit_option("Caption only the first N photos of the split, for a quick look.")
@decoding_option("beam")
@decoding_option("length_penalty")
@click.option("--json", "json_file", type=_FILE, help="Write all scores to this JSON file.")
@click.option("--report", type=_FILE, help="Write an HTML page with photos and captions.")
@click.option("--captions", type=_FILE, help="Write the captions to this JSONL file.")
@click.option(
    "--spice/--no-spice",
    default=None,
    help="Score SPICE too, which takes minutes.  [default: if its models are installed]",
)
@click.pass_context
def evaluate(
    ctx: click.Context,
    model: str,
    data: Path | str,
    on_broken: OnBroken,
    split: str,
    limit: int,
    beam: int | None,
    length_penalty: float | None,
    json_file: Path | None,
    report: Path | None,
    captions: Path | None,
    spice: bool | None,
) -> None:
    """Caption a split with MODEL (a name, bundle or run) and score the captions.

    Captions are decoded as MODEL does by default, unless --beam or --length-penalty is given.
    BLEU, METEOR, ROUGE-L and CIDEr come from the coco-caption scorers, multiplied by 100. METEOR
    and the PTB tokenizer need Java; without Java the other scores use showtell's tokens, and the
    scorer's name says so. Exit code 1: some photos could not be read; they are named and not
    scored.
    """
    from showtell.files.atomic_write import atomic_write_text
    from showtell.files.printable_names import printable
    from showtell.scoring.evaluate import evaluate as evaluate_model
    from showtell.scoring.report import write_report

    evaluation = evaluate_model(
        resolve_model(model) or model,
        data,
        split,
        beam,
        limit=limit,
        length_penalty=length_penalty,
        on_broken=on_broken,
        spice=spice,
        progress=True,
    )
    evaluation = replace(evaluation, model=model)
    click.echo(score_table(evaluation))
    for line in evaluation.scores.missing:
        click.echo(f"showtell: {line}", err=True)
    for path, text in (
        (json_file, evaluation.to_json),
        (captions, evaluation.captions_jsonl),
    ):
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            atomic_write_text(path, text())
    if report is not None:
        write_report(evaluation, report)
    for failed in evaluation.failed:
        click.echo(f"showtell: left out: {printable(failed.error)}", err=True)
    if evaluation.failed:
        ctx.exit(FAILED)


def score_table(evaluation: Evaluation) -> str:
    """Return the scores of all parts as a table for a terminal."""
    from showtell.scoring.metrics import METRICS
    from showtell.scoring.report import variety_line

    scores = evaluation.scores
    rows = [["photos", *(METRICS[key] for key in scores.metrics())]]
    rows += [
        [f"{part} ({values.photos:,})", *(f"{value:.1f}" for value in values.metrics().values())]
        for part, values in evaluation.parts.items()
    ]
    lines = [
        f"{evaluation.model} on {evaluation.photos_text} of {evaluation.dataset},"
        f" {evaluation.decoding}",
        f"scorer: {scores.scorer}",
        "",
        *align_columns(rows),
        "",
        variety_line(scores),
        f"captioned in {evaluation.seconds:.1f} s:"
        f" {(scores.photos + len(evaluation.failed)) / max(evaluation.seconds, 1e-9):.0f} photos/s",
    ]
    if evaluation.failed:
        failed = count_of(len(evaluation.failed), "photo")
        lines.append(f"left out: {failed} that could not be captioned")
    return "\n".join(lines)


def align_columns(rows: list[list[str]]) -> list[str]:
    """Pad the cells of a table: the first column is left-aligned, the others right-aligned."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
