"""The command `showtell models`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from showtell.bundle.registry import (
    InstalledModel,
    default_model,
    find_bundle,
    installed_models,
    origin,
)
from showtell.cli.completion import complete_models
from showtell.cli.model_option import resolve_model
from showtell.errors import BundleError
from showtell.files.printable_names import printable, printable_text

if TYPE_CHECKING:
    from showtell.bundle import ScoreInfo

NO_MODELS = "no models installed: get one with showtell models pull URL|hf:owner/repo"


@click.group(invoke_without_command=True)
@click.pass_context
def models(ctx: click.Context) -> None:
    """List, show, pull and remove models.

    Three models ship with showtell: general, the default; flickr8k, which is smaller and
    faster; and flickr8k-de, which writes German. Pulled models are kept in the cache folder
    ($SHOWTELL_CACHE). Commands take a model by its name in this list, or by the folder of a
    bundle or training run.
    $SHOWTELL_MODEL sets the default.
    """
    if ctx.invoked_subcommand is None:
        ctx.invoke(list_models)


@models.command("list")
def list_models() -> None:
    """List the installed models; * marks the default."""
    installed = installed_models()
    if not installed:
        click.echo(NO_MODELS, err=True)
    rows = [tuple(map(printable, _row(model))) for model in installed]
    for row in _columns(rows):
        click.echo(row)


@models.command()
@click.argument("model", metavar="MODEL", required=False, shell_complete=complete_models)
def show(model: str | None) -> None:
    """Show the card of MODEL: its training data, scores and terms.

    MODEL is a name, or the folder of a bundle or training run; without it, the default model.
    """
    from showtell.bundle import load_bundle
    from showtell.bundle.bundle import read_card

    bundle = load_bundle(find_bundle(resolve_model(model)), verify=False)
    click.echo(printable_text(read_card(bundle.path).rstrip()))
    click.echo(f"\n{printable(str(bundle.path))}", err=True)


@models.command()
@click.argument("source", metavar="URL|hf:OWNER/REPO[@REVISION]")
@click.option("--name", help="The model's name.  [default: that of the archive or repository]")
@click.option("--sha256", help="Expected sha256 of the archive, or of the repository's manifest.")
def pull(source: str, name: str | None, sha256: str | None) -> None:
    """Download a model to the cache folder and check it.

    The source is the address or path of a .tar.gz or .zip, or a Hugging Face repository with a
    model's files ($HF_ENDPOINT sets another hub). An interrupted pull resumes. A model whose
    files do not have the hashes of its manifest, or whose networks do not run, is not installed.
    """
    from showtell.bundle.pull import pull_model

    model = pull_model(source, name=name, sha256=sha256)
    click.echo(f"{model.name}: {_megabytes(model)} in {printable(str(model.path))}")


@models.command()
@click.argument("name", metavar="NAME", shell_complete=complete_models)
def remove(name: str) -> None:
    """Delete the pulled model NAME."""
    from showtell.bundle.registry import remove_model

    remove_model(name)
    click.echo(f"{name}: removed")


def _row(model: InstalledModel) -> tuple[str, ...]:
    """Return a model's row: name, language, size, networks, score, source."""
    from showtell.bundle import load_bundle

    name = f"{model.name} *" if model.name == default_model() else model.name
    source = "shipped" if model.shipped else origin(model) or "pulled"
    try:
        manifest = load_bundle(model.path, verify=False).manifest
        size = _megabytes(model)
    except (BundleError, OSError) as error:
        return (name, "", "", "", "", f"damaged: {error}")
    kind = f"{manifest.encoder.network} + {manifest.decoder.kind}"
    return (name, manifest.language, size, kind, _first_cider(manifest.scores), source)


def _first_cider(scores: Sequence[ScoreInfo]) -> str:
    """Return the first CIDEr of a manifest's scores, with its split."""
    for score in scores:
        if score.cider is not None:
            return f"CIDEr {score.cider:.1f} ({score.split})"
    return ""


def _megabytes(model: InstalledModel) -> str:
    size = sum(file.stat().st_size for file in model.path.iterdir() if file.is_file())
    return f"{size / 1e6:.1f} MB"


def _columns(rows: list[tuple[str, ...]]) -> list[str]:
    """Return the rows as lines with aligned columns."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
