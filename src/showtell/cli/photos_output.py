"""What the commands of `showtell photos` share: the catalogue opened, a bar, sentences."""

from __future__ import annotations

import contextlib
import sys
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from showtell.captioner import Captioner
    from showtell.photos.catalogue.database import Catalogue
    from showtell.photos.catalogue.search import Filter, PhotoRecord
    from showtell.photos.scan import Scanned
    from showtell.photos.write_plan import Verdict, Writing

FAILED = 1


class Progress:
    """A bar on a terminal, and failures around it, one line each."""

    def __init__(self) -> None:
        self.failures = 0
        self._bar: Any = None

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def show(self, done: int, total: int, note: str = "") -> None:
        """Move the bar to `done` of `total` photos."""
        if not sys.stderr.isatty():
            return
        if self._bar is None:
            from tqdm import tqdm

            self._bar = tqdm(unit="photo", file=sys.stderr, smoothing=0.1)
        if self._bar.total != (total or None):
            self._bar.reset(total or None)
        self._bar.set_description_str(note, refresh=False)
        self._bar.n = done
        self._bar.refresh()

    def report(self, error: Exception) -> None:
        """Show a failure and count it."""
        self.failures += 1
        if self._bar is not None:
            self._bar.clear()
        click.echo(f"showtell: {error}", err=True)
        if self._bar is not None:
            self._bar.refresh()


@contextlib.contextmanager
def opened_catalogue(path: Path | None, *, create: bool = False) -> Iterator[Catalogue]:
    """Open a catalogue, by default the one of the platform's data folder."""
    from showtell.files.folders import catalogue_file
    from showtell.photos.catalogue.database import Catalogue

    with Catalogue(path or catalogue_file(), create=create) as catalogue:
        yield catalogue


def quiet() -> None:
    """Drop what a decoder mutters about metadata: the photo opens, or an error says why."""
    warnings.filterwarnings("ignore", module=r"PIL\.")


def loader(model: str | None, threads: int | None) -> Callable[[], Captioner]:
    """Return what loads the model when it is needed."""

    def load() -> Captioner:
        from showtell.captioner import Captioner

        return Captioner.load(model, threads=threads)

    return load


def filters_of(
    places: Iterable[Path], after: str | None, before: str | None, min_confidence: float | None
) -> Filter:
    """Return which photos are asked for."""
    from showtell.photos.catalogue.search import Filter

    return Filter(tuple(places), after, before, min_confidence)


@contextlib.contextmanager
def target_of(output: Path | None) -> Iterator[IO[str]]:
    """Open where results go: a file that appears whole, or standard output."""
    if output is not None:
        from showtell.cli.caption_output import whole_file

        with whole_file(output) as file:
            yield file
        return
    if hasattr(sys.stdout, "reconfigure"):  # no terminal's encoding shall end a long list
        sys.stdout.reconfigure(errors="backslashreplace")
    yield sys.stdout


def show_found(found: Iterator[PhotoRecord], form: str, title: str, target: IO[str]) -> int:
    """Write what was found; returns how many photos."""
    count = 0

    def counted() -> Iterator[PhotoRecord]:
        nonlocal count
        for record in found:
            count += 1
            yield record

    if form == "html":
        from showtell.photos.gallery import gallery

        target.writelines(gallery(title, counted()))
        return count
    from showtell.photos import output_formats

    target.write(output_formats.header(form))
    for record in counted():
        target.write(output_formats.line(record, form))
    return count


def scanned_line(counts: Scanned) -> str:
    """Return what a scan did."""
    rate = f" ({counts.read / counts.seconds:.0f} photos read per second)" if counts.read else ""
    return (
        f"{counts.found:,} photos: {counts.captioned:,} captioned, {counts.known:,} known again,"
        f" {counts.moved:,} moved, {counts.unchanged:,} unchanged, {counts.gone:,} gone,"
        f" {counts.failed:,} failed, in {counts.seconds:.1f} s{rate}"
    )


def planned_line(planned: dict[Verdict, int]) -> str:
    """Return what is to be written and what is left."""
    text = f"To write: {planned['sidecar']:,} sidecars"
    if planned["embed"]:
        text += f", words into {planned['embed']:,} photos"
    return (
        f"{text}. To leave: {planned['same']:,} that have the words already,"
        f" {planned['person']:,} with words of a person"
        + (f", {planned['failed']:,} that cannot be read" if planned["failed"] else "")
    )


def show_plan(opened: Catalogue, writing: Writing) -> int:
    """Say what would be written, line by line; returns how many photos fail."""
    from showtell.files.printable_names import printable
    from showtell.photos.write_plan import plan

    planned: Counter[Verdict] = Counter()
    for item in plan(opened, writing):
        planned[item.verdict] += 1
        if item.verdict == "failed":
            click.echo(f"showtell: {item.error}", err=True)
        elif item.verdict in ("sidecar", "embed"):
            words = printable(next(iter(item.words.values())))
            click.echo(f"{printable(str(item.target))}: {words}")
    click.echo(planned_line(planned), err=True)
    return planned["failed"]


def ask(yes: bool) -> None:
    """Ask on a terminal; a script has said what it wants by calling."""
    if not yes and sys.stdin.isatty() and sys.stderr.isatty():
        click.confirm("Go on?", abort=True, err=True)


def end_with(failures: int) -> None:
    """End with code 1 where something failed."""
    if failures:
        click.get_current_context().exit(FAILED)
