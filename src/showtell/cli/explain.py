"""The command `showtell explain`."""

from __future__ import annotations

from pathlib import Path

import click

from showtell.cli.decoding_options import decoding_option
from showtell.cli.max_pixels_option import max_pixels_option
from showtell.cli.model_option import model_and_language_options, resolve_model
from showtell.errors import ShowtellError

SUFFIXES = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP", ".pdf": "PDF"}


@click.command()
@click.argument("photo", metavar="PHOTO", type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    metavar="FILE",
    required=True,
    help="Picture to write: .png, .jpg, .webp or .pdf.",
)
@model_and_language_options
@decoding_option("beam")
@max_pixels_option()
def explain(
    photo: Path, output: Path, model: str | None, beam: int | None, max_pixels: int
) -> None:
    """Draw the attention for each word of PHOTO's caption, and print the caption.

    Exit code 1: the model's decoder has no attention.
    """
    form = SUFFIXES.get(output.suffix.lower())
    if form is None:
        raise click.UsageError(
            f"--output {output}: the name must end in one of {', '.join(SUFFIXES)}"
        )

    from showtell.captioner import Captioner
    from showtell.cli.caption_output import line
    from showtell.explain import draw_attention
    from showtell.files.atomic_write import output_file
    from showtell.image import open_photo

    captioner = Captioner.load(resolve_model(model), max_pixels=max_pixels)
    manifest = captioner.bundle.manifest
    if not manifest.decoder.attention:
        raise ShowtellError(
            f"{manifest.name}: its decoder ({manifest.decoder.kind}) has no"
            " attention to draw: name a model with attention with --model"
        )
    caption = captioner.caption(photo, beam=beam)
    image = open_photo(photo, max_pixels=max_pixels)
    picture = draw_attention(image, caption, manifest.preprocessing)
    options = {"quality": 92} if form in ("JPEG", "WEBP") else {}
    with output_file(output, binary=True) as file:
        picture.save(file, form, **options)
    click.echo(line(caption, "text"), nl=False)
