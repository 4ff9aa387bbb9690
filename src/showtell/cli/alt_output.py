"""Options and output of the `showtell alt` commands."""

from __future__ import annotations

import contextlib
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TypeVar

import click

from showtell.alt.rules import RULES
from showtell.cli.caption_output import doubt_mark
from showtell.cli.photos_output import open_output
from showtell.files.counts import count_of
from showtell.files.printable_names import printable

if TYPE_CHECKING:
    from showtell.alt.check import AltFinding, CheckCounts
    from showtell.alt.reports import ReportFormat
    from showtell.alt.suggestion import Suggestion
    from showtell.alt.write import AltVerdict, PlannedText

_SKIPPED: dict[AltVerdict, str] = {
    "no_image": "without an image to caption",
    "linked": "that have to say where a link leads",
    "kept": "with a text already",
    "no_place": "where a text cannot be written",
}
F = TypeVar("F", bound=Callable[..., Any])
_FORMAT_OF_SUFFIX: dict[str, ReportFormat] = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".sarif": "sarif",
    ".json": "sarif",  # GitHub and editors take *.sarif and *.sarif.json
}

root_option = click.option(
    "--root",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    metavar="DIR",
    help='Folder of the site: "/images/a.png" is in it.  [default: PATH, or a folder below it]',
)
journal_option = click.option(
    "--journal",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Folder that keeps what is needed to undo.  [default: showtell/alt in your data folder]",
)
exclude_option = click.option(
    "--exclude",
    multiple=True,
    metavar="PATTERN",
    help="Leave out names or paths inside PATH, such as `api/*` (repeatable).",
)
format_option = click.option(
    "--format",
    "form",
    type=click.Choice(["text", "jsonl", "sarif", "github"]),
    help="Format of the findings; github: annotations of GitHub Actions."
    "  [default: by the suffix of FILE, else text]",
)
output_option = click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write the findings to FILE.  [default: standard output]",
)


def document_options(command: F) -> F:
    """Give a command the documents to read, and the rules to leave out."""
    command = click.option(
        "--ignore",
        multiple=True,
        type=click.Choice(list(RULES)),
        metavar="RULE",
        help=f"Leave out a rule (repeatable): {', '.join(RULES)}.",
    )(command)
    return click.argument(
        "paths",
        metavar="PATH...",
        nargs=-1,
        required=True,
        type=click.Path(exists=True, path_type=Path),
    )(command)


def show_findings(
    results: Iterable[tuple[AltFinding, Suggestion | None]],
    form: ReportFormat | None,
    output: Path | None,
) -> int:
    """Write findings, and what is suggested for them, and return how many there are."""
    from showtell.alt.sarif import sarif_report

    form = form or _format_of(output)
    count = 0

    def counted() -> Iterable[tuple[AltFinding, Suggestion | None]]:
        nonlocal count
        for result in results:
            count += 1
            yield result

    with contextlib.ExitStack() as stack:
        target = stack.enter_context(open_output(output, form))
        if form == "sarif":
            target.write(sarif_report(counted()))
        else:
            _write_lines(counted(), form, target)
    return count


def _write_lines(
    results: Iterable[tuple[AltFinding, Suggestion | None]], form: ReportFormat, target: IO[str]
) -> None:
    from showtell.alt.reports import finding_line

    colour = form == "text" and target.isatty()
    for finding, suggestion in results:
        confidence = None if suggestion is None else suggestion.confidence
        mark = doubt_mark(confidence, colour=colour)
        target.write(finding_line(finding, suggestion, form, mark=mark))


def _format_of(output: Path | None) -> ReportFormat:
    return "text" if output is None else _FORMAT_OF_SUFFIX.get(output.suffix.lower(), "text")


def print_plan(plans: Iterable[PlannedText]) -> None:
    """Print each text that a run would write, one line each."""
    colour = sys.stdout.isatty()
    for plan in plans:
        if plan.verdict == "write":
            line, column = plan.finding.line_and_column
            path = printable(os.fspath(plan.finding.document.path))
            mark = doubt_mark(plan.suggestion.confidence, colour=colour)
            click.echo(f"{path}:{line}:{column}: {printable(plan.text)}{mark}")


def plan_summary(plans: Iterable[PlannedText], min_confidence: float) -> str:
    """Return one line that says what a run will write, and what it will leave alone."""
    plans = list(plans)
    counts = Counter(plan.verdict for plan in plans)
    documents = {plan.finding.document.path for plan in plans if plan.verdict == "write"}
    text = (
        f"To write: {count_of(counts['write'], 'text')} into {count_of(len(documents), 'document')}"
    )
    skipped = [
        f"{counts[verdict]:,} {reason}" for verdict, reason in _SKIPPED.items() if counts[verdict]
    ]
    if counts["unsure"]:
        skipped.append(f"{counts['unsure']:,} under --min-confidence {min_confidence:g}")
    return f"{text}. To skip: {', '.join(skipped)}" if skipped else text


def check_summary(counts: CheckCounts, findings: int) -> str:
    """Return one line that says what a check read and found."""
    return (
        f"{count_of(findings, 'finding')} in {count_of(counts.images, 'image')}"
        f" of {count_of(counts.documents, 'document')}"
    )
