"""The `showtell alt` commands: check, suggest, write and undo."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from showtell.cli.alt_output import (
    check_summary,
    document_options,
    exclude_option,
    format_option,
    journal_option,
    output_option,
    plan_summary,
    print_plan,
    root_option,
    show_findings,
)
from showtell.cli.max_pixels_option import max_pixels_option
from showtell.cli.model_option import model_and_language_options
from showtell.cli.photos_output import (
    PhotoProgress,
    captioner_loader,
    confirm,
    exit_if_failed,
)
from showtell.decoding.confidence import CONFIDENCE_LEVELS
from showtell.files.counts import count_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from showtell.alt.journal import Journal
    from showtell.alt.reports import ReportFormat
    from showtell.alt.suggest import Captioned
    from showtell.captioner import Captioner

_threads_option = click.option(
    "--threads", type=click.IntRange(1), help="Threads.  [default: one per physical core]"
)


@click.group()
def alt() -> None:
    """Check and write the alternative texts of images in documents.

    Documents are HTML, templates of HTML, Markdown (GitHub's and MyST's), reStructuredText and
    notebooks. Nothing leaves this computer.

    \b
    showtell alt check docs/
    showtell alt suggest docs/
    showtell alt write docs/ --dry-run
    """


@alt.command("check")
@document_options
@exclude_option
@format_option
@output_option
def check_command(
    paths: tuple[Path, ...],
    ignore: tuple[str, ...],
    exclude: tuple[str, ...],
    form: ReportFormat | None,
    output: Path | None,
) -> None:
    """Find images in PATH whose alternative text is missing or wrong.

    A PATH is a document, or a folder that is searched with its subfolders. No model is loaded.
    Exit code 0: nothing was found; 1: something was found, or a document cannot be read; 2: wrong
    usage.

    \b
    showtell alt check README.md docs/
    showtell alt check site/ --exclude api --ignore image-of
    showtell alt check site/ --output findings.sarif
    """
    from showtell.alt.check import CheckCounts, check_documents, find_documents

    counts = CheckCounts()
    with PhotoProgress() as progress:
        documents = find_documents(paths, exclude=exclude, report=progress.report)
        findings = check_documents(documents, ignore=ignore, counts=counts, report=progress.report)
        shown = show_findings(((finding, None) for finding in findings), form, output)
    click.echo(check_summary(counts, shown), err=True)
    exit_if_failed(shown + progress.failures)


@alt.command("suggest")
@document_options
@exclude_option
@root_option
@format_option
@output_option
@click.option(
    "--min-confidence",
    type=click.FloatRange(0, 1),
    default=0.0,
    help="Leave out suggestions with a lower confidence.",
)
@model_and_language_options
@_threads_option
@max_pixels_option()
def suggest_command(
    paths: tuple[Path, ...],
    ignore: tuple[str, ...],
    exclude: tuple[str, ...],
    root: Path | None,
    form: ReportFormat | None,
    output: Path | None,
    min_confidence: float,
    model: str | None,
    threads: int | None,
    max_pixels: int,
) -> None:
    """Suggest texts for the images in PATH that `showtell alt check` finds.

    A suggestion is the caption of the image, with its confidence, if the image is a file on this
    computer. SARIF has the suggestions as fixes, which editors can apply. Exit code 0: all done;
    1: a document cannot be read; 2: wrong usage.

    \b
    showtell alt suggest docs/
    showtell alt suggest site/ --root site/ --output suggestions.sarif
    """
    with PhotoProgress() as progress:
        load = captioner_loader(model, threads, max_pixels)
        results = _suggestions(paths, ignore, exclude, root, min_confidence, load, progress)
        shown = show_findings(results, form, output)
    click.echo(count_of(shown, "finding"), err=True)
    exit_if_failed(progress.failures)


@alt.command("write")
@document_options
@exclude_option
@root_option
@click.option(
    "--min-confidence",
    type=click.FloatRange(0, 1),
    default=CONFIDENCE_LEVELS[0].minimum,
    show_default=True,
    help="Leave out texts with a lower confidence.",
)
@click.option(
    "--mark-for-review",
    is_flag=True,
    help='Put "unreviewed: " in front of each text, which showtell alt check then finds.',
)
@click.option(
    "--replace-file-names", is_flag=True, help="Also replace texts that are names of files."
)
@click.option("-y", "--yes", is_flag=True, help="Do not ask for confirmation.")
@click.option("-n", "--dry-run", is_flag=True, help="Show what would be written; write nothing.")
@model_and_language_options
@_threads_option
@max_pixels_option()
@journal_option
def write_command(
    paths: tuple[Path, ...],
    ignore: tuple[str, ...],
    exclude: tuple[str, ...],
    root: Path | None,
    min_confidence: float,
    mark_for_review: bool,
    replace_file_names: bool,
    yes: bool,
    dry_run: bool,
    model: str | None,
    threads: int | None,
    max_pixels: int,
    journal: Path | None,
) -> None:
    """Write captions as alternative texts into the documents in PATH.

    Only images without a text get one; every other byte of a document stays as it is. A text
    that says where a link leads is not written, nor is one into an attribute that a template
    fills. Exit code 0: all done; 1: a document failed; 2: wrong usage.

    \b
    showtell alt write docs/ --dry-run
    showtell alt write docs/ --min-confidence 0.5 --mark-for-review
    showtell alt undo
    """
    from showtell.alt.write import AltWriteOptions, plan_texts, write_texts

    options = AltWriteOptions(mark_for_review, replace_file_names)
    with PhotoProgress() as progress:
        load = captioner_loader(model, threads, max_pixels)
        results = _suggestions(paths, ignore, exclude, root, min_confidence, load, progress)
        plans = list(plan_texts(results, options))
        print_plan(plans)
        click.echo(plan_summary(plans, min_confidence), err=True)
        if not dry_run and any(plan.verdict == "write" for plan in plans):
            confirm(yes)
            counts = write_texts(plans, _journal(journal), report=progress.report)
            click.echo(
                f"{count_of(counts.texts, 'text')} written into"
                f" {count_of(counts.documents, 'document')}, {counts.failed:,} failed",
                err=True,
            )
    exit_if_failed(progress.failures)


@alt.command("undo")
@journal_option
def undo_command(journal: Path | None) -> None:
    """Revert the last run of showtell alt write, byte for byte.

    Documents that have changed since are left alone and listed. Run undo again to revert the run
    before that.

    \b
    showtell alt undo
    """
    from showtell.alt.write import undo_texts

    with PhotoProgress() as progress:
        counts = undo_texts(_journal(journal), report=progress.report)
    click.echo(
        f"{count_of(counts.restored, 'document')} restored, {counts.skipped:,} left alone,"
        f" {counts.failed:,} failed"
    )
    exit_if_failed(progress.failures)


def _suggestions(
    paths: tuple[Path, ...],
    ignore: tuple[str, ...],
    exclude: tuple[str, ...],
    root: Path | None,
    min_confidence: float,
    load: Callable[[], Captioner],
    progress: PhotoProgress,
) -> Iterator[Captioned]:
    """Yield the findings in documents with their suggestions."""
    from showtell.alt.check import check_documents, find_documents
    from showtell.alt.suggest import suggest

    documents = find_documents(paths, exclude=exclude, report=progress.report)
    findings = check_documents(documents, ignore=ignore, report=progress.report)
    return suggest(findings, load_captioner=load, min_confidence=min_confidence, site_root=root)


def _journal(folder: Path | None) -> Journal:
    from showtell.alt.journal import Journal
    from showtell.files.folders import alt_journal_dir

    return Journal(folder or alt_journal_dir())
