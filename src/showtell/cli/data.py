"""`showtell data`: look through a captioned dataset, draw or fetch one, pack it into shards."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from showtell.cli.address import ADDRESS
from showtell.data.dataset import SPLITS
from showtell.files.printable_names import printable

if TYPE_CHECKING:
    from showtell.data.check import DatasetReport
    from showtell.data.download.fetch import FetchPlan
    from showtell.data.readers.listing import DatasetFinding

FAILED = 1
_NOTES = 10  # of one kind that are named


@click.group()
def data() -> None:
    """Check, draw, download and pack captioned datasets."""


@data.command(short_help="Say what a dataset holds and what is wrong with it.")
@click.argument("directory", metavar="DIR", type=ADDRESS)
@click.option("--workers", type=click.IntRange(1), help="Decoding threads.  [default: one a core]")
@click.pass_context
def check(ctx: click.Context, directory: Path | str, workers: int | None) -> None:
    """Say what the dataset in DIR holds, and name each photo that has something wrong.

    DIR is a folder of a known layout, or one caption file: CSV or JSONL of image,caption[,split],
    COCO's captions_*.json, Karpathy's dataset_*.json. Or shards, also at an address such as
    s3://bucket/flickr8k: each one's checksum is compared.
    Exit code 1 where something needs repair; warnings and notes leave it 0.
    """
    if not _print_check(directory, workers):
        ctx.exit(FAILED)


@data.command(short_help="Draw a synthetic captioned set.")
@click.argument("directory", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--count", type=click.IntRange(1), required=True, help="Number of photos.")
@click.option("--seed", type=int, default=0, show_default=True, help="The same draws the same.")
@click.option(
    "--size", type=click.IntRange(32), default=96, show_default=True, help="Pixels a side."
)
def shapes(directory: Path, count: int, seed: int, size: int) -> None:
    """Draw a synthetic captioned set into DIR: "a small red circle above a blue square".

    A small captioner learns it in a minute or two; dev and test hold scenes that train does not.
    """
    from showtell.data.synthetic.shapes import draw_shapes

    dataset = draw_shapes(directory, count, seed, size)
    sizes = ", ".join(f"{split} {len(dataset.split(split)):,}" for split in SPLITS)
    click.echo(f"{len(dataset.photos):,} photos in {printable(str(directory))}: {sizes}")


@data.command(short_help="Pack a dataset into shards: a few large files.")
@click.argument("dataset", metavar="DATASET", type=ADDRESS)
@click.argument("output", metavar="OUTPUT", type=ADDRESS)
@click.option(
    "--photos-per-shard",
    type=click.IntRange(1),
    default=1000,
    show_default=True,
    help="The last of a split holds fewer.",
)
@click.option(
    "--split",
    "splits",
    type=click.Choice(SPLITS),
    multiple=True,
    help="Only this one; may be given again.  [default: all photos]",
)
@click.option("--workers", type=click.IntRange(1), help="Shards at a time.  [default: one a core]")
def shards(
    dataset: Path | str,
    output: Path | str,
    photos_per_shard: int,
    splits: tuple[str, ...],
    workers: int | None,
) -> None:
    """Pack DATASET into shards in the folder OUTPUT, which training reads as it reads DATASET.

    Shards are WebDataset tar files (photo, captions as JSON, checksum) beside an index; photos are
    packed as they are. The same dataset gives the same bytes. What was broken off goes on where it
    stopped when the command is run again.
    """
    from showtell.data import open_dataset
    from showtell.data.shards.write import write_shards
    from showtell.files.progress import progress_bar

    if isinstance(output, str):
        raise click.UsageError(
            f"{output}: shards are written to a folder on disk: copy that there afterwards"
        )
    opened = open_dataset(dataset)
    wanted = sum(not splits or photo.split in splits for photo in opened.photos)
    with progress_bar(wanted, description="packing") as bar:
        index = write_shards(
            opened,
            output,
            photos_per_shard=photos_per_shard,
            splits=splits or None,
            workers=workers,
            progress=bar.update,
        )
    photos = sum(shard.photos for shard in index.shards)
    size = sum(shard.bytes for shard in index.shards)
    click.echo(
        f"{photos:,} photos in {len(index.shards):,} shards, {_gigabytes(size)},"
        f" in {printable(str(output))}"
    )


@data.command(short_help="Fetch Flickr8k, Flickr30k or COCO.")
@click.argument("name", metavar="flickr8k|flickr30k|coco")
@click.argument("directory", metavar="[DIR]", required=False, type=click.Path(path_type=Path))
@click.option("--yes", is_flag=True, help="Do not ask: size and terms are agreed to.")
@click.option(
    "--from",
    "given",
    metavar="FILE|URL",
    multiple=True,
    help="An archive that you have, or the address that you were sent for it.",
)
@click.option("--mirror", metavar="URL", help="Where the archives lie too: asked first.")
@click.pass_context
def download(
    ctx: click.Context,
    name: str,
    directory: Path | None,
    yes: bool,
    given: tuple[str, ...],
    mirror: str | None,
) -> None:
    """Fetch a captioned dataset into DIR (by default a folder of its name) and check it.

    Says size and terms first, and asks. What broke off goes on where it stopped; bytes that are
    not those of a published hash are not kept; several addresses are tried. Exit code 1 where
    something could not be fetched or needs repair.
    """
    from showtell.data.download.fetch import FetchOptions, fetch_dataset, plan_fetch
    from showtell.data.download.sources import SOURCES

    if name not in SOURCES:
        raise click.UsageError(f"'{name}' is none of {', '.join(SOURCES)}")
    plan = plan_fetch(SOURCES[name], directory or Path(name), given)
    if plan.todo:
        click.echo(_terms(plan), err=True)
        if not yes and not _agreed():
            click.echo("nothing fetched: answer y, or give --yes", err=True)
            ctx.exit(FAILED)
        fetch_dataset(plan, FetchOptions(mirror=mirror))
    if not _print_check(plan.directory, None):
        ctx.exit(FAILED)


def _agreed() -> bool:
    try:
        return click.confirm("Fetch it?", err=True)
    except click.Abort:  # nobody there to ask
        click.echo(err=True)
        return False


def _terms(plan: FetchPlan) -> str:
    """Return what a person should know before a dataset is fetched."""
    source = plan.source
    names = ", ".join(archive.name for archive in plan.todo)
    return "\n".join(
        [
            f"{source.title}: {source.contents}",
            f"  paper: {source.paper}",
            f"  fetch: {names}: about {_gigabytes(plan.download_bytes())}",
            f"  disk:  about {_gigabytes(plan.final_bytes())}, while unpacking"
            f" {_gigabytes(plan.peak_bytes())}, in {printable(str(plan.directory.absolute()))}",
            f"  terms: {source.terms}",
        ]
    )


def _gigabytes(size: int) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e8 else f"{size / 1e6:.0f} MB"


def _print_check(directory: Path | str, workers: int | None) -> bool:
    """Check a dataset and print what was found; say whether nothing needs repair."""
    from showtell.data.check import check_dataset

    report = check_dataset(directory, workers=workers, progress=True)
    click.echo(_summary(report))
    for line in _lines(report.findings):
        click.echo(line)
    errors = sum(finding.severity == "error" for finding in report.findings)
    click.echo(f"{errors:,} to repair" if errors else "nothing wrong")
    return not errors


def _summary(report: DatasetReport) -> str:
    from showtell.data.check import FREQUENT

    sizes = ", ".join(f"{split} {size:,}" for split, size in report.splits.items())
    drawn = " (drawn by hash of the photo's name)" if report.split_drawn else ""
    lines = [
        f"{report.layout} layout in {printable(str(report.root))}",
        f"{report.photos:,} photos, {report.captions:,} captions",
        f"splits: {sizes}{drawn}",
        f"photos of no split: {report.unsplit:,}",
    ]
    if report.lengths:
        lengths = report.lengths
        lines.append(
            f"words a caption: {lengths.shortest} to {lengths.longest},"
            f" median {lengths.median:g}, mean {lengths.mean:.1f}"
        )
    lines.append(
        f"vocabulary: {report.words:,} words, {report.frequent_words:,} of them"
        f" at least {FREQUENT} times"
    )
    return "\n".join(lines)


def _lines(findings: Sequence[DatasetFinding]) -> Iterator[str]:
    """Yield a line for each finding; of notes of one kind, which ask for nothing, the first few."""
    notes: Counter[str] = Counter()
    for finding in findings:
        if finding.severity == "note":
            notes[finding.kind] += 1
        if finding.severity != "note" or notes[finding.kind] <= _NOTES:
            yield _line(finding)
    for kind, count in notes.items():
        if count > _NOTES:
            yield f"note: {kind}: {count - _NOTES:,} more"


def _line(finding: DatasetFinding) -> str:
    mark = "" if finding.severity == "error" else f"{finding.severity}: "
    return f"{mark}{finding.kind}: {printable(finding.name)}: {printable(finding.detail)}"
