"""`showtell cluster`: captions for collections that outgrow one machine, on Ray."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from showtell.cli.address import ADDRESS
from showtell.cli.decoding_options import decoding_options
from showtell.cli.model_option import model_option, without_run
from showtell.errors import MissingExtraError

if TYPE_CHECKING:
    from showtell.cluster.job import JobOptions

FAILED = 1
_EXTRA = ("ray", "pyarrow", "fsspec", "pandas")


@click.group()
def cluster() -> None:
    """Caption millions of photos on a Ray cluster, or on all cores of this machine."""


@cluster.command(short_help="Caption a folder, shards or Parquet into Parquet.")
@click.argument("input", metavar="INPUT", type=ADDRESS)
@click.argument("output", metavar="OUTPUT", type=ADDRESS)
@click.option(
    "--kind",
    type=click.Choice(["folder", "shards", "parquet"]),
    help="What INPUT is.  [default: by the files in it]",
)
@click.option("--column", metavar="NAME", help="Parquet's column of paths or of bytes.")
@click.option("--name-column", metavar="NAME", help="What photos in a column of bytes are called.")
@click.option(
    "--root", type=ADDRESS, help="Where relative paths in Parquet begin.  [default: its folder]"
)
@click.option(
    "--address",
    metavar="local|auto|ADDRESS",
    help="auto: the Ray cluster that runs.  [default: $RAY_ADDRESS, or this machine alone]",
)
@click.option(
    "--concurrency",
    type=click.IntRange(1),
    metavar="N",
    help="Workers, one core each.  [default: one for each core]",
)
@click.option("--batch-size", type=click.IntRange(1), default=16, show_default=True)
@click.option(
    "--part-size",
    type=click.IntRange(1),
    metavar="N",
    help="Photos of a file of OUTPUT.  [default: up to 4,096; a shard is one]",
)
@click.option(
    "--limit", type=click.IntRange(1), metavar="N", help="Rehearse on the first N photos."
)
@click.option(
    "--sample",
    type=click.FloatRange(0, 1, min_open=True),
    metavar="FRACTION",
    help="Rehearse on photos from all over INPUT.",
)
@click.option("--price-per-core-hour", type=click.FloatRange(0), metavar="X", help="For the cost.")
@model_option
@decoding_options("beam", "diverse", "mbr")
def caption(input: Path | str, output: Path | str, **options: Any) -> None:
    """Caption the photos of INPUT into Parquet files in the folder OUTPUT.

    INPUT is a folder of photos (with its subfolders), WebDataset shards, or Parquet with a column
    of paths or of bytes; on disk, or at an address such as s3://bucket/photos. OUTPUT gets parts as
    they are finished, with the fields of showtell caption --format jsonl, and _summary.json.

    A job that was stopped or killed goes on when the same command is run again: finished parts
    stay, and each photo is there exactly once. A bad photo is a row with its error. --limit and
    --sample rehearse, in an OUTPUT of their own, and end with an estimate for the whole. Exit
    code 1: some photos failed.

    \b
    showtell cluster caption photos/ rehearsal/ --sample 0.01 --price-per-core-hour 0.04
    showtell cluster caption photos/ captions/
    showtell cluster caption s3://archive/shards s3://archive/captions --address auto
    """
    try:
        from showtell.cluster.job import caption_all
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in _EXTRA:
            raise
        raise MissingExtraError("showtell cluster", "cluster") from None
    from showtell.files.progress import progress_bar

    debug = (click.get_current_context().obj or {}).get("debug")
    quiet = contextlib.nullcontext() if debug else _native_silence()
    with quiet, progress_bar(description="captioning", unit="part") as bar:

        def report(done: int, total: int) -> None:
            bar.total, bar.n = total, done
            bar.refresh()

        try:
            summary = caption_all(
                input, output, _options(options | {"model": without_run(options["model"])}), report
            )
        except ValueError as error:
            raise click.UsageError(str(error)) from error
    for line in summary.lines():
        click.echo(line)
    if summary.failed:
        click.get_current_context().exit(FAILED)


@contextlib.contextmanager
def _native_silence() -> Iterator[None]:
    """Leave out what Ray's native code writes to standard error, past all of Python's settings.

    What Python writes there, progress and warnings, is written on.
    """
    if sys.stderr is not sys.__stderr__:  # somebody's own, as in a notebook
        yield
        return
    shown, kept = sys.stderr, os.dup(2)
    handlers = [
        handler
        for handler in logging.getLogger().handlers
        if isinstance(handler, logging.StreamHandler) and handler.stream is shown
    ]
    with os.fdopen(kept, "w", buffering=1, errors="backslashreplace") as own:
        sys.stderr = own
        for handler in handlers:
            handler.setStream(own)
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 2)
        os.close(nowhere)
        try:
            yield
        finally:
            own.flush()
            os.dup2(kept, 2)
            sys.stderr = shown
            for handler in handlers:
                handler.setStream(shown)


def _options(given: dict[str, Any]) -> JobOptions:
    from showtell.cluster.job import JobOptions
    from showtell.decoding.options import Decoding

    searching = {field.name for field in fields(Decoding)}
    return JobOptions(
        **{name: value for name, value in given.items() if name not in searching},
        decoding={name: value for name, value in given.items() if name in searching},
    )
