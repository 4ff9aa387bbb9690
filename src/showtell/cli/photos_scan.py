"""`showtell photos scan`: caption a library."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from showtell.cli.interruption import on_interrupt
from showtell.cli.max_pixels_option import max_pixels_option
from showtell.cli.model_option import model_and_language_options
from showtell.cli.photos_options import catalogue_option
from showtell.cli.photos_output import (
    PhotoProgress,
    captioner_loader,
    exit_if_failed,
    open_catalogue,
)
from showtell.files.counts import count_of
from showtell.files.printable_names import printable

if TYPE_CHECKING:
    from showtell.photos.scan import ScanCounts


@click.command("scan")
@click.argument(
    "folders",
    metavar="DIR...",
    nargs=-1,
    required=True,
    type=click.Path(exists=True, file_okay=False, path_type=Path),
)
@catalogue_option
@model_and_language_options
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
    from showtell.photos.catalogue.pictures import count_by_model
    from showtell.photos.scan import ScanCounts, ScanOptions, scan_library

    if again:
        click.echo("showtell: warning: --again is deprecated: use --recaption", err=True)
    counts = ScanCounts()
    options = ScanOptions(recaption=recaption or again, batch_size=batch_size)
    with open_catalogue(catalogue, create=True) as opened, PhotoProgress() as progress:
        load_captioner = captioner_loader(model, threads, max_pixels)
        with on_interrupt(lambda: _saved_so_far(counts)):
            for counts in scan_library(
                opened, folders, options, load_captioner=load_captioner, report=progress.report
            ):
                progress.show(
                    counts.read, counts.to_read, f"{count_of(counts.found, 'photo')} found"
                )
        by_model = count_by_model(opened, folders)
    click.echo(_scan_summary(counts))
    if len(by_model) > 1:
        click.echo(_model_summary(by_model), err=True)
    exit_if_failed(progress.failures)


def _saved_so_far(counts: ScanCounts) -> str:
    """Say what an interrupted scan has saved."""
    return f"{count_of(counts.captioned, 'caption')} saved: the next scan continues"


def _scan_summary(counts: ScanCounts) -> str:
    """Return one line that says what a scan did."""
    rate = ""
    if counts.read:
        rate = f" ({count_of(round(counts.read / counts.seconds), 'photo')} read per second)"
    return (
        f"{count_of(counts.found + counts.broken, 'photo')}: {counts.captioned:,} captioned,"
        f" {counts.already_captioned:,} already captioned, {counts.moved:,} moved,"
        f" {counts.unchanged:,} unchanged, {counts.missing:,} missing,"
        f" {counts.failed + counts.broken:,} failed,"
        f" in {counts.seconds:.1f} s{rate}"
    )


def _model_summary(by_model: dict[str, int]) -> str:
    """Return one line that says how many captions are by which model."""
    models = ", ".join(f"{printable(model)} {count:,}" for model, count in by_model.items())
    return (
        f"These photos have captions by {len(by_model)} models: {models}."
        " --recaption captions all photos with the chosen model"
    )
