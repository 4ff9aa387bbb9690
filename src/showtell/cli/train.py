"""`showtell train`: trains a captioner by a recipe on a dataset."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from showtell.cli.address import ADDRESS, ON_BROKEN
from showtell.cli.completion import complete_recipes, recipe_names
from showtell.cli.limit_option import limit_option
from showtell.errors import MissingExtraError

if TYPE_CHECKING:
    from showtell.data.shards.index import OnBroken

# what the extra `train` installs, by the names of the modules
_EXTRA = {"torch", "timm", "onnx", "safetensors", "h5py", "yaml", "tensorboard", "pycocoevalcap"}


@click.command(
    epilog=f"Shipped recipes: {', '.join(recipe_names())}. Ctrl-C saves the run and stops."
)
@click.argument("recipe", shell_complete=complete_recipes)
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
@click.option(
    "--data", required=True, type=ADDRESS, help="Captioned dataset: a folder or address of shards."
)
@ON_BROKEN
@click.option(
    "--output", required=True, type=click.Path(path_type=Path), help="Run folder to write."
)
@limit_option("Train on the first N photos of each split only; the same as the key limit=N.")
@click.option(
    "--resume", type=click.Choice(["auto"]), help="Resume the run in --output, if there is one."
)
def train(
    recipe: str,
    overrides: tuple[str, ...],
    data: Path | str,
    on_broken: OnBroken,
    output: Path,
    limit: int,
    resume: str | None,
) -> None:
    """Train a captioner by RECIPE, the name of a shipped recipe or a YAML file.

    KEY=VALUE sets a key of the recipe: batch_photos=16 decoder.hidden=256 stages.0.epochs=2

    On several GPUs or machines: torchrun --nproc-per-node N -m showtell train RECIPE ...
    """
    try:
        from showtell.training.recipe import load_recipe
        from showtell.training.trainer import train as run_training
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] not in _EXTRA:
            raise  # a broken installation, which the extra does not repair
        raise MissingExtraError("training", "train") from None
    if limit:
        overrides = (*overrides, f"limit={limit}")
    run_training(load_recipe(recipe, overrides), data, output, resume=resume, on_broken=on_broken)
    if os.environ.get("RANK", "0") == "0":  # under torchrun, only the first rank reports
        click.echo(
            f"{output}: trained. Next: showtell evaluate {output} --data {data} --split dev",
            err=True,
        )
