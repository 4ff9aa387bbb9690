"""`showtell data`: look through a captioned dataset, or draw a synthetic one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from showtell.data.table import SPLITS
from showtell.photo_files import printable

if TYPE_CHECKING:
    from showtell.data.check import DatasetReport
    from showtell.data.listing import Finding

FAILED = 1


@click.group()
def data() -> None:
    """Check and draw captioned datasets."""


@data.command(short_help="Say what a dataset holds and what is wrong with it.")
@click.argument("directory", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--workers", type=click.IntRange(1), help="Decoding threads.  [default: one a core]")
@click.pass_context
def check(ctx: click.Context, directory: Path, workers: int | None) -> None:
    """Say what the dataset in DIR holds, and name each photo that has something wrong.

    DIR is a folder of a known layout, or one CSV or JSONL file of image,caption[,split].
    Exit code 1 where something needs repair; warnings and notes leave it 0.
    """
    from showtell.data.check import check_dataset

    report = check_dataset(directory, workers=workers, progress=True)
    click.echo(_summary(report))
    for finding in report.findings:
        click.echo(_line(finding))
    errors = sum(finding.severity == "error" for finding in report.findings)
    click.echo(f"{errors:,} to repair" if errors else "nothing wrong")
    if errors:
        ctx.exit(FAILED)


@data.command(short_help="Draw a synthetic captioned set.")
@click.argument("directory", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--count", type=click.IntRange(1), required=True, help="Number of photos.")
@click.option("--seed", type=int, default=0, show_default=True, help="The same draws the same.")
@click.option(
    "--size", type=click.IntRange(32), default=96, show_default=True, help="Pixels a side."
)
def shapes(directory: Path, count: int, seed: int, size: int) -> None:
    """Draw a synthetic captioned set into DIR: "a small red circle above a blue square".

    A small captioner learns it in a minute or two; dev and test hold scenes that train does not.
    """
    from showtell.data.shapes import draw_shapes

    dataset = draw_shapes(directory, count, seed, size)
    sizes = ", ".join(f"{split} {len(dataset.split(split)):,}" for split in SPLITS)
    click.echo(f"{len(dataset.photos):,} photos in {printable(str(directory))}: {sizes}")


def _summary(report: DatasetReport) -> str:
    from showtell.data.check import FREQUENT

    sizes = ", ".join(f"{split} {size:,}" for split, size in report.splits.items())
    drawn = " (drawn by hash of the photo's name)" if report.split_drawn else ""
    lines = [
        f"{report.layout} layout in {printable(str(report.root))}",
        f"{report.photos:,} photos, {report.captions:,} captions",
        f"splits: {sizes}{drawn}",
        f"photos of no split: {report.unsplit:,}",
    ]
    if report.lengths:
        lengths = report.lengths
        lines.append(
            f"words a caption: {lengths.shortest} to {lengths.longest},"
            f" median {lengths.median:g}, mean {lengths.mean:.1f}"
        )
    lines.append(
        f"vocabulary: {report.words:,} words, {report.frequent_words:,} of them"
        f" at least {FREQUENT} times"
    )
    return "\n".join(lines)


def _line(finding: Finding) -> str:
    mark = "" if finding.severity == "error" else f"{finding.severity}: "
    return f"{mark}{finding.kind}: {printable(finding.name)}: {printable(finding.detail)}"
