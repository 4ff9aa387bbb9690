"""`showtell cluster`: caption collections that are too large for one machine, on Ray."""

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
from showtell.cli.model_option import model_and_language_options, resolve_model
from showtell.errors import MissingExtraError

if TYPE_CHECKING:
    from showtell.cluster.job import JobOptions

FAILED = 1
_EXTRA_PACKAGES = ("ray", "pyarrow", "fsspec", "pandas")


@click.group()
def cluster() -> None:
    """Caption millions of photos on a Ray cluster or on all cores of this machine."""


@cluster.command(short_help="Caption a folder, shards or Parquet into Parquet.")
@click.argument("input", metavar="INPUT", type=ADDRESS)
@click.argument("output", metavar="OUTPUT", type=ADDRESS)
@click.option(
    "--kind",
    type=click.Choice(["folder", "shards", "parquet"]),
    help="The kind of INPUT.  [default: detected from its files]",
)
@click.option("--column", metavar="NAME", help="The column of paths or bytes in Parquet.")
@click.option(
    "--name-column", metavar="NAME", help="The column of names for photos in a column of bytes."
)
@click.option(
    "--root", type=ADDRESS, help="The folder of relative paths in Parquet.  [default: its own]"
)
@click.option(
    "--address",
    metavar="local|auto|ADDRESS",
    help="auto: the running Ray cluster.  [default: $RAY_ADDRESS, or this machine alone]",
)
@click.option(
    "--concurrency",
    type=click.IntRange(1),
    metavar="N",
    help="Workers, one core each.  [default: all cores]",
)
@click.option("--batch-size", type=click.IntRange(1), default=16, show_default=True)
@click.option(
    "--part-size",
    type=click.IntRange(1),
    metavar="N",
    help="Photos per file of OUTPUT.  [default: up to 4,096; a shard is one file]",
)
@click.option(
    "--limit", type=click.IntRange(1), metavar="N", help="Rehearse on the first N photos."
)
@click.option(
    "--sample",
    type=click.FloatRange(0, 1, min_open=True),
    metavar="FRACTION",
    help="Rehearse on this fraction of INPUT, spread evenly.",
)
@click.option(
    "--on-broken",
    type=click.Choice(["fail", "skip"]),
    default="fail",
    show_default=True,
    help="What to do with a subfolder of INPUT that cannot be listed: stop, or leave it out.",
)
@click.option("--price-per-core-hour", type=click.FloatRange(0), metavar="X", help="Show the cost.")
@model_and_language_options
@decoding_options("beam", "diverse", "mbr")
def caption(input: Path | str, output: Path | str, **options: Any) -> None:
    """Caption the photos of INPUT into Parquet files in the folder OUTPUT.

    INPUT is a folder of photos with its subfolders, WebDataset shards, or Parquet with a column of
    paths or bytes, on disk or at an address such as s3://bucket/photos. OUTPUT receives finished
    parts, .parquet files with the fields of showtell caption --format jsonl --keywords, and
    _summary.json. Its subfolder _job holds what is needed to resume.

    To resume a stopped or killed job, run the same command again: finished parts are kept, and
    each photo has exactly one row. A photo that fails has a row with its error. --limit and
    --sample rehearse the job in a separate OUTPUT and estimate the cost of the whole input. Exit
    code 1: some photos failed.

    \b
    showtell cluster caption photos/ rehearsal/ --sample 0.01 --price-per-core-hour 0.04
    showtell cluster caption photos/ captions/
    showtell cluster caption s3://archive/shards s3://archive/captions --address auto
    """
    try:
        from showtell.cluster.job import caption_all
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in _EXTRA_PACKAGES:
            raise
        raise MissingExtraError("showtell cluster", "cluster") from None
    from showtell.files.progress import progress_bar

    debug = (click.get_current_context().obj or {}).get("debug")
    silence = contextlib.nullcontext() if debug else _silence_native_code()
    with silence, progress_bar(description="captioning", unit=" photos") as bar:

        def report(done: int, total: int | None) -> None:
            bar.total, bar.n = total, done
            bar.refresh()

        try:
            summary = caption_all(input, output, _job_options(options), report)
        except ValueError as error:
            raise click.UsageError(str(error)) from error
    for line in summary.lines():
        click.echo(line)
    if summary.failed:
        click.get_current_context().exit(FAILED)


@contextlib.contextmanager
def _silence_native_code() -> Iterator[None]:
    """Discard what Ray's native code writes to standard error, which no setting turns off.

    Progress and warnings that Python writes there still appear.
    """
    if sys.stderr is not sys.__stderr__:  # replaced by a program such as a notebook
        yield
        return
    original, saved_descriptor = sys.stderr, os.dup(2)
    handlers = [
        handler
        for handler in logging.getLogger().handlers
        if isinstance(handler, logging.StreamHandler) and handler.stream is original
    ]
    with os.fdopen(saved_descriptor, "w", buffering=1, errors="backslashreplace") as stderr:
        sys.stderr = stderr
        for handler in handlers:
            handler.setStream(stderr)
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 2)
        os.close(null)
        try:
            yield
        finally:
            stderr.flush()
            os.dup2(saved_descriptor, 2)
            sys.stderr = original
            for handler in handlers:
                handler.setStream(original)


def _job_options(options: dict[str, Any]) -> JobOptions:
    from showtell.cluster.job import JobOptions
    from showtell.decoding.options import Decoding

    options |= {"model": resolve_model(options["model"])}
    decoding_names = {field.name for field in fields(Decoding)}
    return JobOptions(
        **{name: value for name, value in options.items() if name not in decoding_names},
        decoding={name: value for name, value in options.items() if name in decoding_names},
    )
