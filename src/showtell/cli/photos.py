"""The `showtell photos` commands: scan, search, write, undo, edit, export and import."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from showtell.cli.caption_output import suffix_format
from showtell.cli.max_pixels_option import max_pixels_option
from showtell.cli.model_option import model_option
from showtell.cli.photos_output import (
    PhotoProgress,
    captioner_loader,
    confirm,
    exit_if_failed,
    open_catalogue,
    open_output,
    photo_filter,
    plan_summary,
    print_plan,
    scan_summary,
    write_results,
    write_summary,
)
from showtell.cli.text_argument import TEXT
from showtell.decoding.confidence import GUESS_BELOW
from showtell.files.counts import count_of
from showtell.files.printable_names import printable

if TYPE_CHECKING:
    from showtell.photos.catalogue.filters import PhotoFilter
    from showtell.photos.corrections import ExportFormat
    from showtell.photos.write_plan import WriteOptions

TEXT_LIMIT, HTML_LIMIT = 20, 200
_SEARCH_FORMATS = ("text", "jsonl", "csv", "html")
_EXPORT_FORMATS: tuple[ExportFormat, ...] = ("csv", "jsonl")

_existing_path = click.Path(exists=True, path_type=Path)
_catalogue_option = click.option(
    "--catalogue",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="The catalogue file.  [default: showtell/photos.sqlite in your data folder]",
)
_output_option = click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write to FILE.  [default: standard output]",
)
_confidence_option = click.option(
    "--min-confidence",
    type=click.FloatRange(0, 1),
    help="Skip captions with a lower confidence. Your own captions are always included.",
)
_yes_option = click.option("-y", "--yes", is_flag=True, help="Do not ask for confirmation.")


@click.group()
def photos() -> None:
    """Catalogue, search and tag a photo library.

    Scan a library once, find photos by words, and save the captions with the photos: in XMP
    sidecar files or in the photos themselves. Nothing leaves this computer.

    \b
    showtell photos scan ~/Pictures
    showtell photos search dog running on a beach
    showtell photos write ~/Pictures
    """


@photos.command("scan")
@click.argument(
    "folders",
    metavar="DIR...",
    nargs=-1,
    required=True,
    type=click.Path(exists=True, file_okay=False, path_type=Path),
)
@_catalogue_option
@model_option()
@click.option("--recaption", is_flag=True, help="Also caption photos that another model captioned.")
@click.option("--again", is_flag=True, hidden=True)  # the old name of --recaption
@click.option(
    "--batch-size",
    type=click.IntRange(1),
    default=16,
    show_default=True,
    help="Photos that are captioned and saved together.",
)
@click.option("--threads", type=click.IntRange(1), help="[default: one for each core]")
@max_pixels_option()
def scan_command(
    folders: tuple[Path, ...],
    catalogue: Path | None,
    model: str | None,
    recaption: bool,
    again: bool,
    batch_size: int,
    threads: int | None,
    max_pixels: int,
) -> None:
    """Caption the photos in DIR and its subfolders.

    The captions go into the catalogue. Photos that have not changed are not opened again. Photos
    that were moved, copied or retagged keep their captions. Photos that are missing no longer
    appear in searches. You can stop a scan at any time: the next scan continues.

    \b
    showtell photos scan ~/Pictures
    showtell photos scan ~/Pictures /media/archive --catalogue archive.sqlite
    showtell photos scan ~/Pictures --model birds --recaption
    """
    from showtell.photos.scan import ScanCounts, ScanOptions, scan_library

    if again:
        click.echo("showtell: warning: --again is deprecated: use --recaption", err=True)
    counts = ScanCounts()
    options = ScanOptions(recaption=recaption or again, batch_size=batch_size)
    with open_catalogue(catalogue, create=True) as opened, PhotoProgress() as progress:
        load_captioner = captioner_loader(model, threads, max_pixels)
        for counts in scan_library(
            opened, folders, options, load_captioner=load_captioner, report=progress.report
        ):
            progress.show(counts.read, counts.to_read, f"{count_of(counts.found, 'photo')} found")
    click.echo(scan_summary(counts))
    exit_if_failed(progress.failures)


@photos.command(
    "search",
    # -word excludes a word and is never an option
    context_settings={"ignore_unknown_options": True, "help_option_names": ["--help"]},
)
@click.argument("query", metavar="[QUERY]...", nargs=-1, type=TEXT)
@click.option(
    "--like",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="PHOTO",
    help="Find photos that look like PHOTO.",
)
@click.option("--any", "any_word", is_flag=True, help="Match any of the words instead of all.")
@click.option(
    "--in",
    "folders",
    multiple=True,
    type=_existing_path,
    metavar="DIR",
    help="Only photos in DIR and its subfolders. Can be repeated.",
)
@click.option(
    "--after", metavar="DATE", help="Taken on or after DATE: 2024, 2024-05 or 2024-05-31."
)
@click.option("--before", metavar="DATE", help="Taken before DATE.")
@_confidence_option
@click.option(
    "--limit",
    type=click.IntRange(1),
    metavar="N",
    help=f"[default: {TEXT_LIMIT} for text, {HTML_LIMIT} for html, otherwise no limit]",
)
@click.option(
    "--format",
    "output_format",
    type=click.Choice(_SEARCH_FORMATS),
    help="html is a page of thumbnails.  [default: by the suffix of FILE, else text]",
)
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write to FILE.  [default: standard output]",
)
@_catalogue_option
@model_option("The model for --like when PHOTO is not in the catalogue.")
def search_command(
    query: tuple[str, ...],
    like: Path | None,
    any_word: bool,
    folders: tuple[Path, ...],
    after: str | None,
    before: str | None,
    min_confidence: float | None,
    limit: int | None,
    output_format: str | None,
    output: Path | None,
    catalogue: Path | None,
    model: str | None,
) -> None:
    """Find photos by the words of their captions, the surest captions first.

    All words must match, in any order and form: run also finds running. run* finds words that
    begin with run, "on a beach" finds the exact phrase, and -word excludes a word. A search
    without results is not an error.

    \b
    showtell photos search dog running on a beach
    showtell photos search 'child* -snow "red jacket"' --after 2023 --before 2024
    showtell photos search --after 2024-05 --in ~/Pictures/Rome
    showtell photos search --like IMG_1234.jpg --limit 5
    showtell photos search dog --output dogs.html
    """
    from showtell.photos.catalogue.search import search_photos
    from showtell.photos.similar import find_similar

    _reject_unknown_options(query)
    text = " ".join(query)
    output_format = output_format or suffix_format(output, _SEARCH_FORMATS) or "text"
    is_filtered = bool(folders or after or before or min_confidence is not None)
    _check_search_usage(text, like, output_format, output, is_filtered=is_filtered)
    if limit is None:
        limit = {"text": TEXT_LIMIT, "html": HTML_LIMIT}.get(output_format)
    filters = photo_filter(folders, after, before, min_confidence)
    with open_catalogue(catalogue) as opened, open_output(output, output_format) as target:
        if like is not None:
            load_captioner = captioner_loader(model, None)
            results = find_similar(
                opened, like, filters, load_captioner=load_captioner, limit=limit
            )
        else:
            results = search_photos(opened, text, filters, any_word=any_word, limit=limit)
        title = text if like is None else f"like {like.name}"
        count = write_results(results, output_format, title, target)
    if count == 0 and output_format == "text":
        hint = "" if any_word or len(query) < 2 else ": --any matches any of the words"
        click.echo(f"no photos found{hint}", err=True)


def _reject_unknown_options(query: tuple[str, ...]) -> None:
    """Raise UsageError for an unknown long option, which click passes on as a word."""
    for word in query:
        if word.startswith("--") and len(word) > 2:
            raise click.UsageError(f"No such option: {word.split('=')[0]}")


def _check_search_usage(
    text: str, like: Path | None, output_format: str, output: Path | None, *, is_filtered: bool
) -> None:
    """Raise UsageError if options contradict each other or are missing."""
    if not text and like is None and not is_filtered:
        raise click.UsageError(
            "give words to search for, --like PHOTO, or a condition such as --after 2024"
        )
    if text and like is not None:
        raise click.UsageError("give either words or --like PHOTO, not both")
    if output_format == "html" and output is None and sys.stdout.isatty():
        raise click.UsageError("--format html needs a file: --output page.html")


@photos.command("write")
@click.argument("paths", metavar="[DIR]...", nargs=-1, type=_existing_path)
@click.option(
    "--to",
    type=click.Choice(["sidecar", "embed"]),
    default="sidecar",
    show_default=True,
    help="embed writes into JPEG, PNG and WebP files.",
)
@click.option(
    "--fields",
    default="description,alt,iptc",
    show_default=True,
    help="Fields to write: description (dc:description), alt (AltTextAccessibility),"
    " iptc (Caption-Abstract, only embedded in JPEG).",
)
@click.option(
    "--min-confidence",
    type=click.FloatRange(0, 1),
    default=GUESS_BELOW,
    show_default=True,
    help="Leave out captions with a lower confidence, which are probably wrong; 0 writes all."
    " Your own captions are always written.",
)
@click.option(
    "--overwrite",
    is_flag=True,
    help="Also replace captions written by a person or another program.",
)
@click.option("-n", "--dry-run", is_flag=True, help="Show what would be written; write nothing.")
@_yes_option
@_catalogue_option
def write_command(
    paths: tuple[Path, ...],
    to: str,
    fields: str,
    min_confidence: float,
    overwrite: bool,
    dry_run: bool,
    yes: bool,
    catalogue: Path | None,
) -> None:
    """Save captions with the photos, where photo programs read them.

    Without DIR, captions of the whole catalogue are written. They go to XMP sidecar files by
    default, and the photos stay untouched. With --to embed they go into the photos, whose
    pixels do not change; formats that cannot take them (HEIC, TIFF) get sidecars. Raw photos
    are never changed. Captions by a person or another program are kept, and captions that are
    probably wrong are left out. showtell photos undo reverts the last run.

    \b
    showtell photos write --dry-run
    showtell photos write ~/Pictures/2024 --min-confidence 0.6
    showtell photos write ~/Pictures --to embed --fields description,alt
    """
    from showtell.photos.write import WriteCounts, write_captions
    from showtell.photos.write_plan import count_plans, plan_writes

    filters = photo_filter(paths, None, None, None)
    options = _write_options(to, fields, overwrite, min_confidence, filters)
    with open_catalogue(catalogue) as opened:
        if dry_run:
            exit_if_failed(print_plan(opened, options))
            return
        planned = count_plans(plan_writes(opened, options))
        click.echo(plan_summary(planned, min_confidence), err=True)
        verdicts = planned.verdicts
        confirm(yes or not verdicts["sidecar"] + verdicts["embed"])
        total, counts = verdicts.total(), WriteCounts()
        with PhotoProgress() as progress:
            for counts in write_captions(opened, options, report=progress.report):
                progress.show(counts.examined, total)
    click.echo(write_summary(counts))
    exit_if_failed(progress.failures)


def _write_options(
    to: str, fields: str, overwrite: bool, min_confidence: float, filters: PhotoFilter
) -> WriteOptions:
    from showtell.photos.write_plan import FIELDS, WriteOptions

    chosen = tuple(dict.fromkeys(name.strip() for name in fields.split(",") if name.strip()))
    if not chosen or set(chosen) - set(FIELDS):
        raise click.UsageError(f"--fields: choose from {', '.join(FIELDS)}, separated by commas")
    return WriteOptions(to, chosen, overwrite, min_confidence, filters)  # type: ignore[arg-type]


@photos.command("undo")
@_yes_option
@click.option("-n", "--dry-run", is_flag=True, help="Show what would be undone; undo nothing.")
@_catalogue_option
def undo_command(yes: bool, dry_run: bool, catalogue: Path | None) -> None:
    """Revert the last run of showtell photos write, byte for byte.

    Sidecars that the run created are removed, and files that it changed are restored. Files that
    have changed since are left alone and listed. Run undo again to revert the run before that.
    Files that cannot be restored now, for example on a full disk, are listed too, and undo tries
    them again when it is next run.

    \b
    showtell photos undo --dry-run
    showtell photos undo
    """
    from showtell.photos.undo import UndoCounts, last_run, undo_last_run

    with open_catalogue(catalogue) as opened:
        last = last_run(opened)
        if last is not None:
            click.echo(f"The run of {last.started} wrote {count_of(last.files, 'file')}.", err=True)
            if dry_run:
                return
            confirm(yes)
        counts = UndoCounts()
        with PhotoProgress() as progress:
            for counts in undo_last_run(opened, report=progress.report):
                done = counts.restored + counts.skipped + counts.failed
                progress.show(done, last.files if last else 0)
    click.echo(
        f"{count_of(counts.restored, 'file')} restored, {counts.skipped:,} left alone,"
        f" {counts.failed:,} failed, in {counts.seconds:.1f} s"
    )
    exit_if_failed(counts.skipped + counts.failed)


@photos.command("edit")
@click.argument("photo", metavar="PHOTO", type=click.Path(path_type=Path))
@click.argument("words", metavar="[CAPTION]...", nargs=-1, type=TEXT)
@click.option("--clear", is_flag=True, help="Remove your caption and return to the model's.")
@_catalogue_option
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


@photos.command("export")
@click.argument("paths", metavar="[DIR]...", nargs=-1, type=_existing_path)
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
@_confidence_option
@_output_option
@_catalogue_option
def export_command(
    paths: tuple[Path, ...],
    output_format: ExportFormat | None,
    source: str | None,
    min_confidence: float | None,
    output: Path | None,
    catalogue: Path | None,
) -> None:
    """Export captions, to correct them or to train on them.

    Without DIR, the whole catalogue is exported.

    \b
    showtell photos export --output captions.csv
    showtell photos export ~/Pictures --source person --output corrected.csv
    showtell data check corrected.csv
    """
    from showtell.photos.catalogue.records import photo_records
    from showtell.photos.corrections import export_header, export_line

    output_format = output_format or _export_format(output)
    filters = photo_filter(paths, None, None, min_confidence)
    with open_catalogue(catalogue) as opened, open_output(output, output_format) as target:
        target.write(export_header(output_format))
        for record in photo_records(opened, filters):
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


@photos.command("import")
@click.argument(
    "file", metavar="FILE", type=click.Path(exists=True, dir_okay=False, path_type=Path)
)
@_catalogue_option
def import_command(file: Path, catalogue: Path | None) -> None:
    """Import corrected captions from FILE.

    FILE is a CSV or JSONL file made by showtell photos export. Captions that differ from the
    catalogue become your own captions; the other rows change nothing. If the file has an error,
    or a photo that is not in the catalogue, no row is imported.

    \b
    showtell photos export --output captions.csv
    showtell photos import captions.csv
    """
    from showtell.photos.corrections import import_captions

    with open_catalogue(catalogue) as opened, PhotoProgress() as progress:
        counts = import_captions(opened, file, report=progress.report)
    click.echo(
        f"{count_of(counts.changed, 'caption')} changed, {counts.unchanged:,} unchanged,"
        f" {counts.blank:,} blank"
    )
