"""`showtell photos`: a photo library that is captioned, searched and kept."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from showtell.cli.photos_output import (
    Progress,
    ask,
    end_with,
    filters_of,
    loader,
    opened_catalogue,
    planned_line,
    quiet,
    scanned_line,
    show_found,
    show_plan,
    target_of,
)

TEXT_LIMIT, PAGE_LIMIT = 20, 200

_place = click.Path(exists=True, path_type=Path)
_catalogue = click.option(
    "--catalogue",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="[default: showtell/photos.sqlite in the platform's data folder]",
)
_model = click.option(
    "-m", "--model", help="A model's name, a bundle or a run.  [default: the shipped one]"
)
_output = click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write to FILE, whole or not at all.  [default: standard output]",
)
_confidence = click.option(
    "--min-confidence",
    type=click.FloatRange(0, 1),
    help="Leave out captions that the model is less sure of; a person's words are sure.",
)
_yes = click.option("-y", "--yes", is_flag=True, help="Do not ask.")


@click.group()
def photos() -> None:
    """Catalogue, search and tag a photo library.

    Scan it once, find photos by words, and let the words stay with the photos: in XMP sidecars,
    or in the photos themselves. All of it stays on this machine.

    \b
    showtell photos scan ~/Pictures
    showtell photos search dog running on a beach
    showtell photos write ~/Pictures
    """


@photos.command()
@click.argument(
    "folders",
    metavar="DIR...",
    nargs=-1,
    required=True,
    type=click.Path(exists=True, file_okay=False, path_type=Path),
)
@_catalogue
@_model
@click.option("--again", is_flag=True, help="Caption anew what another model has captioned.")
@click.option("--batch-size", type=click.IntRange(1), default=16, show_default=True)
@click.option("--threads", type=click.IntRange(1), help="[default: one for each core]")
def scan(
    folders: tuple[Path, ...],
    catalogue: Path | None,
    model: str | None,
    again: bool,
    batch_size: int,
    threads: int | None,
) -> None:
    """Caption the photos in DIR and all folders below, and enter them into the catalogue.

    Photos that have not changed are not opened again. Photos that were moved, copied or
    re-tagged are known again; those that are gone are marked, and found no more. A scan can be
    stopped at any moment: the next one goes on.

    \b
    showtell photos scan ~/Pictures
    showtell photos scan ~/Pictures /media/archive --catalogue archive.sqlite
    showtell photos scan ~/Pictures --model birds --again
    """
    from showtell.photos.scan import Scanned
    from showtell.photos.scan import scan as run

    quiet()
    counts = Scanned()
    with opened_catalogue(catalogue, create=True) as opened, Progress() as progress:
        for counts in run(
            opened,
            folders,
            captioner=loader(model, threads),
            again=again,
            batch_size=batch_size,
            report=progress.report,
        ):
            progress.show(counts.read, counts.to_read, f"{counts.found:,} photos found")
    click.echo(scanned_line(counts))
    end_with(progress.failures)


@photos.command(
    # so that -word is a word to leave out, whatever letters it has
    context_settings={"ignore_unknown_options": True, "help_option_names": ["--help"]}
)
@click.argument("query", metavar="[QUERY]...", nargs=-1, type=click.UNPROCESSED)
@click.option(
    "--like",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="PHOTO",
    help="Photos that look like PHOTO.",
)
@click.option("--any", "any_word", is_flag=True, help="One of the words is enough.")
@click.option(
    "--in",
    "folders",
    multiple=True,
    type=_place,
    metavar="DIR",
    help="Only photos in DIR and below; can be given several times.",
)
@click.option("--after", metavar="DATE", help="Taken on DATE or later: 2024, 2024-05, 2024-05-31.")
@click.option("--before", metavar="DATE", help="Taken before DATE.")
@_confidence
@click.option(
    "--limit",
    type=click.IntRange(1),
    metavar="N",
    help=f"[default: {TEXT_LIMIT} as text, {PAGE_LIMIT} as html, else all]",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "jsonl", "csv", "html"]),
    default="text",
    show_default=True,
    help="html: a page of thumbnails.",
)
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write to FILE, whole or not at all.  [default: standard output]",
)
@_catalogue
@click.option("--model", help="The model for --like, where PHOTO is not in the catalogue.")
def search(
    query: tuple[str, ...],
    like: Path | None,
    any_word: bool,
    folders: tuple[Path, ...],
    after: str | None,
    before: str | None,
    min_confidence: float | None,
    limit: int | None,
    form: str,
    output: Path | None,
    catalogue: Path | None,
    model: str | None,
) -> None:
    """Find photos by the words of their captions, best first.

    All words must be there, in any order and form (run finds running); run* finds what begins
    so, "on a beach" what stands together, and -word leaves out. Nothing found is no error.

    \b
    showtell photos search dog running on a beach
    showtell photos search 'child* -snow "red jacket"' --after 2023 --before 2024
    showtell photos search --like IMG_1234.jpg --limit 5
    showtell photos search dog --format html --output dogs.html
    """
    from showtell.photos.catalogue.search import like as find_like
    from showtell.photos.catalogue.search import search as find

    for word in query:
        if word.startswith("--") and len(word) > 2:
            raise click.UsageError(f"No such option: {word.split('=')[0]}")
    text = " ".join(query)
    if not text and like is None:
        raise click.UsageError("say what to look for: words, or --like PHOTO")
    if text and like is not None:
        raise click.UsageError("either words or --like PHOTO, not both")
    if form == "html" and output is None and sys.stdout.isatty():
        raise click.UsageError("--format html needs a file: --output page.html")
    if limit is None:
        limit = {"text": TEXT_LIMIT, "html": PAGE_LIMIT}.get(form)
    filters = filters_of(folders, after, before, min_confidence)
    quiet()
    with opened_catalogue(catalogue) as opened, target_of(output) as target:
        if like is not None:
            found = find_like(opened, like, filters, captioner=loader(model, None), limit=limit)
        else:
            found = find(opened, text, filters, any_word=any_word, limit=limit)
        title = text if like is None else f"like {like.name}"
        if show_found(found, form, title, target) == 0 and form == "text":
            hint = "" if any_word or len(query) < 2 else "; --any asks for one of the words only"
            click.echo(f"nothing found{hint}", err=True)


@photos.command()
@click.argument("places", metavar="[DIR]...", nargs=-1, type=_place)
@click.option(
    "--to",
    type=click.Choice(["sidecar", "embed"]),
    default="sidecar",
    show_default=True,
    help="embed: into JPEG, PNG and WebP, by exiftool.",
)
@click.option(
    "--fields",
    default="description,alt,iptc",
    show_default=True,
    help="Of description (dc:description), alt (AltTextAccessibility), iptc"
    " (Caption-Abstract, in JPEG only).",
)
@_confidence
@click.option("--overwrite", is_flag=True, help="Over words that a person wrote, too.")
@click.option("-n", "--dry-run", is_flag=True, help="Say what would be written, and write nothing.")
@_yes
@_catalogue
def write(
    places: tuple[Path, ...],
    to: str,
    fields: str,
    min_confidence: float | None,
    overwrite: bool,
    dry_run: bool,
    yes: bool,
    catalogue: Path | None,
) -> None:
    """Write captions where photographers' programs read them: beside the photos or into them.

    Of the whole catalogue, or of the photos in DIR. XMP sidecars by default, which leave photos
    alone; --to embed puts words into the photos themselves, whose pixels stay as they are, and
    gives sidecars to what cannot take them (HEIC, TIFF). Raw photos are never written to. Words
    that a person or another program wrote stay. showtell photos undo takes the last run back.

    \b
    showtell photos write --dry-run
    showtell photos write ~/Pictures/2024 --min-confidence 0.3
    showtell photos write ~/Pictures --to embed --fields description,alt
    """
    from showtell.photos.write import Written
    from showtell.photos.write import write as run
    from showtell.photos.write_plan import FIELDS, Writing, count, plan

    chosen = tuple(dict.fromkeys(name.strip() for name in fields.split(",") if name.strip()))
    if not chosen or set(chosen) - set(FIELDS):
        raise click.UsageError(f"--fields: of {', '.join(FIELDS)}, with commas between")
    filters = filters_of(places, None, None, min_confidence)
    writing = Writing(to, chosen, overwrite, filters)  # type: ignore[arg-type]
    with opened_catalogue(catalogue) as opened:
        if dry_run:
            end_with(show_plan(opened, writing))
            return
        planned = count(plan(opened, writing))
        click.echo(planned_line(planned), err=True)
        ask(yes or not planned["sidecar"] + planned["embed"])
        total, counts = sum(planned.values()), Written()
        with Progress() as progress:
            for counts in run(opened, writing, report=progress.report):
                progress.show(counts.looked_at, total)
    click.echo(
        f"{counts.sidecars:,} sidecars written, {counts.embedded:,} photos with words embedded,"
        f" {counts.same:,} had them, {counts.person:,} kept a person's, {counts.failed:,} failed,"
        f" in {counts.seconds:.1f} s"
    )
    end_with(progress.failures)


@photos.command()
@_yes
@click.option("-n", "--dry-run", is_flag=True, help="Say what would be undone, and undo nothing.")
@_catalogue
def undo(yes: bool, dry_run: bool, catalogue: Path | None) -> None:
    """Bring the last run of showtell photos write back, byte by byte.

    Sidecars that it made go, files that it changed are as they were. A file that was changed
    since is left alone and named. Once more takes the run before back.

    \b
    showtell photos undo --dry-run
    showtell photos undo
    """
    from showtell.photos.undo import Undone, last_run
    from showtell.photos.undo import undo as run

    with opened_catalogue(catalogue) as opened:
        last = last_run(opened)
        if last is not None:
            click.echo(f"The run of {last.began} wrote {last.files:,} files.", err=True)
            if dry_run:
                return
            ask(yes)
        counts = Undone()
        with Progress() as progress:
            for counts in run(opened, report=progress.report):
                progress.show(counts.restored + counts.kept, last.files if last else 0)
    click.echo(
        f"{counts.restored:,} files brought back, {counts.kept:,} left alone,"
        f" in {counts.seconds:.1f} s"
    )
    end_with(counts.kept)


@photos.command()
@click.argument("photo", metavar="PHOTO", type=click.Path(path_type=Path))
@click.argument("words", metavar="[WORDS]...", nargs=-1)
@click.option("--clear", is_flag=True, help="Take your words back; the model's hold again.")
@_catalogue
def edit(photo: Path, words: tuple[str, ...], clear: bool, catalogue: Path | None) -> None:
    """Give PHOTO your own WORDS, which hold over any model's.

    They are in the catalogue at once; showtell photos write puts them beside or into the photo.
    Without WORDS an editor opens ($EDITOR).

    \b
    showtell photos edit otters.jpg "Two otters on the ice of the Neva"
    showtell photos edit otters.jpg --clear
    """
    from showtell.photos import corrections

    if clear and words:
        raise click.UsageError("either WORDS or --clear, not both")
    with opened_catalogue(catalogue) as opened:
        text = None if clear else " ".join(words)
        if text == "":
            if not sys.stdin.isatty():
                raise click.UsageError("no WORDS, and no terminal for an editor")
            text = click.edit(corrections.words_of(opened, photo))
            if text is None:
                click.echo("nothing changed", err=True)
                return
        corrections.edit(opened, photo, text)
        click.echo(corrections.words_of(opened, photo))


@photos.command()
@click.argument("places", metavar="[DIR]...", nargs=-1, type=_place)
@click.option(
    "--format", "form", type=click.Choice(["csv", "jsonl"]), default="csv", show_default=True
)
@click.option("--source", type=click.Choice(["person", "model"]), help="Only whose words.")
@_confidence
@_output
@_catalogue
def export(
    places: tuple[Path, ...],
    form: str,
    source: str | None,
    min_confidence: float | None,
    output: Path | None,
    catalogue: Path | None,
) -> None:
    """Export photos and their words: to correct them, or to train on them.

    Of the whole catalogue, or of the photos in DIR.

    \b
    showtell photos export --output words.csv
    showtell photos export ~/Pictures --source person --output corrected.csv
    showtell data check corrected.csv
    """
    from showtell.photos import corrections
    from showtell.photos.catalogue.search import records

    filters = filters_of(places, None, None, min_confidence)
    with opened_catalogue(catalogue) as opened, target_of(output) as target:
        target.write(corrections.header(form))  # type: ignore[arg-type]
        for record in records(opened, filters):
            if source in (None, record.source):
                target.write(corrections.line(record, form))  # type: ignore[arg-type]


@photos.command("import")
@click.argument(
    "file", metavar="FILE", type=click.Path(exists=True, dir_okay=False, path_type=Path)
)
@_catalogue
def import_(file: Path, catalogue: Path | None) -> None:
    """Take over corrected words from FILE, a CSV or JSONL that was exported.

    Rows whose caption is another than the catalogue's become your words; the others change
    nothing. All rows are taken over, or none where the file is broken.

    \b
    showtell photos export --output words.csv
    showtell photos import words.csv
    """
    from showtell.photos.corrections import import_words

    with opened_catalogue(catalogue) as opened, Progress() as progress:
        counts = import_words(opened, file, report=progress.report)
    click.echo(
        f"{counts.changed:,} captions corrected, {counts.same:,} the same as before,"
        f" {counts.blank:,} blank, {counts.failed:,} of photos that are not known"
    )
    end_with(progress.failures)
