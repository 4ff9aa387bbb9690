"""`showtell data`: check, draw, download and pack captioned datasets."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from showtell.cli.address import ADDRESS
from showtell.cli.language_option import language_option
from showtell.data.dataset import SPLITS
from showtell.files.counts import count_of
from showtell.files.printable_names import printable

if TYPE_CHECKING:
    from showtell.data.check import DatasetReport
    from showtell.data.download.fetch import FetchPlan
    from showtell.data.readers.listing import DatasetFinding

FAILED = 1
_MAX_NOTES = 10  # notes of one kind that are printed


@click.group()
def data() -> None:
    """Check, draw, download and pack captioned datasets."""


@data.command(short_help="Report the content and faults of a dataset.")
@click.argument("directory", metavar="DIR", type=ADDRESS)
@click.option(
    "--workers", type=click.IntRange(1), help="Decoding threads.  [default: one per core]"
)
@language_option("Count words as in this language (BCP 47, such as de or zh).")
@click.pass_context
def check(
    ctx: click.Context, directory: Path | str, workers: int | None, language: str | None
) -> None:
    """Report the content of the dataset in DIR, and name each photo or line with a fault.

    DIR is a folder in a known layout, or one caption file: CSV or JSONL with image,caption[,split],
    COCO's captions_*.json or Karpathy's dataset_*.json. It can also be a folder of shards, or the
    address of one, such as s3://bucket/flickr8k; then the checksums are compared too. Exit code 1:
    something needs repair. Warnings and notes do not change the exit code.
    """
    if not _print_check(directory, workers, language):
        ctx.exit(FAILED)


@data.command(short_help="Draw a synthetic captioned dataset.")
@click.argument("directory", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--count", type=click.IntRange(1), required=True, help="Number of photos.")
@click.option(
    "--seed", type=int, default=0, show_default=True, help="The same seed draws the same dataset."
)
@click.option(
    "--size",
    type=click.IntRange(32),
    default=96,
    show_default=True,
    help="Width and height in pixels.",
)
@click.option(
    "--language",
    type=click.Choice(["en", "ja", "zh"]),
    default="en",
    show_default=True,
    help="Language of the captions.",
)
def shapes(directory: Path, count: int, seed: int, size: int, language: str) -> None:
    """Draw a synthetic dataset into DIR: "a small red circle above a blue square" and the like.

    A small captioner learns it in a minute or two. The scenes of dev and test are not in train.
    """
    from showtell.data.synthetic.shapes import draw_shapes

    dataset = draw_shapes(directory, count, seed, size, language)
    sizes = ", ".join(f"{split} {len(dataset.split(split)):,}" for split in SPLITS)
    click.echo(f"{count_of(len(dataset.photos), 'photo')} in {printable(str(directory))}: {sizes}")


@data.command(short_help="Pack a dataset into shards: a few large files.")
@click.argument("dataset", metavar="DATASET", type=ADDRESS)
@click.argument("output", metavar="OUTPUT", type=ADDRESS)
@click.option(
    "--photos-per-shard",
    type=click.IntRange(1),
    default=1000,
    show_default=True,
    help="The last shard of a split may have fewer.",
)
@click.option(
    "--split",
    "splits",
    type=click.Choice(SPLITS),
    multiple=True,
    help="Pack only this split; can be repeated.  [default: all photos]",
)
@click.option(
    "--workers", type=click.IntRange(1), help="Shards written at a time.  [default: one per core]"
)
def shards(
    dataset: Path | str,
    output: Path | str,
    photos_per_shard: int,
    splits: tuple[str, ...],
    workers: int | None,
) -> None:
    """Pack DATASET into shards in the folder OUTPUT, which can replace DATASET in training.

    Shards are WebDataset tar files (photos; captions and checksums as JSON) with an index. Photos
    are not changed. The same dataset gives the same bytes. To continue after an interruption, run
    the command again.
    """
    from showtell.data import open_dataset
    from showtell.data.shards.write import write_shards
    from showtell.files.progress import progress_bar

    if isinstance(output, str):
        raise click.UsageError(
            f"{output}: shards are written to a folder on disk: write them to one, then copy it"
        )
    captioned = open_dataset(dataset)
    total = sum(not splits or photo.split in splits for photo in captioned.photos)
    with progress_bar(total, description="packing") as bar:
        index = write_shards(
            captioned,
            output,
            photos_per_shard=photos_per_shard,
            splits=splits or None,
            workers=workers,
            progress=bar.update,
        )
    photos = sum(shard.photos for shard in index.shards)
    size = sum(shard.bytes for shard in index.shards)
    click.echo(
        f"{count_of(photos, 'photo')} in {count_of(len(index.shards), 'shard')},"
        f" {_gigabytes(size)}, in {printable(str(output))}"
    )


@data.command(short_help="Download Flickr8k, Flickr30k or COCO.")
@click.argument("name", metavar="flickr8k|flickr30k|coco")
@click.argument("directory", metavar="[DIR]", required=False, type=click.Path(path_type=Path))
@click.option("--yes", is_flag=True, help="Accept size and terms without a question.")
@click.option(
    "--from",
    "given",
    metavar="FILE|URL",
    multiple=True,
    help="An archive that you have, or an address that the authors sent you.",
)
@click.option("--mirror", metavar="URL", help="An address with the archives, which is tried first.")
@click.pass_context
def download(
    ctx: click.Context,
    name: str,
    directory: Path | None,
    yes: bool,
    given: tuple[str, ...],
    mirror: str | None,
) -> None:
    """Download a captioned dataset into DIR (by default a folder with its name) and check it.

    Prints size and terms first and asks for confirmation. Interrupted downloads resume, several
    addresses are tried, and a file that does not match its published hash is deleted. Exit code 1:
    something could not be downloaded or needs repair.
    """
    from showtell.data.download.fetch import FetchOptions, fetch_dataset, plan_fetch
    from showtell.data.download.sources import SOURCES

    if name not in SOURCES:
        raise click.UsageError(f"'{name}' is not one of {', '.join(SOURCES)}")
    plan = plan_fetch(SOURCES[name], directory or Path(name), given)
    if plan.todo:
        click.echo(_terms(plan), err=True)
        if not yes and not _agreed():
            click.echo("nothing downloaded: answer y, or use --yes", err=True)
            ctx.exit(FAILED)
        fetch_dataset(plan, FetchOptions(mirror=mirror))
    if not _print_check(plan.directory):
        ctx.exit(FAILED)


def _agreed() -> bool:
    try:
        return click.confirm("Download it?", err=True)
    except click.Abort:  # standard input is closed
        click.echo(err=True)
        return False


def _terms(plan: FetchPlan) -> str:
    """Return size, disk space and terms of a download as text."""
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


def _print_check(
    directory: Path | str, workers: int | None = None, language: str | None = None
) -> bool:
    """Check a dataset and print the report; return whether nothing needs repair."""
    from showtell.data.check import check_dataset

    report = check_dataset(directory, language=language, workers=workers, progress=True)
    click.echo(_summary(report))
    for line in _lines(report.findings):
        click.echo(line)
    errors = sum(finding.severity == "error" for finding in report.findings)
    click.echo(f"{errors:,} to repair" if errors else "nothing wrong")
    return not errors


def _summary(report: DatasetReport) -> str:
    from showtell.data.check import FREQUENT
    from showtell.language.languages import ENGLISH, language_of

    sizes = ", ".join(f"{split} {size:,}" for split, size in report.splits.items())
    drawn = " (assigned by a hash of the photo's name)" if report.splits_assigned else ""
    lines = [
        f"{report.layout} layout in {printable(str(report.root))}",
        f"{count_of(report.photos, 'photo')}, {count_of(report.captions, 'caption')}",
        f"splits: {sizes}{drawn}",
        f"photos without a split: {report.unsplit:,}",
    ]
    if report.lengths:
        lengths = report.lengths
        lines.append(
            f"words per caption: {lengths.shortest} to {lengths.longest},"
            f" median {lengths.median:g}, mean {lengths.mean:.1f}"
        )
    if report.language != ENGLISH.code:
        lines.append(f"language: {language_of(report.language).name} ({report.language})")
    lines.append(
        f"vocabulary: {count_of(report.words, 'word')}, {report.frequent_words:,} of them"
        f" at least {FREQUENT} times"
    )
    return "\n".join(lines)


def _lines(findings: Sequence[DatasetFinding]) -> Iterator[str]:
    """Yield a line per finding, but only for the first notes of each kind."""
    notes: Counter[str] = Counter()
    for finding in findings:
        if finding.severity == "note":
            notes[finding.kind] += 1
        if finding.severity != "note" or notes[finding.kind] <= _MAX_NOTES:
            yield _line(finding)
    for kind, count in notes.items():
        if count > _MAX_NOTES:
            yield f"note: {kind}: {count - _MAX_NOTES:,} more"


def _line(finding: DatasetFinding) -> str:
    prefix = "" if finding.severity == "error" else f"{finding.severity}: "
    return f"{prefix}{finding.kind}: {printable(finding.name)}: {printable(finding.detail)}"
