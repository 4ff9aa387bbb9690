"""`showtell photos edit`, `export` and `import`: the captions by a person."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from showtell.cli.caption_output import suffix_format
from showtell.cli.photos_options import catalogue_option, existing_path, max_confidence_option
from showtell.cli.photos_output import PhotoProgress, open_catalogue, open_output, photo_filter
from showtell.cli.text_argument import TEXT
from showtell.files.counts import count_of
from showtell.files.printable_names import printable

if TYPE_CHECKING:
    from showtell.photos.catalogue.search import Sort
    from showtell.photos.corrections import ExportFormat

_EXPORT_FORMATS: tuple[ExportFormat, ...] = ("csv", "jsonl")


@click.command("edit")
@click.argument("photo", metavar="PHOTO", type=click.Path(path_type=Path))
@click.argument("words", metavar="[CAPTION]...", nargs=-1, type=TEXT)
@click.option("--clear", is_flag=True, help="Return to the model's caption and keywords.")
@catalogue_option
def edit_command(photo: Path, words: tuple[str, ...], clear: bool, catalogue: Path | None) -> None:
    """Give PHOTO your own CAPTION, which replaces the model's.

    The catalogue changes at once. Run showtell photos write to save the caption with the photo.
    Without CAPTION, your editor opens ($EDITOR).

    \b
    showtell photos edit otters.jpg "Two otters on the ice of the Neva"
    showtell photos edit otters.jpg --clear
    """
    from showtell.photos.corrections import current_caption, edit_caption

    if clear and words:
        raise click.UsageError("give either CAPTION or --clear, not both")
    with open_catalogue(catalogue) as opened:
        text = None if clear else " ".join(words)
        if text == "":
            if not sys.stdin.isatty():
                raise click.UsageError("no CAPTION, and no terminal to open an editor on")
            text = click.edit(current_caption(opened, photo))
            if text is None:
                click.echo("nothing changed", err=True)
                return
        edit_caption(opened, photo, text)
        click.echo(current_caption(opened, photo))


@click.command("export")
@click.argument("paths", metavar="[DIR]...", nargs=-1, type=existing_path)
@click.option(
    "--format",
    "output_format",
    type=click.Choice(_EXPORT_FORMATS),
    help="[default: by the suffix of FILE, else csv]",
)
@click.option(
    "--source",
    type=click.Choice(["person", "model"]),
    help="Only captions by a person, or only captions by a model.",
)
@click.option(
    "--min-confidence",
    type=click.FloatRange(0, 1),
    help="Skip captions with a lower confidence. Your own captions are always included.",
)
@max_confidence_option
@click.option(
    "--sort",
    type=click.Choice(("name", "surest", "doubtful", "date")),
    default="name",
    show_default=True,
    help="doubtful: the lowest confidence first.",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write to FILE.  [default: standard output]",
)
@catalogue_option
def export_command(
    paths: tuple[Path, ...],
    output_format: ExportFormat | None,
    source: str | None,
    min_confidence: float | None,
    max_confidence: float | None,
    sort: Sort,
    output: Path | None,
    catalogue: Path | None,
) -> None:
    """Export captions and keywords, to correct them or to train on them.

    Without DIR, the whole catalogue is exported.

    \b
    showtell photos export --output captions.csv
    showtell photos export --max-confidence 0.6 --sort doubtful --output doubts.csv
    showtell photos export ~/Pictures --source person --output corrected.csv
    showtell data check corrected.csv
    """
    from showtell.photos.catalogue.search import search_photos
    from showtell.photos.corrections import export_header, export_line

    output_format = output_format or _export_format(output)
    filters = photo_filter(paths, min_confidence=min_confidence, max_confidence=max_confidence)
    with open_catalogue(catalogue) as opened, open_output(output, output_format) as target:
        target.write(export_header(output_format))
        for record in search_photos(opened, "", filters, sort=sort):
            if source in (None, record.source):
                target.write(export_line(record, output_format))


def _export_format(output: Path | None) -> ExportFormat:
    """Return the format that the suffix of a file names, and CSV without a suffix.

    Raises UsageError for any other suffix.
    """
    named = suffix_format(output, _EXPORT_FORMATS)
    if named is None and output is not None and output.suffix:
        raise click.UsageError(
            f"{printable(str(output))}: name it .csv or .jsonl, or choose with --format"
        )
    return named or "csv"


@click.command("import")
@click.argument(
    "file", metavar="FILE", type=click.Path(exists=True, dir_okay=False, path_type=Path)
)
@catalogue_option
def import_command(file: Path, catalogue: Path | None) -> None:
    """Import corrected captions and keywords from FILE.

    FILE is a CSV or JSONL file made by showtell photos export. Captions and keywords that differ
    from the catalogue become your own; the other rows change nothing, also those without a
    caption: showtell photos edit --clear removes your caption. If the file has an error, or a
    photo that is not in the catalogue, no row is imported.

    \b
    showtell photos export --output captions.csv
    showtell photos import captions.csv
    """
    from showtell.photos.corrections import import_captions

    with open_catalogue(catalogue) as opened, PhotoProgress() as progress:
        counts = import_captions(opened, file, report=progress.report)
    blank_note = " (no change: showtell photos edit --clear removes a caption)"
    click.echo(
        f"{count_of(counts.changed, 'caption')} changed, {counts.unchanged:,} unchanged,"
        f" {counts.blank:,} blank{blank_note if counts.blank else ''},"
        f" keywords of {count_of(counts.keywords_changed, 'photo')} changed"
    )
