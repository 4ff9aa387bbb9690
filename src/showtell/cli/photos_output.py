"""What the `showtell photos` commands share: catalogue, progress, output and confirmation."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import click

from showtell.cli.model_option import resolve_model
from showtell.cli.standard_streams import standard_output
from showtell.image_formats.decoding_memory import MAX_PIXELS

if TYPE_CHECKING:
    from showtell.captioner import Captioner
    from showtell.photos.catalogue.database import Catalogue
    from showtell.photos.catalogue.filters import PhotoFilter

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
    paths: Iterable[Path],
    after: str | None = None,
    before: str | None = None,
    min_confidence: float | None = None,
    max_confidence: float | None = None,
) -> PhotoFilter:
    """Return the filter that the command's options describe."""
    from showtell.photos.catalogue.filters import PhotoFilter

    return PhotoFilter(tuple(paths), after, before, min_confidence, max_confidence)


@contextlib.contextmanager
def open_output(output: Path | None, output_format: str) -> Iterator[IO[str]]:
    """Open `output` for writing, so that it appears only when complete; None is standard output.

    A CSV file begins with a byte order mark, standard output does not: programs read it.
    """
    if output is not None:
        from showtell.files.atomic_write import output_file
        from showtell.files.csv_text import BYTE_ORDER_MARK

        with output_file(output) as file:
            if output_format == "csv":
                file.write(BYTE_ORDER_MARK)
            yield file
        return
    yield standard_output(output_format)


def confirm(yes: bool) -> None:
    """Ask for confirmation on a terminal, unless `yes`; a script is not asked."""
    if not yes and sys.stdin.isatty() and sys.stderr.isatty():
        click.confirm("Continue?", abort=True, err=True)


def exit_if_failed(failures: int) -> None:
    """Exit with code 1 if anything failed."""
    if failures:
        click.get_current_context().exit(FAILED)
