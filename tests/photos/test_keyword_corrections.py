"""Keywords that a person corrects in an exported file."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Literal

import pytest

from showtell import Captioner
from showtell.caption import Caption, Keyword
from showtell.cli.caption_output import header, line
from showtell.errors import CatalogueError, PhotoError
from showtell.photos.catalogue.database import Catalogue
from showtell.photos.catalogue.records import photo_records
from showtell.photos.catalogue.search import search_photos
from showtell.photos.corrections import (
    ExportFormat,
    ImportCounts,
    edit_caption,
    export_header,
    export_line,
    import_captions,
)
from support.photo_library import (
    check_errors,
    give_keywords,
    library,
    record_of,
    scan_fully,
    write_fully,
)

DOG, BEACH, BALL = Keyword("dog", 0.934567), Keyword("beach", 0.497), Keyword("ball", 0.2)


@pytest.fixture
def photo(tmp_path: Path, catalogue: Catalogue, captioner: Captioner) -> Path:
    """A scanned photo with three keywords by the model."""
    [path] = library(tmp_path / "lib", 1)
    scan_fully(catalogue, tmp_path / "lib", captioner)
    give_keywords(catalogue, path, dog=0.934567, beach=0.497, ball=0.2)
    return path


def export_to(catalogue: Catalogue, path: Path) -> Path:
    kind: ExportFormat = "csv" if path.suffix == ".csv" else "jsonl"
    lines = [export_line(record, kind) for record in photo_records(catalogue)]
    path.write_text(export_header(kind) + "".join(lines), "utf-8")
    return path


def import_file(
    catalogue: Catalogue, path: Path, errors: list[PhotoError] | None = None
) -> ImportCounts:
    reported: list[PhotoError] = []
    counts = import_captions(catalogue, path, report=reported.append)
    check_errors(reported, errors)
    return counts


def import_cell(catalogue: Catalogue, photo: Path, cell: object) -> ImportCounts:
    """Import a file with one value of `keywords`: a cell of CSV, or a value of JSONL."""
    caption = record_of(catalogue, photo).caption
    if isinstance(cell, str):
        path = photo.with_suffix(".csv")
        with path.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([["image", "caption", "keywords"], [photo, caption, cell]])
    else:
        path = photo.with_suffix(".jsonl")
        path.write_text(json.dumps({"image": str(photo), "caption": caption, "keywords": cell}))
    return import_file(catalogue, path)


def test_exports_carry_keywords_and_their_import_changes_nothing(
    tmp_path: Path, catalogue: Catalogue, photo: Path
) -> None:
    table = export_to(catalogue, tmp_path / "a.csv")
    with table.open(encoding="utf-8") as file:
        assert next(csv.DictReader(file))["keywords"] == "dog 0.93; beach 0.50; ball 0.20"
    lines = export_to(catalogue, tmp_path / "a.jsonl")
    assert json.loads(lines.read_text("utf-8"))["keywords"] == [
        {"word": "dog", "probability": 0.934567},
        {"word": "beach", "probability": 0.497},
        {"word": "ball", "probability": 0.2},
    ]
    for path in (table, lines):
        assert import_file(catalogue, path) == ImportCounts(unchanged=1)
    assert catalogue.row("SELECT * FROM keyword_edits") is None
    give_keywords(catalogue, photo, cat=0.7)  # as after --recaption with another model
    catalogue.execute("UPDATE captions SET created = '2020-01-01'")
    model = record_of(catalogue, photo).model
    with catalogue.transaction():
        catalogue.execute(
            "INSERT INTO captions SELECT picture_id, 'other', text, confidence, log_probability,"
            " '2019-01-01', '[[\"dog\", 0.9]]' FROM captions"
        )
    table.write_text(table.read_text("utf-8").replace(str(model), "other"))
    table.write_text(
        table.read_text("utf-8").replace("dog 0.93; beach 0.50; ball 0.20", "dog 0.90")
    )
    assert import_file(catalogue, table) == ImportCounts(unchanged=1)
    assert record_of(catalogue, photo).keywords == (Keyword("cat", 0.7),)


@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_import_of_a_file_of_showtell_caption_keeps_the_models_keywords(
    form: Literal["csv", "jsonl"], tmp_path: Path, catalogue: Catalogue, photo: Path
) -> None:
    record = record_of(catalogue, photo)
    for caption in (
        Caption(photo, record.caption, -1.0, keywords=record.keywords),
        Caption(photo, error=f"{photo}: damaged"),
    ):
        path = tmp_path / f"captions.{form}"
        path.write_text(header(form, keywords=True) + line(caption, form, keywords=True), "utf-8")
        import_file(catalogue, path)
        assert record_of(catalogue, photo) == record


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        ("dog 0.93; ball 0.20", (DOG, BALL)),
        ("dog 0.93; beach", (DOG, Keyword("beach", 1))),
        (" my bus 7 ;dog 0.93, DOG,, a ", (Keyword("my bus 7", 1), DOG, Keyword("a", 1))),
        ("dog 0.6", (Keyword("dog", 0.6),)),
        ("", ()),
        ([], ()),
        (["otter", {"word": "dog", "probability": 0.934567}], (Keyword("otter", 1), DOG)),
        ([{"word": "otter"}, "\0", " "], (Keyword("otter", 1),)),
    ],
)  # fmt: skip
def test_corrected_keywords_become_the_users_and_the_next_scan_keeps_them(
    cell: object,
    expected: tuple[Keyword, ...],
    catalogue: Catalogue,
    photo: Path,
    captioner: Captioner,
) -> None:
    assert import_cell(catalogue, photo, cell) == ImportCounts(unchanged=1, keywords_changed=1)
    assert record_of(catalogue, photo).keywords == expected
    scan_fully(catalogue, photo.parent, captioner, recaption=True)
    assert record_of(catalogue, photo).keywords == expected
    assert import_cell(catalogue, photo, cell) == ImportCounts(unchanged=1)
    edit_caption(catalogue, photo, None)
    assert record_of(catalogue, photo).keywords == (DOG, BEACH, BALL)


@pytest.mark.parametrize("cell", [None, "dog 0.93;  beach 0.50; ball 0.20"])
def test_missing_and_unchanged_keywords_change_nothing(
    cell: object, catalogue: Catalogue, photo: Path
) -> None:
    assert import_cell(catalogue, photo, cell) == ImportCounts(unchanged=1)
    assert record_of(catalogue, photo).keywords == (DOG, BEACH, BALL)


@pytest.mark.parametrize(
    "cell", [7, [7], {"word": "dog"}, [{"word": 1}], [{"word": "a", "probability": 2}], [["a", 1]]]
)
def test_keywords_of_another_form_are_refused_with_their_line(
    cell: object, catalogue: Catalogue, photo: Path
) -> None:
    with pytest.raises(CatalogueError, match=r"00000.jsonl:1: 'keywords' must be text, or a list"):
        import_cell(catalogue, photo, cell)


def test_different_keywords_for_copies_of_a_photo_are_refused(
    tmp_path: Path, catalogue: Catalogue, photo: Path, captioner: Captioner
) -> None:
    copy = photo.with_name("copy.jpg")
    copy.write_bytes(photo.read_bytes())
    scan_fully(catalogue, tmp_path / "lib", captioner)
    table = tmp_path / "lib" / "000" / "a.csv"
    table.write_text("image,caption,keywords\n00000.jpg,,otter\ncopy.jpg,,ice\n")
    errors: list[PhotoError] = []
    with pytest.raises(CatalogueError, match="nothing is imported: 1 row to correct"):
        import_captions(catalogue, table, report=errors.append)
    assert "a.csv:3: copy.jpg: line 2 has other new keywords for the same picture" in str(errors[0])
    table.write_text("image,caption,keywords\n00000.jpg,,otter\ncopy.jpg,,otter\n")
    assert import_file(catalogue, table) == ImportCounts(blank=2, keywords_changed=2)


def test_the_users_keywords_are_found_and_written(
    tmp_path: Path, catalogue: Catalogue, photo: Path
) -> None:
    import_cell(catalogue, photo, "Zwölf Otter; beach 0.50")
    assert [item.matches for item in search_photos(catalogue, "otter")] == [
        (Keyword("Zwölf Otter", 1),)
    ]
    write_fully(catalogue)
    sidecar = photo.with_name(photo.name + ".xmp").read_text("utf-8")
    assert "<rdf:Bag><rdf:li>Zwölf Otter</rdf:li></rdf:Bag>" in sidecar
