"""Helpers of the `showtell photos` commands: catalogue, progress, output and summaries."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import click

from showtell.cli.caption_output import doubt_mark
from showtell.cli.model_option import resolve_model
from showtell.cli.standard_streams import standard_output
from showtell.decoding.confidence import GUESS_BELOW
from showtell.files.counts import count_of
from showtell.image_formats.decoding_memory import MAX_PIXELS

if TYPE_CHECKING:
    from showtell.captioner import Captioner
    from showtell.photos.catalogue.database import Catalogue
    from showtell.photos.catalogue.filters import PhotoFilter
    from showtell.photos.catalogue.records import PhotoRecord
    from showtell.photos.scan import ScanCounts
    from showtell.photos.write import WriteCounts
    from showtell.photos.write_plan import PlanCounts, WriteOptions

FAILED = 1


class PhotoProgress:
    """A progress bar on a terminal, and one line for each failure."""

    def __init__(self) -> None:
        self.failures = 0
        self._bar: Any = None

    def __enter__(self) -> PhotoProgress:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def show(self, done: int, total: int, note: str = "") -> None:
        """Move the bar to `done` of `total` photos."""
        if not sys.stderr.isatty():
            return
        if self._bar is None:
            from showtell.files.progress import progress_bar

            self._bar = progress_bar(shown=True, leave=True)
        if self._bar.total != (total or None):
            self._bar.reset(total or None)
        self._bar.set_description_str(note, refresh=False)
        self._bar.n = done
        self._bar.refresh()

    def report(self, error: Exception) -> None:
        """Print a failure and count it."""
        self.failures += 1
        if self._bar is not None:
            self._bar.clear()
        click.echo(f"showtell: {error}", err=True)
        if self._bar is not None:
            self._bar.refresh()


@contextlib.contextmanager
def open_catalogue(path: Path | None, *, create: bool = False) -> Iterator[Catalogue]:
    """Open a catalogue; None means the one in the user's data folder."""
    from showtell.files.folders import catalogue_file
    from showtell.photos.catalogue.database import Catalogue

    with Catalogue(path or catalogue_file(), create=create) as catalogue:
        yield catalogue


def captioner_loader(
    model: str | None, threads: int | None, max_pixels: int = MAX_PIXELS
) -> Callable[[], Captioner]:
    """Return a function that loads the model, to be called when the model is first needed."""

    def load_captioner() -> Captioner:
        from showtell.captioner import Captioner

        return Captioner.load(resolve_model(model), threads=threads, max_pixels=max_pixels)

    return load_captioner


def photo_filter(
    paths: Iterable[Path], after: str | None, before: str | None, min_confidence: float | None
) -> PhotoFilter:
    """Return the filter that the command's options describe."""
    from showtell.photos.catalogue.filters import PhotoFilter

    return PhotoFilter(tuple(paths), after, before, min_confidence)


@contextlib.contextmanager
def open_output(output: Path | None, output_format: str) -> Iterator[IO[str]]:
    """Open `output` for writing, so that it appears only when complete; None is standard output."""
    if output is not None:
        from showtell.files.atomic_write import output_file

        with output_file(output) as file:
            yield file
        return
    yield standard_output(output_format)


def write_results(
    results: Iterator[PhotoRecord], output_format: str, title: str, target: IO[str]
) -> int:
    """Write search results to `target` and return how many there are."""
    count = 0

    def counted() -> Iterator[PhotoRecord]:
        nonlocal count
        for record in results:
            count += 1
            yield record

    if output_format == "html":
        from showtell.photos.gallery import render_gallery

        target.writelines(render_gallery(title, counted()))
        return count
    from showtell.photos.output_formats import result_header, result_line

    target.write(result_header(output_format))
    colour = output_format == "text" and target.isatty()
    for record in counted():
        mark = doubt_mark(record.confidence, colour=colour)
        target.write(result_line(record, output_format, mark=mark))
    return count


def scan_summary(counts: ScanCounts) -> str:
    """Return one line that says what a scan did."""
    rate = ""
    if counts.read:
        rate = f" ({count_of(round(counts.read / counts.seconds), 'photo')} read per second)"
    return (
        f"{count_of(counts.found, 'photo')}: {counts.captioned:,} captioned,"
        f" {counts.already_captioned:,} already captioned, {counts.moved:,} moved,"
        f" {counts.unchanged:,} unchanged, {counts.missing:,} missing, {counts.failed:,} failed,"
        f" in {counts.seconds:.1f} s{rate}"
    )


def plan_summary(planned: PlanCounts, min_confidence: float) -> str:
    """Return the lines that say what a run will write, and what it will leave alone."""
    verdicts = planned.verdicts
    text = f"To write: {count_of(verdicts['sidecar'], 'sidecar')}"
    if verdicts["embed"]:
        text += f", captions into {count_of(verdicts['embed'], 'photo')}"
    text += (
        f". To skip: {verdicts['up_to_date']:,} up to date,"
        f" {verdicts['user_edited']:,} with a caption by a person or another program"
        + (f", {verdicts['unsure']:,} under --min-confidence {min_confidence:g}")
        + (f", {verdicts['failed']:,} that cannot be read" if verdicts["failed"] else "")
    )
    if planned.guesses:
        text += (
            f"\n{count_of(planned.guesses, 'caption')} with a confidence under {GUESS_BELOW:g}"
            f" (probably wrong): {planned.guesses_to_write:,} to write"
        )
    return text


def write_summary(counts: WriteCounts) -> str:
    """Return one line that says what a run wrote."""
    return (
        f"{count_of(counts.sidecars, 'sidecar')} written,"
        f" captions embedded in {count_of(counts.embedded, 'photo')},"
        f" {counts.up_to_date:,} up to date,"
        f" {counts.user_edited:,} with a caption by a person or another program,"
        f" {counts.unsure:,} under --min-confidence, {counts.failed:,} failed,"
        f" in {counts.seconds:.1f} s"
    )


def print_plan(catalogue: Catalogue, options: WriteOptions) -> int:
    """Print what a run would write, one line per file, and return how many photos fail."""
    from showtell.files.printable_names import printable
    from showtell.photos.write_plan import PlanCounts, plan_writes

    planned = PlanCounts()
    for item in plan_writes(catalogue, options):
        planned.add(item)
        if item.verdict == "failed":
            click.echo(f"showtell: {item.error}", err=True)
        elif item.writes:
            caption = printable(next(iter(item.texts.values())))
            mark = doubt_mark(item.photo.confidence, colour=sys.stdout.isatty())
            click.echo(f"{printable(str(item.target))}: {caption}{mark}")
    click.echo(plan_summary(planned, options.min_confidence), err=True)
    return planned.verdicts["failed"]


def confirm(yes: bool) -> None:
    """Ask for confirmation on a terminal, unless `yes`; a script is not asked."""
    if not yes and sys.stdin.isatty() and sys.stderr.isatty():
        click.confirm("Continue?", abort=True, err=True)


def exit_if_failed(failures: int) -> None:
    """Exit with code 1 if anything failed."""
    if failures:
        click.get_current_context().exit(FAILED)
