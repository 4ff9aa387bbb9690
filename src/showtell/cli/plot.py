"""`showtell plot`: draws training runs."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import click

from showtell.errors import MissingExtraError


@click.command()
@click.argument("runs", nargs=-1, required=True, metavar="RUN...", type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    default=Path("plot"),
    show_default=True,
    metavar="FILE",
    help="Picture to write: .png, .svg or .pdf; without a suffix, PNG and SVG.",
)
@click.option(
    "--by",
    type=click.Choice(["epochs", "minutes"]),
    default="epochs",
    show_default=True,
    help="Unit of the horizontal axis.",
)
def plot(runs: tuple[Path, ...], output: Path, by: Literal["epochs", "minutes"]) -> None:
    """Draw one or more training runs in one picture, ready for a paper.

    It shows loss, learning rate and scores over time, and caption lengths and most-used words next
    to those of people. An unfinished run is drawn up to its last step.
    """
    from showtell.training.plots import PLOT_SUFFIXES

    if output.suffix and output.suffix.lower() not in PLOT_SUFFIXES and output.suffix[1:].isalpha():
        raise click.UsageError(
            f"--output {output}: the suffix must be one of {', '.join(PLOT_SUFFIXES)}"
        )
    try:
        import matplotlib  # noqa: F401
    except ModuleNotFoundError:
        raise MissingExtraError("plots", "train") from None
    from showtell.training.plots import plot_runs

    for file in plot_runs(runs, output, by=by):
        click.echo(file)
