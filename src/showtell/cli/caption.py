"""The command `showtell caption`."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, BinaryIO, cast

import click

from showtell.cli.decoding_options import decoding_options
from showtell.cli.interruption import on_interrupt
from showtell.cli.max_pixels_option import max_pixels_option
from showtell.cli.model_option import model_and_language_options, resolve_model
from showtell.cli.standard_streams import standard_output
from showtell.errors import ShowtellError
from showtell.files.counts import count_of
from showtell.files.photo_files import LeftOut
from showtell.files.printable_names import printable

if TYPE_CHECKING:
    from tqdm import tqdm

    from showtell.caption import Caption
    from showtell.captioner import Captioner
    from showtell.cli.caption_file import CaptionFile, CaptionSettings
    from showtell.cli.caption_output import Format

FAILED = 1
STDIN = "-"


@click.command()
@click.argument("paths", metavar="PATH...", nargs=-1, required=True)
@click.option("-r", "--recursive", is_flag=True, help="Also caption photos in subfolders.")
@model_and_language_options
@click.option(
    "--words",
    is_flag=True,
    help="Also print each word's log-probability, and in JSONL its attention.",
)
@click.option(
    "--keywords",
    is_flag=True,
    help="Also print keywords: nouns, with the probability that people name them.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "jsonl", "csv"]),
    help="Format of the captions.  [default: by the suffix of FILE, else text]",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="File to write; it appears when it is complete. Captions that it has from an earlier run"
    " are kept, and their photos not captioned again.  [default: standard output]",
)
@click.option("--recaption", is_flag=True, help="Caption all photos, and replace FILE.")
@click.option(
    "--min-confidence",
    type=click.FloatRange(0, 1),
    help="Leave out captions with a lower confidence.",
)
@decoding_options("beam", "diverse", "sample", "mbr")
@click.option(
    "--batch-size",
    type=click.IntRange(1),
    default=16,
    show_default=True,
    help="Photos that the model captions at once.",
)
@click.option(
    "--threads", type=click.IntRange(1), help="Threads.  [default: one per physical core]"
)
@max_pixels_option()
def caption(
    paths: tuple[str, ...],
    recursive: bool,
    model: str | None,
    nbest: int,
    words: bool,
    keywords: bool,
    form: Format | None,
    output: Path | None,
    recaption: bool,
    min_confidence: float | None,
    threads: int | None,
    max_pixels: int,
    **options: Any,
) -> None:
    """Caption photos and folders of photos. The PATH - reads one photo from standard input.

    A photo from standard input or a named pipe can have 256 MB, one from a file 2 GB. Pipes and
    devices in folders are left out.

    Captions go to standard output, errors to standard error, one line each. Exit code 0: all
    photos are captioned; 1: some photos failed and are named; 2: wrong usage.

    \b
    showtell caption dog.jpg
    showtell caption holiday/ --recursive --format jsonl --output holiday.jsonl
    """
    from showtell.cli.caption_file import CaptionSettings
    from showtell.cli.caption_output import format_of, line
    from showtell.photos.catalogue.pictures import ModelIds

    form = form or format_of(output)
    _check_usage(paths, words=words, form=form)

    screen = _Screen(output)
    all_photos = _find_photos(paths, recursive, screen)
    captioner = _load_captioner(model, threads, max_pixels, keywords=keywords)
    model_id = ModelIds.of(captioner.bundle).model_id
    settings = CaptionSettings(form, nbest, model_id, min_confidence, keywords)
    with contextlib.ExitStack() as stack:
        captions_file = stack.enter_context(_open_captions(output, settings, recaption=recaption))
        stack.enter_context(on_interrupt(screen.saved_so_far))
        screen.target = captions_file.stream
        photos: Iterable[Path | BinaryIO] = _without_captions(all_photos, captions_file, screen)
        if sys.stderr.isatty():
            photos = counted = list(photos)
            if len(counted) > 1:
                stack.enter_context(screen.progress(len(counted)))
        for result in _captions(captioner, photos, {"nbest": nbest, **options}):
            if result.error is not None:
                screen.fail(result.error)
            if result.path is not None:
                written_path = captions_file.written_path(result.path)
                result = dataclasses.replace(result, path=written_path)
            if not settings.is_below(result.confidence):
                colour = form == "text" and screen.target.isatty()
                screen.show(
                    line(
                        result,
                        form,
                        nbest=nbest,
                        words=words,
                        keywords=keywords,
                        colour=colour,
                        model=settings.model,
                    )
                )
                screen.captioned += result.error is None
            else:
                screen.below += 1
            screen.advance()
    screen.summarise(form)
    if screen.failures:
        click.get_current_context().exit(FAILED)


def _check_usage(paths: tuple[str, ...], *, words: bool, form: Format) -> None:
    if words and form == "csv":
        raise click.UsageError("--words needs --format text or jsonl: CSV has no columns for words")
    if "" in paths:
        raise click.UsageError("a PATH is empty")
    if paths.count(STDIN) > 1:
        raise click.UsageError("- (standard input) can be given only once")
    if STDIN in paths and sys.stdin.isatty():
        raise click.UsageError("- reads a photo from standard input, which is a terminal here")


@contextlib.contextmanager
def _open_captions(
    output: Path | None, settings: CaptionSettings, *, recaption: bool
) -> Iterator[CaptionFile]:
    from showtell.cli.caption_file import CaptionFile, open_caption_file

    if output is None:
        stream = standard_output(settings.form)
        stream.write(settings.header)
        yield CaptionFile(stream, settings)
        return
    with open_caption_file(output, settings, recaption=recaption) as captions_file:
        yield captions_file


def _without_captions(
    photos: Iterable[Path | BinaryIO], captions_file: CaptionFile, screen: _Screen
) -> Iterator[Path | BinaryIO]:
    """Yield the photos whose captions the file did not have."""
    if not captions_file.earlier and not captions_file.below:
        yield from photos
        return
    for photo in photos:
        key = captions_file.key(photo) if isinstance(photo, Path) else None
        if key in captions_file.earlier:
            screen.kept += 1
        elif key in captions_file.below:
            screen.below += 1
        else:
            yield photo


class _Screen:
    """Writes captions to `target` and errors to standard error, above a progress bar.

    `output` is the file of the captions, or None for standard output.
    """

    def __init__(self, output: Path | None) -> None:
        self.output = output
        self.target: IO[str] = sys.stdout
        self.failures = 0
        self.captioned = 0
        self.kept = 0
        self.below = 0
        self.left_out = LeftOut()
        self._bar: tqdm[Any] | None = None

    def progress(self, total: int) -> tqdm[Any]:
        from showtell.files.progress import progress_bar

        self._bar = progress_bar(total, shown=True, leave=True)
        return self._bar

    def advance(self) -> None:
        if self._bar is not None:
            self._bar.update()

    def show(self, text: str) -> None:
        self._write(text, self.target)

    def fail(self, message: str) -> None:
        self.failures += 1
        self._write(f"showtell: {message}\n", sys.stderr)

    def saved_so_far(self) -> str:
        """Say what an interrupted run has saved."""
        if self.output is None:
            return f"{count_of(self.captioned, 'caption')} so far"
        return (
            f"{printable(os.fspath(self.output))}: {count_of(self.captioned, 'caption')} saved so"
            " far: run the same command again for the rest"
        )

    def summarise(self, form: Format) -> None:
        """Say how many photos were captioned, and what was not.

        On standard output into a file or pipe, only what was left out.
        """
        if self.output is None and not sys.stderr.isatty():
            if self.left_out:
                click.echo(f"left out: {self.left_out}", err=True)
            return
        parts = [f"{self.captioned} captioned"]
        if self.kept:
            by_any_model = ", whichever model wrote them" if form == "text" else ""
            parts.append(f"{self.kept} kept from an earlier run{by_any_model} (see --recaption)")
        if self.below:
            parts.append(f"{self.below} below --min-confidence")
        if self.failures:
            parts.append(f"{self.failures} failed")
        if self.left_out:
            parts.append(f"left out: {self.left_out}")
        where = f"{printable(os.fspath(self.output))}: " if self.output else ""
        click.echo(where + ", ".join(parts), err=True)

    def _write(self, text: str, target: IO[str]) -> None:
        bar = self._bar if target.isatty() else None
        if bar is not None:
            bar.clear()
        target.write(text)
        target.flush()
        if bar is not None:
            bar.refresh()


def _find_photos(
    paths: tuple[str, ...], recursive: bool, screen: _Screen
) -> Iterable[Path | BinaryIO]:
    """Yield photos one by one; raise ShowtellError, before a model is loaded, if there are none."""
    from showtell.files.photo_files import SUFFIXES, find_photos

    def each() -> Iterator[Path | BinaryIO]:
        for path in paths:
            if path == STDIN:
                yield cast("BinaryIO", sys.stdin.buffer)
            else:
                yield from find_photos(
                    [path],
                    recursive=recursive,
                    report=lambda error: screen.fail(str(error)),
                    left_out=screen.left_out,
                )

    photos = each()
    first = next(photos, None)
    if first is not None:
        return itertools.chain([first], photos)
    if not screen.failures:
        where = ", ".join(printable(path) for path in paths)
        deeper = "" if recursive else "; --recursive looks into subfolders"
        raise ShowtellError(f"{where}: no photos here ({' '.join(sorted(SUFFIXES))}){deeper}")
    return []


def _load_captioner(
    model: str | None, threads: int | None, max_pixels: int, *, keywords: bool
) -> Captioner:
    from showtell.captioner import Captioner

    try:
        captioner = Captioner.load(resolve_model(model), threads=threads, max_pixels=max_pixels)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    if keywords and captioner.bundle.manifest.keywords is None:
        name = captioner.bundle.manifest.name
        raise click.UsageError(f"--keywords: the model {name} has none: choose one with --model")
    return captioner


def _captions(
    captioner: Captioner, photos: Iterable[Path | BinaryIO], options: dict[str, Any]
) -> Iterator[Caption]:
    try:
        return captioner.caption(photos, **options)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
