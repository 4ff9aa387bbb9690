"""`showtell photos write` and `undo`: save captions with the photos, and revert that."""

from __future__ import annotations

import datetime
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import click

from showtell.cli.caption_output import doubt_mark
from showtell.cli.interruption import on_interrupt
from showtell.cli.photos_options import catalogue_option, existing_path, yes_option
from showtell.cli.photos_output import (
    PhotoProgress,
    confirm,
    exit_if_failed,
    open_catalogue,
    photo_filter,
)
from showtell.decoding.confidence import GUESS_BELOW
from showtell.decoding.keywords import SURE
from showtell.files.counts import count_of
from showtell.files.printable_names import printable

if TYPE_CHECKING:
    from showtell.photos.catalogue.database import Catalogue
    from showtell.photos.write import WriteCounts
    from showtell.photos.write_plan import Destination, PlanCounts, WriteOptions, WritePlan


@click.command("write")
@click.argument("paths", metavar="[DIR]...", nargs=-1, type=existing_path)
@click.option(
    "--to",
    type=click.Choice(["sidecar", "embed"]),
    default="sidecar",
    show_default=True,
    help="embed writes into JPEG, PNG and WebP files.",
)
@click.option(
    "--fields",
    default="description,alt,iptc,keywords",
    show_default=True,
    help="Fields to write: description (dc:description), alt (AltTextAccessibility),"
    " iptc (Caption-Abstract and Keywords, only embedded in JPEG), keywords (dc:subject).",
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
    "--min-probability",
    type=click.FloatRange(0, 1),
    default=SURE,
    show_default=True,
    help="Leave out keywords with a lower probability. Your own keywords are always written.",
)
@click.option(
    "--overwrite",
    is_flag=True,
    help="Also replace captions written by a person or another program.",
)
@click.option("-n", "--dry-run", is_flag=True, help="Show what would be written; write nothing.")
@yes_option
@catalogue_option
def write_command(
    paths: tuple[Path, ...],
    to: Destination,
    fields: str,
    min_confidence: float,
    min_probability: float,
    overwrite: bool,
    dry_run: bool,
    yes: bool,
    catalogue: Path | None,
) -> None:
    """Save captions and keywords with the photos, where photo programs read them.

    Without DIR, those of the whole catalogue are written. They go to XMP sidecar files by
    default, and the photos stay untouched. With --to embed they go into the photos, whose
    pixels do not change; formats that cannot take them (HEIC, TIFF) get sidecars. Raw photos
    are never changed. Captions by a person or another program are kept, and captions that are
    probably wrong are left out. Keywords join those that are there; keywords that showtell wrote
    earlier and no longer gives are removed. showtell photos undo reverts the last run.

    \b
    showtell photos write --dry-run
    showtell photos write ~/Pictures/2024 --min-confidence 0.6
    showtell photos write ~/Pictures --to embed --fields description,alt
    """
    from showtell.photos.write import WriteCounts, write_captions
    from showtell.photos.write_plan import WriteOptions, count_plans, plan_writes

    filters = photo_filter(paths, None, None, None)
    options = WriteOptions(
        to, _chosen_fields(fields), overwrite, min_confidence, min_probability, filters
    )
    with open_catalogue(catalogue) as opened:
        if dry_run:
            exit_if_failed(_print_plan(opened, options))
            return
        planned = count_plans(plan_writes(opened, options))
        click.echo(_plan_summary(planned, min_confidence), err=True)
        verdicts = planned.verdicts
        confirm(yes or not verdicts["sidecar"] + verdicts["embed"])
        total, counts = verdicts.total(), WriteCounts()
        with PhotoProgress() as progress, on_interrupt(lambda: _written_so_far(counts)):
            for counts in write_captions(opened, options, report=progress.report):
                progress.show(counts.examined, total)
    click.echo(_write_summary(counts))
    exit_if_failed(progress.failures)


def _chosen_fields(fields: str) -> tuple[str, ...]:
    from showtell.photos.write_plan import FIELDS

    chosen = tuple(dict.fromkeys(name.strip() for name in fields.split(",") if name.strip()))
    if not chosen or set(chosen) - set(FIELDS):
        raise click.UsageError(f"--fields: choose from {', '.join(FIELDS)}, separated by commas")
    return chosen


def _plan_summary(planned: PlanCounts, min_confidence: float) -> str:
    """Return the lines that say what a run will write, and what it will leave alone."""
    verdicts = planned.verdicts
    text = f"To write: {count_of(verdicts['sidecar'], 'sidecar')}"
    if verdicts["embed"]:
        text += f", {count_of(verdicts['embed'], 'photo')}"
    if planned.keywords:
        text += f" (keywords of {count_of(planned.keywords, 'photo')})"
    text += (
        f". To skip: {verdicts['up_to_date']:,} up to date,"
        f" {verdicts['user_edited']:,} with a caption by a person or another program"
        f", {verdicts['unsure']:,} under --min-confidence {min_confidence:g}"
        + (f", {verdicts['failed']:,} that cannot be read" if verdicts["failed"] else "")
    )
    if planned.kept:
        text += f"\n{_kept_fields(planned.kept)}"
    if planned.guesses:
        text += (
            f"\nOf {count_of(planned.guesses, 'caption')} with a confidence under {GUESS_BELOW:g},"
            f" which are probably wrong, {planned.guesses_to_write or 'none'} will be written"
        )
    return text


def _kept_fields(kept: Counter[str]) -> str:
    """Return one line that counts the fields that a person or another program wrote."""
    fields = ", ".join(f"{name} of {count_of(count, 'photo')}" for name, count in kept.items())
    return f"Kept as a person or another program wrote it (see --overwrite): {fields}"


def _written_so_far(counts: WriteCounts) -> str:
    """Say what an interrupted run has written."""
    written = count_of(counts.sidecars + counts.embedded, "file")
    return (
        f"{written} written: run the same command again for the rest, or showtell photos undo to"
        " revert them"
    )


def _write_summary(counts: WriteCounts) -> str:
    """Return one line that says what a run wrote."""
    return (
        f"{count_of(counts.sidecars, 'sidecar')} written,"
        f" {count_of(counts.embedded, 'photo')} changed,"
        f" keywords of {count_of(counts.keywords, 'photo')} changed,"
        f" {counts.up_to_date:,} up to date,"
        f" {counts.user_edited:,} with a caption by a person or another program,"
        f" {counts.unsure:,} under --min-confidence, {counts.failed:,} failed,"
        f" in {counts.seconds:.1f} s" + (f"\n{_kept_fields(counts.kept)}" if counts.kept else "")
    )


def _print_plan(catalogue: Catalogue, options: WriteOptions) -> int:
    """Print what a run would write, one line per file, and return how many photos fail."""
    from showtell.photos.write_plan import PlanCounts, plan_writes

    planned = PlanCounts()
    for item in plan_writes(catalogue, options):
        planned.add(item)
        if item.verdict == "failed":
            click.echo(f"showtell: {item.error}", err=True)
        elif item.writes:
            kept = f"  [kept: {', '.join(item.kept)}]" if item.kept else ""
            click.echo(f"{printable(str(item.target))}: {_planned_text(item)}{kept}")
        elif item.kept:
            click.echo(f"{printable(str(item.photo.path))}: [kept: {', '.join(item.kept)}]")
    click.echo(_plan_summary(planned, options.min_confidence), err=True)
    return planned.verdicts["failed"]


def _planned_text(plan: WritePlan) -> str:
    """Return what a plan writes, on one line."""
    parts = []
    if plan.caption is not None:
        mark = doubt_mark(plan.photo.confidence, colour=sys.stdout.isatty())
        parts.append(printable(plan.caption) + mark)
    if plan.keyword_list is not None:
        parts.append(f"[keywords: {printable(', '.join(plan.keyword_list))}]")
    return "  ".join(parts)


@click.command("undo")
@yes_option
@click.option("-n", "--dry-run", is_flag=True, help="Show what would be undone; undo nothing.")
@catalogue_option
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
    from showtell.photos.undo import UndoCounts, last_run, undo_last_run, writes_of

    with open_catalogue(catalogue) as opened:
        last = last_run(opened)
        if last is not None:
            started = datetime.datetime.fromisoformat(last.started).astimezone()
            click.echo(
                f"The run of {started:%Y-%m-%d %H:%M:%S} wrote {count_of(last.files, 'file')}.",
                err=True,
            )
            if dry_run:
                for target, is_new in writes_of(opened, last):
                    click.echo(f"{printable(str(target))}: {'remove' if is_new else 'restore'}")
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
