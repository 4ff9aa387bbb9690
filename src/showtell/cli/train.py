"""`showtell train`: a recipe and a dataset to a training run."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from showtell.cli.address import ADDRESS, ON_BROKEN
from showtell.errors import MissingExtraError

if TYPE_CHECKING:
    from showtell.data.shards.index import OnBroken

# Not by `shipped_recipes`, which needs the extra: help should not.
_RECIPES = sorted(path.stem for path in (Path(__file__).parents[1] / "recipes").glob("*.yaml"))


@click.command(epilog=f"Recipes that come along: {', '.join(_RECIPES)}. Ctrl-C saves and stops.")
@click.argument("recipe")
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
@click.option(
    "--data", required=True, type=ADDRESS, help="Captioned dataset: a folder, or address of shards."
)
@ON_BROKEN
@click.option(
    "--output", required=True, type=click.Path(path_type=Path), help="Run folder to write."
)
@click.option(
    "--resume", type=click.Choice(["auto"]), help="Go on with the run in --output, if any."
)
def train(
    recipe: str,
    overrides: tuple[str, ...],
    data: Path | str,
    on_broken: OnBroken,
    output: Path,
    resume: str | None,
) -> None:
    """Train a captioner by RECIPE, a shipped one by name or a YAML file.

    KEY=VALUE sets a key of the recipe: batch_photos=16 decoder.hidden=256 stages.0.epochs=2

    On several GPUs or machines: torchrun --nproc-per-node N -m showtell train RECIPE ...
    """
    try:
        from showtell.training.recipe import load_recipe
        from showtell.training.trainer import train as run_training
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] == "showtell":
            raise
        raise MissingExtraError("training", "train") from None
    chosen = load_recipe(recipe, overrides)
    run_training(chosen, data, output, resume=resume, on_broken=on_broken)
    if os.environ.get("RANK", "0") == "0":  # of those that torchrun started, one speaks for all
        click.echo(
            f"{output}: trained. Next: showtell evaluate {output} --data {data} --split dev",
            err=True,
        )
