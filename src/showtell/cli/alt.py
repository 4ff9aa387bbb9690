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
    output_option,
    show_findings,
)
from showtell.cli.photos_output import PhotoProgress, exit_if_failed

if TYPE_CHECKING:
    from showtell.alt.reports import ReportFormat


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
    showtell alt check site/ --exclude "api/*" --ignore image-of
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
