"""The command `showtell export`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from showtell.cli.address import ADDRESS
from showtell.errors import MissingExtraError

if TYPE_CHECKING:
    from showtell.bundle import Precision

_PRECISIONS = ("float32", "float16", "int8")


def _precision(value: str) -> str | tuple[str, ...]:
    """Return `auto`, a precision, or two that are written as ENCODER/DECODER."""
    both = tuple(value.split("/"))
    if value == "auto" or (len(both) <= 2 and set(both) <= set(_PRECISIONS)):
        return value if len(both) == 1 else both
    raise click.BadParameter(
        f"'{value}' is not one of auto, {', '.join(_PRECISIONS)}, nor two of these as"
        " ENCODER/DECODER"
    )


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(path_type=Path),
    help="Folder of the bundle to write.",
)
@click.option("--data", type=ADDRESS, help="Dataset whose dev photos check and score the bundle.")
@click.option(
    "--precision",
    type=click.types.FuncParamType(_precision),
    default="float32",
    show_default=True,
    metavar="float32|float16|int8|ENCODER/DECODER|auto",
    help="Precision of the weights; auto: the smallest that is as good on dev.",
)
@click.option("--name", help="The model's name.  [default: that of the folder]")
@click.option(
    "--dev-photos",
    type=click.IntRange(0),
    default=0,
    help="Use only the first N dev photos; 0: all.",
)
@click.option(
    "--notes",
    type=click.Path(path_type=Path),
    help="Markdown file about the model's limits, for its card.",
)
def export(
    run: Path,
    output: Path,
    data: Path | str | None,
    precision: Precision | tuple[Precision, Precision] | Literal["auto"],
    name: str | None,
    dev_photos: int,
    notes: Path | None,
) -> None:
    """Export the best checkpoint of RUN as ONNX, checked against PyTorch and scored on dev."""
    try:
        from showtell.export.run_to_bundle import export as run_export
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] == "showtell":
            raise
        raise MissingExtraError("export", "train") from None
    exported = run_export(
        run, output, data, precision=precision, name=name, dev_photos=dev_photos, notes=notes
    )
    parity = exported.parity
    click.echo(
        f"PyTorch and ONNX: {parity.same_captions} of {parity.photos} captions the same,"
        f" largest difference of log-probabilities {parity.largest_difference:.1e}"
    )
    for item in exported.candidates:
        if item.evaluation is not None:
            scores = item.evaluation.scores
            click.echo(
                f"encoder {item.encoder}, decoder {item.decoder}: {item.bytes / 1e6:.1f} MB,"
                f" BLEU-4 {scores.bleu_4:.1f}, CIDEr {scores.cider:.1f},"
                f" {item.evaluation.seconds:.0f} s{'' if item.kept else ' (not kept)'}"
            )
    size = sum(file.stat().st_size for file in exported.bundle.path.iterdir())
    click.echo(f"{exported.bundle.path}: {size / 1e6:.1f} MB")
