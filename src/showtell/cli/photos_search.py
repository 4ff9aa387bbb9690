"""`showtell photos search`: find photos by words, or by their likeness to a photo."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING

import click

from showtell.cli.caption_output import doubt_mark, suffix_format
from showtell.cli.model_option import model_option
from showtell.cli.photos_options import catalogue_option, existing_path, max_confidence_option
from showtell.cli.photos_output import captioner_loader, open_catalogue, open_output, photo_filter
from showtell.cli.text_argument import TEXT
from showtell.files.counts import count_of

if TYPE_CHECKING:
    from showtell.photos.catalogue.records import PhotoRecord
    from showtell.photos.catalogue.search import Sort

TEXT_LIMIT, HTML_LIMIT = 20, 200
_SEARCH_FORMATS = ("text", "jsonl", "csv", "html")
_SEVERAL_ENCODERS = (
    "photos that another model captioned were not compared:"
    " run showtell photos scan --recaption DIR"
)
_SHORT_OPTIONS = {"-o": "--output", "-m": "--model", "-h": "--help"}


class _SearchCommand(click.Command):
    """A command whose short options stand alone: `-o FILE` is one, `-otter` excludes a word."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        return super().parse_args(ctx, [_SHORT_OPTIONS.get(word, word) for word in args])


@click.command(
    "search",
    cls=_SearchCommand,
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
    type=existing_path,
    metavar="DIR",
    help="Only photos in DIR and its subfolders. Can be repeated.",
)
@click.option(
    "--after", metavar="DATE", help="Taken on or after DATE: 2024, 2024-05 or 2024-05-31."
)
@click.option("--before", metavar="DATE", help="Taken before DATE.")
@click.option(
    "--min-confidence",
    type=click.FloatRange(0, 1),
    help="Skip captions with a lower confidence, and keywords with a lower probability. Your own"
    " are always included.",
)
@max_confidence_option
@click.option(
    "--sort",
    type=click.Choice(("surest", "doubtful", "name", "date")),
    help="doubtful: the lowest confidence first.  [default: surest; name without words]",
)
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
    help="Write to FILE; -o for short.  [default: standard output]",
)
@catalogue_option
@model_option("The model for --like when PHOTO is not in the catalogue.", short=False)
def search_command(
    query: tuple[str, ...],
    like: Path | None,
    any_word: bool,
    folders: tuple[Path, ...],
    after: str | None,
    before: str | None,
    min_confidence: float | None,
    max_confidence: float | None,
    sort: Sort | None,
    limit: int | None,
    output_format: str | None,
    output: Path | None,
    catalogue: Path | None,
    model: str | None,
) -> None:
    """Find photos by the words of their captions and by keywords, the surest matches first.

    All words must match, in any order and form: run also finds running. run* finds words that
    begin with run, "on a beach" finds the exact phrase, and -word excludes a word. A search
    without results is not an error.

    \b
    showtell photos search dog running on a beach
    showtell photos search 'child* -snow "red jacket"' --after 2023 --before 2024
    showtell photos search --after 2024-05 --in ~/Pictures/Rome
    showtell photos search --max-confidence 0.3 --sort doubtful
    showtell photos search --like IMG_1234.jpg --limit 5
    showtell photos search dog --output dogs.html
    """
    from showtell.photos.catalogue.pictures import count_encoders
    from showtell.photos.catalogue.search import search_photos
    from showtell.photos.similar import find_similar

    _reject_unknown_options(query)
    text = " ".join(query)
    output_format = output_format or suffix_format(output, _SEARCH_FORMATS) or "text"
    filters = photo_filter(folders, after, before, min_confidence, max_confidence)
    _check_search_usage(text, like, output_format, output, sort, is_filtered=filters.is_set)
    default_limit = {"text": TEXT_LIMIT, "html": HTML_LIMIT}.get(output_format)
    with open_catalogue(catalogue) as opened, open_output(output, output_format) as target:
        if like is not None:
            load_captioner = captioner_loader(model, None)
            results = find_similar(
                opened, like, filters, load_captioner=load_captioner, limit=limit or default_limit
            )
        else:
            results = search_photos(
                opened, text, filters, any_word=any_word, sort=sort, limit=limit
            )
        title = text if like is None else f"like {like.name}"
        shown = itertools.islice(results, limit or default_limit)
        count = _write_results(shown, output_format, title, target)
        total = count + sum(1 for _ in results)
        if total > count:
            click.echo(f"{count:,} of {count_of(total, 'photo')}: --limit N shows more", err=True)
        if like is not None and count_encoders(opened) > 1:
            click.echo(_SEVERAL_ENCODERS, err=True)
    if count == 0 and output_format == "text":
        hint = "" if any_word or len(query) < 2 else ": --any matches any of the words"
        click.echo(f"no photos found{hint}", err=True)


def _reject_unknown_options(query: tuple[str, ...]) -> None:
    """Raise UsageError for an unknown long option, which click passes on as a word."""
    for word in query:
        if word.startswith("--") and len(word) > 2:
            raise click.UsageError(f"No such option: {word.split('=')[0]}")


def _check_search_usage(
    text: str,
    like: Path | None,
    output_format: str,
    output: Path | None,
    sort: Sort | None,
    *,
    is_filtered: bool,
) -> None:
    """Raise UsageError if options contradict each other or are missing."""
    if not text and like is None and not is_filtered:
        raise click.UsageError(
            "give words to search for, --like PHOTO, or a condition such as --after 2024"
        )
    if text and like is not None:
        raise click.UsageError("give either words or --like PHOTO, not both")
    if sort is not None and like is not None:
        raise click.UsageError("--like sorts by likeness: leave out --sort")
    if output_format == "html" and output is None and sys.stdout.isatty():
        raise click.UsageError("--format html needs a file: --output page.html")


def _write_results(
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
