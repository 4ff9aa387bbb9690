"""Inputs are found, divided the same way each time, and each photo is read once."""

from __future__ import annotations

import shutil
import tarfile
from pathlib import Path

import fsspec
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from showtell.cluster.inputs import (
    LEAST_IN_PART,
    LISTED_AT_ONCE,
    Input,
    Part,
    find_input,
    first_photos,
    is_kept,
    part_size,
    spread_sample,
    total_photos,
)
from showtell.cluster.parquet_input import cuts
from showtell.cluster.reading import GivenPhoto, PartReader, fetch
from showtell.cluster.storage import Storage
from showtell.errors import DatasetError, PhotoError
from showtell.files.photo_files import find_photos
from showtell.image import open_photo
from support.photo_collections import photo, write_folder, write_parquet, write_tar


def look(tmp_path: Path, address: Path | str, **options: object) -> tuple[Input, Storage]:
    storage = Storage.of(tmp_path / "job")
    return find_input(address, listing=storage, write_listing=True, **options), storage


def names(found: Input, storage: Storage, parts: list[Part]) -> list[str]:
    return [name for part in parts for name, _ in PartReader(found, part, storage)]


@pytest.mark.parametrize("size", [1, 7, 64, 1000])
def test_a_folder_is_read_in_the_order_of_showtell_caption(tmp_path: Path, size: int) -> None:
    folder = write_folder(tmp_path / "photos", 40)
    (folder / ".hidden.png").write_bytes(photo(0))
    (folder / "notes.txt").write_text("no photo")
    found, storage = look(tmp_path, folder)
    wanted = [str(p) for p in find_photos([folder], recursive=True, report=lambda e: None)]
    assert (found.kind, found.photos, len(wanted)) == ("folder", 40, 40)
    assert names(found, storage, found.parts(size)) == wanted


def test_a_folder_of_more_photos_than_are_listed_at_once(tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    (folder / "a.png").write_bytes(photo(0))
    for number in range(LISTED_AT_ONCE + 3):
        (folder / f"{number:05d}.png").symlink_to("a.png")
    found, storage = look(tmp_path, folder)
    read = names(found, storage, found.parts(3000))
    assert len(read) == len(set(read)) == LISTED_AT_ONCE + 4


def test_a_folder_at_an_address_is_read_like_one_on_disk(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "photos", 12)
    memory = fsspec.filesystem("memory")
    memory.put(str(folder), "/remote", recursive=True)
    found, storage = look(tmp_path, "memory://remote")
    [part] = found.parts(100)
    read = dict(PartReader(found, part, storage))
    assert len(read) == 12
    for name, opened in read.items():
        local = folder / name.removeprefix("memory://remote/")
        assert opened.read_bytes() == local.read_bytes()


def test_anybodys_shards_are_parts_of_their_own(tmp_path: Path) -> None:
    for shard in range(3):
        write_tar(
            tmp_path / f"{shard}.tar",
            [(f"{shard}-{n}.png", photo(10 * shard + n)) for n in range(5)],
        )
    found, storage = look(tmp_path, tmp_path)
    parts = found.parts(2)
    assert (found.kind, found.photos, len(parts)) == ("shards", None, 3)
    read = names(found, storage, parts)
    assert read == [f"{shard}-{n}.png" for shard in range(3) for n in range(5)]
    assert total_photos(found)[0] == 15


def test_a_shard_that_is_cut_off_ends_in_a_row_that_says_so(tmp_path: Path) -> None:
    whole = write_tar(tmp_path / "a.tar", [(f"{n}.png", photo(n)) for n in range(5)])
    with tarfile.open(whole) as tar:
        cut = tar.getmembers()[3].offset_data + 10
    whole.write_bytes(whole.read_bytes()[:cut])
    found, storage = look(tmp_path, whole)
    read = list(PartReader(found, found.parts(9)[0], storage))
    assert [name for name, _ in read[:2]] == ["0.png", "1.png"]
    name, broken = read[-1]
    assert name == str(whole)
    with pytest.raises(PhotoError, match="cut off"):
        open_photo(broken)


@pytest.mark.parametrize("rows", [1, 4, 1000])
@pytest.mark.parametrize("size", [1, 3, 10, 100])
def test_parquet_of_bytes_is_read_once_however_it_is_cut(
    tmp_path: Path, rows: int, size: int
) -> None:
    archive = tmp_path / "archive"
    wanted = []
    for file in range(2):
        numbers = range(file * 13, file * 13 + 13)
        wanted += [f"{number}.png" for number in numbers]
        write_parquet(
            archive / f"{file}.parquet",
            {"name": [f"{n}.png" for n in numbers], "image": [photo(n) for n in numbers]},
            rows=rows,
        )
    found, storage = look(tmp_path, archive)
    parts = found.parts(size)
    read = [entry for part in parts for entry in PartReader(found, part, storage)]
    assert [name for name, _ in read] == wanted
    assert [opened.read_bytes() for _, opened in read] == [photo(number) for number in range(26)]


def test_parquet_of_paths_begins_at_its_folder_or_the_given_root(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "photos", 3)
    there = str(folder / "00001.png")
    write_parquet(folder / "list.parquet", {"path": ["00001.png", there, None, "gone.png"]})
    for root in (None, folder):
        table = folder / "list.parquet"
        if root is not None:
            table = Path(shutil.copy(table, tmp_path / "elsewhere.parquet"))
        found, storage = look(tmp_path, table, root=root)
        read = list(PartReader(found, found.parts(10)[0], storage))
        assert [name for name, _ in read] == ["00001.png", there, f"{table}#2", "gone.png"]
        assert open_photo(read[0][1]).size == open_photo(read[1][1]).size == (40, 40)
        with pytest.raises(PhotoError, match="empty"):
            open_photo(read[2][1])
        with pytest.raises(PhotoError, match=r"gone\.png: no such file"):
            open_photo(read[3][1])


def test_photos_as_hugging_face_keeps_them(tmp_path: Path) -> None:
    images = [{"bytes": photo(n), "path": None if n else "first.png"} for n in range(2)]
    table = write_parquet(tmp_path / "hub.parquet", {"image": images, "label": [1, 2]})
    found, storage = look(tmp_path, table)
    assert names(found, storage, found.parts(9)) == ["first.png", f"{table}#1"]


@pytest.mark.parametrize(
    ("columns", "options", "said"),
    [
        ({"a": [b"1"], "b": [b"2"]}, {}, "say with --column which one holds photos: it has a, b"),
        ({"n": [1]}, {}, "say with --column"),
        ({"n": [1]}, {"column": "n"}, "'n' holds neither paths nor bytes"),
        ({"path": ["x"]}, {"column": "photo"}, "no column 'photo': it has path"),
        ({"p": [b"1"], "n": [1]}, {"name_column": "n"}, "no text to name photos by"),
    ],
)
def test_columns_that_cannot_be_meant_are_named(
    tmp_path: Path, columns: dict[str, list[object]], options: dict[str, str], said: str
) -> None:
    table = write_parquet(tmp_path / "t.parquet", columns)
    with pytest.raises(DatasetError, match=said):
        look(tmp_path, table, **options)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda p: p.mkdir(), "no photos here"),
        (lambda p: p.write_text("x"), "a file: give a folder"),
        (lambda p: None, "no such file"),
        (
            lambda p: write_parquet(p / "a.parquet", {"path": pa.array([], pa.string())}),
            "its Parquet has no rows",
        ),
        (
            lambda p: (p.mkdir(), (p / "a.tar").touch(), (p / "a.parquet").touch()),
            "holds shards and Parquet: say which with --kind",
        ),
        (lambda p: (p.mkdir(), (p / "a.parquet").write_text("x")), r"a\.parquet: cannot be read"),
    ],
)
def test_inputs_without_photos_are_one_line(tmp_path: Path, make: object, said: str) -> None:
    make(tmp_path / "in")  # type: ignore[operator]
    with pytest.raises(DatasetError, match=said):
        look(tmp_path, tmp_path / "in")


def test_a_column_for_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="are for Parquet"):
        look(tmp_path, write_folder(tmp_path / "photos", 2), column="image")


def test_the_digest_tells_another_photo(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "photos", 5)
    first, _ = look(tmp_path, folder)
    assert look(tmp_path, folder)[0].digest == first.digest
    (folder / "new.png").write_bytes(photo(9))
    assert look(tmp_path, folder)[0].digest != first.digest


@given(st.integers(0, 500), st.integers(1, 60))
def test_cuts_hold_each_row_once_and_none_is_too_large(rows: int, size: int) -> None:
    place = 0
    for start, count in cuts(rows, size):
        assert start == place
        assert 0 < count <= size
        place += count
    assert place == rows


@given(st.integers(1, 400), st.floats(0.001, 1))
def test_a_sample_is_the_fraction_that_was_asked_for(count: int, fraction: float) -> None:
    parts = [Part(number, "file", 100 * number, 100) for number in range(count)]
    sample = spread_sample(parts, fraction)
    kept = sum(is_kept(place, part.keep) for part in sample for place in range(100))
    assert abs(kept - 100 * count * fraction) <= len(sample)
    assert len({part.start for part in sample}) == len(sample)
    assert [part.number for part in sample] == list(range(len(sample)))


def test_a_limit_is_the_first_photos(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "photos", 30)
    found, storage = look(tmp_path, folder)
    everything = names(found, storage, found.parts(8))
    for limit in (1, 8, 9, 30, 99):
        parts = first_photos(found, found.parts(8), limit)
        assert names(found, storage, parts) == everything[:limit]


def test_a_limit_counts_shards_that_have_no_index(tmp_path: Path) -> None:
    for shard in range(3):
        write_tar(tmp_path / f"{shard}.tar", [(f"{shard}-{n}.png", photo(n)) for n in range(4)])
    found, storage = look(tmp_path, tmp_path)
    parts = first_photos(found, found.parts(1), 6)
    assert names(found, storage, parts) == [
        "0-0.png",
        "0-1.png",
        "0-2.png",
        "0-3.png",
        "1-0.png",
        "1-1.png",
    ]


def test_parts_are_many_enough_for_all_workers_and_not_too_large() -> None:
    assert part_size(7_000, 2, 16) == 18 * 16
    assert part_size(10, 64, 16) == LEAST_IN_PART
    assert part_size(40_000_000, 100, 16) == part_size(None, 2, 16) == LISTED_AT_ONCE
    assert part_size(7_000, 2, 1_000) == 1_000


def test_a_photo_that_cannot_be_fetched_is_an_error_under_its_name() -> None:
    assert fetch("a.png", "memory://nowhere/a.png") == GivenPhoto("a.png", error="no such file")
    unknown = fetch("a.png", "gopher://x/a.png")
    assert "gopher" in str(unknown.error)
