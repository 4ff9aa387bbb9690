from __future__ import annotations

import csv
import json
import os
from pathlib import Path

import pytest
from PIL import Image

from showtell import Captioner
from showtell.data import open_dataset
from showtell.errors import CatalogueError, PhotoError
from showtell.photos import corrections
from showtell.photos.catalogue.database import Catalogue
from showtell.photos.catalogue.records import photo_records
from showtell.photos.catalogue.search import search_photos
from support.photo_library import library, photo, record_of, scan_fully
from support.tiny_bundles import write_bundle


def export_all(catalogue: Catalogue, path: Path) -> Path:
    output_format = path.suffix[1:]
    lines = [corrections.export_line(record, output_format) for record in photo_records(catalogue)]  # type: ignore[arg-type]
    path.write_text(corrections.export_header(output_format) + "".join(lines), "utf-8")  # type: ignore[arg-type]
    return path


@pytest.fixture
def lib(tmp_path: Path, catalogue: Catalogue, captioner: Captioner) -> list[Path]:
    photos = library(tmp_path / "lib", 6)
    photos.append(photo(tmp_path / "lib" / '=cmd,"x" \n.jpg', 7))
    photos.append(photo(Path(os.fsdecode(os.fsencode(tmp_path / "lib") + b"/\xff.jpg")), 8))
    scan_fully(catalogue, tmp_path / "lib", captioner)
    return photos


def test_users_caption_replaces_the_models_is_searchable_and_can_be_removed(
    catalogue: Catalogue, lib: list[Path], tmp_path: Path, captioner: Captioner
) -> None:
    before = record_of(catalogue, lib[0])
    corrections.edit_caption(catalogue, lib[0], "  Two otters\r\non the ice\0 ")
    record = record_of(catalogue, lib[0])
    assert (record.caption, record.source, record.confidence, record.model) == (
        "Two otters\non the ice",
        "person",
        None,
        None,
    )
    assert [item.path for item in search_photos(catalogue, "otter")] == [lib[0]]
    scan_fully(catalogue, tmp_path / "lib", captioner, recaption=True)
    assert record_of(catalogue, lib[0]) == record
    corrections.edit_caption(catalogue, lib[0], None)
    assert record_of(catalogue, lib[0]) == before
    assert list(search_photos(catalogue, "otter")) == []


def test_uncatalogued_photos_and_blank_captions_are_rejected(
    catalogue: Catalogue, lib: list[Path], tmp_path: Path
) -> None:
    with pytest.raises(CatalogueError, match="not in the catalogue"):
        corrections.edit_caption(catalogue, photo(tmp_path / "new.jpg", 1), "words")
    with pytest.raises(PhotoError, match="--clear"):
        corrections.edit_caption(catalogue, lib[0], " \n ")


@pytest.mark.parametrize("output_format", ["csv", "jsonl"])
def test_export_imports_unchanged_and_corrections_are_applied(
    catalogue: Catalogue, lib: list[Path], tmp_path: Path, output_format: str
) -> None:
    path = export_all(catalogue, tmp_path / f"captions.{output_format}")
    counts = corrections.import_captions(catalogue, path, report=pytest.fail)
    assert (counts.unchanged, counts.changed) == (len(lib), 0)
    old = record_of(catalogue, lib[2]).caption
    other = record_of(catalogue, lib[-1]).caption
    assert old != other
    text = path.read_text("utf-8")
    for before, after in ((old, "Zwei Otter, „auf Eis“"), (other, "stray bytes")):
        quoted = json.dumps(after)[1:-1] if output_format == "jsonl" else f'"{after}"'
        text = text.replace(str(before), quoted)
    path.write_text(text, "utf-8-sig")
    counts = corrections.import_captions(catalogue, path, report=pytest.fail)
    assert counts.changed >= 2
    assert record_of(catalogue, lib[2]).caption == "Zwei Otter, „auf Eis“"
    assert record_of(catalogue, lib[-1]).caption == "stray bytes"
    assert record_of(catalogue, lib[-1]).source == "person"


@pytest.mark.parametrize("output_format", ["csv", "jsonl"])
def test_export_can_be_opened_as_a_dataset(
    catalogue: Catalogue, lib: list[Path], tmp_path: Path, output_format: str
) -> None:
    lib[-1].unlink()  # CSV cannot store its name, which is not UTF-8
    lib[-2].unlink()  # and a caption file cannot store a path with line breaks
    names = {os.fspath(path) for path in lib[:-2]}
    target = tmp_path / f"captions.{output_format}"
    lines = [
        corrections.export_line(item, output_format)
        for item in photo_records(catalogue)  # type: ignore[arg-type]
        if os.fspath(item.path) in names
    ]
    target.write_text(corrections.export_header(output_format) + "".join(lines), "utf-8")  # type: ignore[arg-type]
    dataset = open_dataset(target)
    assert {os.fspath(item.path) for item in dataset.photos} == names
    for item in dataset.photos:
        assert item.captions == (record_of(catalogue, Path(item.path)).caption,)


def test_csv_export_escapes_formulas_and_keeps_numbers(
    catalogue: Catalogue, lib: list[Path]
) -> None:
    corrections.edit_caption(catalogue, lib[0], "=1+1")
    with catalogue.transaction():
        catalogue.execute("UPDATE pictures SET latitude = -33.5")
    cells = next(csv.reader([corrections.export_line(record_of(catalogue, lib[0]), "csv")]))
    row = dict(zip(corrections.EXPORT_COLUMNS, cells, strict=True))
    assert (row["caption"], row["latitude"]) == ("'=1+1", "-33.5")


def test_import_reads_semicolons_and_relative_paths(
    catalogue: Catalogue, lib: list[Path], tmp_path: Path
) -> None:
    table = tmp_path / "lib" / "mine.csv"
    table.write_text("Image;Caption\r\n000/00000.jpg;two otters\r\n000/00001.jpg;\r\n")
    counts = corrections.import_captions(catalogue, table, report=pytest.fail)
    assert (counts.changed, counts.blank) == (1, 1)


def test_import_with_a_photo_that_is_not_in_the_catalogue_changes_nothing_and_names_it(
    catalogue: Catalogue, lib: list[Path], tmp_path: Path
) -> None:
    table = tmp_path / "lib" / "mine.csv"
    table.write_text("image,caption\n000/00000.jpg,two otters\nno.jpg,x\n000/00001.jpg,ice\n")
    errors: list[PhotoError] = []
    with pytest.raises(CatalogueError, match="nothing is imported: 1 photo not in the catalogue"):
        corrections.import_captions(catalogue, table, report=errors.append)
    assert [str(error) for error in errors] == [
        f"{table}:3: no.jpg: not in the catalogue: scan its folder first"
    ]
    assert catalogue.value("SELECT count(*) FROM edits") == 0


def test_import_reads_json_lines_of_both_suffixes(
    catalogue: Catalogue, lib: list[Path], tmp_path: Path
) -> None:
    for name in ("a.jsonl", "a.NDJSON"):
        row = json.dumps({"image": str(lib[0]), "caption": f"otters of {name}"})
        (tmp_path / name).write_text(row)
        corrections.import_captions(catalogue, tmp_path / name, report=pytest.fail)
        assert record_of(catalogue, lib[0]).caption == f"otters of {name}"


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("a.csv", "picture,words\na,b\n", "must name the columns image and caption"),
        ("a.csv", 'image,caption\na.jpg,"open\n', "broken CSV"),
        ("a.csv", "image,caption\na.jpg,b,c\n", "3 fields for 2 columns"),
        ("a.jsonl", "{oops", "not JSON"),
        ("a.jsonl", "[1]", "not an object"),
        ("a.jsonl", '{"image": 3, "caption": "x"}', "'image' is missing or not text"),
        ("a.jsonl", '{"image": "a.jpg"}', "'caption' is missing or not text"),
    ],
)
def test_invalid_import_changes_nothing_and_names_the_line(
    catalogue: Catalogue, lib: list[Path], tmp_path: Path, name: str, text: str, reason: str
) -> None:
    good = {"csv": f"image,caption\n{lib[0]},words\n", "jsonl": ""}[name.split(".")[1]]
    if good and text.startswith("image"):
        text = good + text.partition("\n")[2]
    else:
        row = json.dumps({"image": str(lib[0]), "caption": "words"})
        text = text if name.endswith("csv") else f"{row}\n{text}"
    if '"a.jpg"}' in text:
        text = text.replace("a.jpg", str(lib[1]))
    (tmp_path / name).write_text(text)
    with pytest.raises(CatalogueError, match=reason):
        corrections.import_captions(catalogue, tmp_path / name, report=lambda _: None)
    assert catalogue.value("SELECT count(*) FROM edits") == 0


def test_import_reports_names_that_cannot_be_paths(
    catalogue: Catalogue, lib: list[Path], tmp_path: Path
) -> None:
    rows = [{"image": name, "caption": "x"} for name in ("\ud800", "a\0b", "", "'")]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, rows)))
    errors: list[PhotoError] = []
    with pytest.raises(CatalogueError, match="4 photos not in the catalogue"):
        corrections.import_captions(catalogue, tmp_path / "a.jsonl", report=errors.append)
    assert len(errors) == 4
    assert all("\n" not in str(error) for error in errors)


def rows_of(table: Path) -> list[dict[str, str]]:
    with table.open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


def save_rows(table: Path, rows: list[dict[str, str]]) -> Path:
    with table.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return table


@pytest.fixture
def copies(tmp_path: Path, catalogue: Catalogue, captioner: Captioner) -> list[Path]:
    """Two files with the same picture, and a third with another."""
    seeds = {"a.jpg": 1, "b.jpg": 1, "c.jpg": 2}
    photos = [photo(tmp_path / "copies" / name, seed) for name, seed in seeds.items()]
    scan_fully(catalogue, tmp_path / "copies", captioner)
    return photos


@pytest.mark.parametrize("corrected", [0, 1])
def test_a_correction_of_one_copy_is_kept_beside_the_unchanged_row_of_the_other(
    catalogue: Catalogue, copies: list[Path], tmp_path: Path, corrected: int
) -> None:
    table = export_all(catalogue, tmp_path / "captions.csv")
    rows = rows_of(table)
    rows[corrected]["caption"] = "two otters"
    save_rows(table, rows)
    counts = corrections.import_captions(catalogue, table, report=pytest.fail)
    assert (counts.changed, counts.unchanged) == (1, 2)
    captions = [record_of(catalogue, path).caption for path in copies]
    assert captions == ["two otters", "two otters", rows[2]["caption"]]
    assert record_of(catalogue, copies[2]).source == "model"


def test_two_new_captions_for_one_picture_import_nothing_and_name_both_lines(
    catalogue: Catalogue, copies: list[Path], tmp_path: Path
) -> None:
    table = export_all(catalogue, tmp_path / "captions.csv")
    rows = rows_of(table)
    for row, caption in zip(rows, ("two otters", "three otters", "ice"), strict=True):
        row["caption"] = caption
    save_rows(table, rows)
    errors: list[PhotoError] = []
    with pytest.raises(CatalogueError, match="nothing is imported: 1 row to correct"):
        corrections.import_captions(catalogue, table, report=errors.append)
    assert [str(error) for error in errors] == [
        f"{table}:3: {copies[1]}: line 2 has another new caption for the same picture:"
        " give both the same caption"
    ]
    assert catalogue.value("SELECT count(*) FROM edits") == 0
    rows[1]["caption"] = "two otters"
    counts = corrections.import_captions(catalogue, save_rows(table, rows), report=pytest.fail)
    assert (counts.changed, catalogue.value("SELECT count(*) FROM edits")) == (3, 2)


def test_rows_exported_before_another_model_or_an_edit_change_nothing(
    catalogue: Catalogue, copies: list[Path], tmp_path: Path, captioner: Captioner
) -> None:
    table = export_all(catalogue, tmp_path / "captions.csv")
    other = write_bundle(tmp_path / "other", seed=9, name="other").path
    scan_fully(catalogue, copies[0].parent, Captioner.load(other), recaption=True)
    corrections.edit_caption(catalogue, copies[2], "ice")
    before = list(photo_records(catalogue))
    assert before[0].caption != rows_of(table)[0]["caption"]
    counts = corrections.import_captions(catalogue, table, report=pytest.fail)
    assert (counts.changed, counts.unchanged) == (0, 3)
    assert list(photo_records(catalogue)) == before


def refused(catalogue: Catalogue, table: Path) -> list[str]:
    """Return what an import that changes nothing reports, without the file's name."""
    before, errors = list(photo_records(catalogue)), list[PhotoError]()
    with pytest.raises(CatalogueError, match="nothing is imported"):
        corrections.import_captions(catalogue, table, report=errors.append)
    assert list(photo_records(catalogue)) == before
    return [str(error).removeprefix(f"{table}:") for error in errors]


@pytest.mark.parametrize("encoding", ["cp1252", "mac_roman"])
def test_letters_that_a_spreadsheet_has_misread_are_refused_with_their_line(
    catalogue: Catalogue, tmp_path: Path, captioner: Captioner, encoding: str
) -> None:
    photos = [photo(tmp_path / name, seed) for seed, name in enumerate(("Bär.jpg", "b.jpg"))]
    scan_fully(catalogue, tmp_path, captioner)
    corrections.edit_caption(catalogue, photos[1], "Bär am Spieß")
    table = export_all(catalogue, tmp_path / "captions.csv")
    right = table.read_text("utf-8")
    counts = corrections.import_captions(catalogue, table, report=pytest.fail)
    assert counts.unchanged == 2
    table.write_text(right.encode().decode(encoding), "utf-8-sig")
    errors = refused(catalogue, table)
    assert ["a program has damaged letters" in error for error in errors] == [True, True]
    assert "in the path: export again" in errors[0] + errors[1]
    assert "in the caption: if it is right, use showtell photos edit" in errors[0] + errors[1]
    table.write_bytes(right.encode("ascii", "replace"))
    assert len(refused(catalogue, table)) == 2


def test_a_row_whose_path_and_hash_are_of_different_pictures_is_refused(
    catalogue: Catalogue, copies: list[Path], tmp_path: Path
) -> None:
    table = export_all(catalogue, tmp_path / "captions.csv")
    rows = rows_of(table)
    rows[0]["hash"], rows[2]["hash"] = rows[2]["hash"], rows[0]["hash"]
    errors = refused(catalogue, save_rows(table, rows))
    assert [error.split(": ")[:3] for error in errors] == [
        [str(line), str(copies[line - 2]), "the hash is another picture's"] for line in (2, 4)
    ]
    for row in rows:
        row["hash"] = ""
    rows[2]["caption"] = "ice"
    counts = corrections.import_captions(catalogue, save_rows(table, rows), report=pytest.fail)
    assert (counts.changed, record_of(catalogue, copies[2]).caption) == (1, "ice")


def test_a_photo_that_was_moved_since_the_export_is_found_by_its_hash(
    catalogue: Catalogue, copies: list[Path], tmp_path: Path, captioner: Captioner
) -> None:
    table = export_all(catalogue, tmp_path / "captions.csv")
    rows = rows_of(table)
    rows[2]["caption"] = "ice"
    save_rows(table, rows)
    copies[2].rename(copies[2].with_name("otters.jpg"))
    scan_fully(catalogue, copies[2].parent, captioner)
    assert corrections.import_captions(catalogue, table, report=pytest.fail).changed == 1
    photo(copies[2], 9)  # another photo took its path, and is not scanned yet
    assert refused(catalogue, table)[0].endswith("not in the catalogue: scan its folder first")


ODD_CAPTIONS = [
    *(f"{quotes}{start}1" for quotes in ("", "'", "''") for start in "=+-@"),
    "- a dog\n- a cat",
    "'tis a dog",
    "''quoted''",
    "'",
    'she said "no", twice; a,b\tc',
    '"',
    "\ufeffa byte order mark",
    "one\n\ntwo",
    "one\u2028two",
    "sep=;",
    "NULL",
]


@pytest.mark.parametrize("output_format", ["csv", "jsonl"])
@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_import_of_an_export_changes_no_caption(
    catalogue: Catalogue,
    tmp_path: Path,
    captioner: Captioner,
    output_format: str,
    line_end: str,
    separator: str,
) -> None:
    photos = library(tmp_path / "lib", len(ODD_CAPTIONS))
    scan_fully(catalogue, tmp_path / "lib", captioner)
    for path, text in zip(photos, ODD_CAPTIONS, strict=True):
        corrections.edit_caption(catalogue, path, text)
    before = list(photo_records(catalogue))
    source = export_all(catalogue, tmp_path / f"captions.{output_format}")
    if output_format == "csv":  # as a spreadsheet saves it
        rows = list(csv.reader(source.open(encoding="utf-8", newline="")))
        with source.open("w", encoding="utf-8-sig", newline="") as file:
            csv.writer(file, delimiter=separator, lineterminator=line_end).writerows(rows)
    counts = corrections.import_captions(catalogue, source, report=pytest.fail)
    assert (counts.unchanged, counts.changed) == (len(photos), 0)
    assert list(photo_records(catalogue)) == before


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("quote", ["", '"'])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_import_reads_the_line_that_tells_excel_the_separator(
    catalogue: Catalogue, lib: list[Path], separator: str, quote: str, encoding: str
) -> None:
    table = lib[0].parent / "mine.csv"
    lines = [
        f"{quote}sep={separator}{quote}",
        separator.join(["image", "caption", "source"]),
        separator.join([lib[0].name, '"two, or; more otters"', "model"]),
        separator.join(["gone.jpg", "an otter", "model"]),
    ]
    table.write_text("\r\n".join(lines), encoding)
    errors: list[PhotoError] = []
    with pytest.raises(CatalogueError, match="1 photo not in the catalogue"):
        corrections.import_captions(catalogue, table, report=errors.append)
    assert [str(error).split(": ")[0] for error in errors] == [f"{table}:4"]
    table.write_text("\r\n".join(lines[:3]), encoding)
    corrections.import_captions(catalogue, table, report=pytest.fail)
    assert corrections.current_caption(catalogue, lib[0]) == "two, or; more otters"


@pytest.mark.parametrize("output_format", ["csv", "jsonl"])
def test_import_reads_a_caption_of_any_length(
    catalogue: Catalogue, lib: list[Path], tmp_path: Path, output_format: str
) -> None:
    corrections.edit_caption(catalogue, lib[0], "otters " * 20_000)
    source = export_all(catalogue, tmp_path / f"captions.{output_format}")
    counts = corrections.import_captions(catalogue, source, report=pytest.fail)
    assert (counts.changed, counts.unchanged) == (0, len(lib))


def test_caption_with_outer_blanks_in_the_catalogue_is_unchanged_by_an_import(
    catalogue: Catalogue, lib: list[Path], tmp_path: Path
) -> None:
    with catalogue.transaction():
        catalogue.execute("UPDATE pictures SET caption = '=' || caption || ' '")
    path = export_all(catalogue, tmp_path / "captions.csv")
    counts = corrections.import_captions(catalogue, path, report=pytest.fail)
    assert (counts.unchanged, counts.changed) == (len(lib), 0)


def test_import_finds_a_photo_that_was_turned_and_moved_since_by_its_image_data(
    catalogue: Catalogue, captioner: Captioner, tmp_path: Path
) -> None:
    path = photo(tmp_path / "turned" / "a.jpg", 7)
    scan_fully(catalogue, path.parent, captioner)
    row = {"image": "elsewhere.jpg", "hash": record_of(catalogue, path).hash, "caption": "otters"}
    exif = Image.Exif()
    exif[0x0112] = 6
    photo(path, 7, exif=exif)
    scan_fully(catalogue, path.parent, captioner)
    captions = tmp_path / "captions.jsonl"
    captions.write_text(json.dumps(row), "utf-8")
    assert corrections.import_captions(catalogue, captions, report=pytest.fail).changed == 1
    assert record_of(catalogue, path).caption == "otters"
    captions.write_text(json.dumps({**row, "hash": row["hash"][:2]}), "utf-8")
    with pytest.raises(CatalogueError, match="nothing is imported"):
        corrections.import_captions(catalogue, captions, report=str)
