"""Inputs are divided the same way each time, and each photo is read once."""

from __future__ import annotations

import shutil
import tarfile
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from showtell.cluster.inputs import (
    JobInput,
    ParquetOptions,
    limit_parts,
    open_input,
    total_photos,
)
from showtell.cluster.parquet_input import split_rows
from showtell.cluster.parts import (
    MAX_PHOTOS,
    MIN_PHOTOS,
    JobPart,
    is_sampled,
    part_size,
    sample_parts,
)
from showtell.cluster.reading import FetchedPhoto, PartReader, fetch_photo
from showtell.cluster.storage import Storage
from showtell.errors import DatasetError, PhotoError
from showtell.files.photo_files import find_photos
from showtell.image import open_photo
from support.photo_collections import photo, write_folder, write_parquet, write_tar


def opened(tmp_path: Path, address: Path | str, **options: Any) -> tuple[JobInput, Storage]:
    """Open an input for a job in the folder `job`."""
    storage = Storage.of(tmp_path / "job")
    return open_input(address, storage, parquet=ParquetOptions(**options)), storage


def photo_names(job_input: JobInput, storage: Storage, parts: list[JobPart]) -> list[str]:
    return [name for part in parts for name, _ in PartReader(job_input, part, storage)]


@pytest.mark.parametrize("size", [1, 7, 64, 1000])
def test_folder_is_read_in_the_order_of_showtell_caption(tmp_path: Path, size: int) -> None:
    folder = write_folder(tmp_path / "photos", 40)
    (folder / ".hidden.png").write_bytes(photo(0))
    (folder / "notes.txt").write_text("not a photo")
    job_input, storage = opened(tmp_path, folder)
    expected = [str(p) for p in find_photos([folder], recursive=True, report=lambda e: None)]
    assert (job_input.kind, job_input.photos, len(expected)) == ("folder", 40, 40)
    assert photo_names(job_input, storage, job_input.parts(size)) == expected


def test_folder_with_more_photos_than_a_row_group_is_read_whole(tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    (folder / "a.png").write_bytes(photo(0))
    for number in range(MAX_PHOTOS + 3):
        (folder / f"{number:05d}.png").symlink_to("a.png")
    job_input, storage = opened(tmp_path, folder)
    read = photo_names(job_input, storage, job_input.parts(3000))
    assert len(read) == len(set(read)) == MAX_PHOTOS + 4


def test_folder_at_an_address_is_read_like_a_local_one(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "photos", 12)
    memory = fsspec.filesystem("memory")
    memory.put(str(folder), "/remote", recursive=True)
    job_input, storage = opened(tmp_path, "memory://remote")
    [part] = job_input.parts(100)
    read = dict(PartReader(job_input, part, storage))
    assert len(read) == 12
    for name, photo_file in read.items():
        local = folder / name.removeprefix("memory://remote/")
        assert photo_file.read_bytes() == local.read_bytes()


def test_each_shard_without_an_index_is_one_part(tmp_path: Path) -> None:
    for shard in range(3):
        write_tar(
            tmp_path / f"{shard}.tar",
            [(f"{shard}-{n}.png", photo(10 * shard + n)) for n in range(5)],
        )
    job_input, storage = opened(tmp_path, tmp_path)
    parts = job_input.parts(2)
    assert (job_input.kind, job_input.photos, len(parts)) == ("shards", None, 3)
    read = photo_names(job_input, storage, parts)
    assert read == [f"{shard}-{n}.png" for shard in range(3) for n in range(5)]
    assert total_photos(job_input)[0] == 15


def test_truncated_shard_ends_with_a_row_for_the_error(tmp_path: Path) -> None:
    whole = write_tar(tmp_path / "a.tar", [(f"{n}.png", photo(n)) for n in range(5)])
    with tarfile.open(whole) as tar:
        cut = tar.getmembers()[3].offset_data + 10
    whole.write_bytes(whole.read_bytes()[:cut])
    job_input, storage = opened(tmp_path, whole)
    read = list(PartReader(job_input, job_input.parts(9)[0], storage))
    assert [name for name, _ in read[:2]] == ["0.png", "1.png"]
    name, broken = read[-1]
    assert name == str(whole)
    with pytest.raises(PhotoError, match="cut off"):
        open_photo(broken)


@pytest.mark.parametrize("rows", [1, 4, 1000])
@pytest.mark.parametrize("size", [1, 3, 10, 100])
def test_parquet_of_bytes_is_read_once_for_any_part_size(
    tmp_path: Path, rows: int, size: int
) -> None:
    archive = tmp_path / "archive"
    expected = []
    for file in range(2):
        numbers = range(file * 13, file * 13 + 13)
        expected += [f"{number}.png" for number in numbers]
        write_parquet(
            archive / f"{file}.parquet",
            {"name": [f"{n}.png" for n in numbers], "image": [photo(n) for n in numbers]},
            rows=rows,
        )
    job_input, storage = opened(tmp_path, archive)
    parts = job_input.parts(size)
    read = [entry for part in parts for entry in PartReader(job_input, part, storage)]
    assert [name for name, _ in read] == expected
    assert [item.read_bytes() for _, item in read] == [photo(number) for number in range(26)]


def test_paths_in_parquet_are_relative_to_its_folder_or_the_root(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "photos", 3)
    there = str(folder / "00001.png")
    write_parquet(folder / "list.parquet", {"path": ["00001.png", there, None, "gone.png"]})
    for root in (None, folder):
        table = folder / "list.parquet"
        if root is not None:
            table = Path(shutil.copy(table, tmp_path / "elsewhere.parquet"))
        job_input, storage = opened(tmp_path, table, root=root)
        read = list(PartReader(job_input, job_input.parts(10)[0], storage))
        assert [name for name, _ in read] == ["00001.png", there, f"{table}#2", "gone.png"]
        assert open_photo(read[0][1]).size == open_photo(read[1][1]).size == (40, 40)
        with pytest.raises(PhotoError, match="empty"):
            open_photo(read[2][1])
        with pytest.raises(PhotoError, match=r"gone\.png: no such file"):
            open_photo(read[3][1])


def test_image_column_of_hugging_face_datasets_is_read(tmp_path: Path) -> None:
    images = [{"bytes": photo(n), "path": None if n else "first.png"} for n in range(2)]
    table = write_parquet(tmp_path / "hub.parquet", {"image": images, "label": [1, 2]})
    job_input, storage = opened(tmp_path, table)
    assert photo_names(job_input, storage, job_input.parts(9)) == ["first.png", f"{table}#1"]


@pytest.mark.parametrize("named", [False, True])
def test_hugging_face_photo_without_bytes_is_opened_at_its_path(
    tmp_path: Path, named: bool
) -> None:
    folder = write_folder(tmp_path / "photos", 3)
    there = str(folder / "00002.png")
    images = [
        {"bytes": None, "path": "00001.png"},
        {"bytes": None, "path": there},
        {"bytes": None, "path": "gone.png"},
        {"bytes": photo(5), "path": "gone.png"},
        {"bytes": None, "path": None},
        None,
        {"bytes": b"", "path": "00001.png"},
    ]
    names = [f"n{number}" for number in range(len(images))]
    table = write_parquet(folder / "hub.parquet", {"image": images, "n": names})
    job_input, storage = opened(tmp_path, table, **({"name_column": "n"} if named else {}))
    read = list(PartReader(job_input, job_input.parts(10)[0], storage))
    paths = ["00001.png", there, "gone.png", "gone.png", f"{table}#4", f"{table}#5", "00001.png"]
    assert [name for name, _ in read] == (names if named else paths)
    for index in (0, 1, 3):
        assert open_photo(read[index][1]).size == (40, 40)
    with pytest.raises(PhotoError, match="no such file"):
        open_photo(read[2][1])
    for index in (4, 5, 6):
        with pytest.raises(PhotoError, match="empty"):
            open_photo(read[index][1])


@pytest.mark.shared
def test_shared_case_of_hugging_face_rows_without_bytes(tmp_path: Path, shared_dir: Path) -> None:
    table = shared_dir / "cases" / "hf_null_bytes.parquet"
    if not table.is_file():
        pytest.skip("no such case")
    job_input, storage = opened(tmp_path, table)
    read = list(PartReader(job_input, job_input.parts(10)[0], storage))
    assert open_photo(read[0][1]).width > 0
    with pytest.raises(PhotoError, match=r"coffee\.jpg: no such file"):
        open_photo(read[2][1])
    for index in (1, 3):
        with pytest.raises(PhotoError, match="empty"):
            open_photo(read[index][1])


@pytest.mark.parametrize(
    ("columns", "options", "message"),
    [
        (
            {"a": [b"1"], "b": [b"2"]},
            {},
            "choose the column of photos with --column: the columns are a, b",
        ),
        ({"n": [1]}, {}, "choose the column of photos"),
        ({"n": [1]}, {"column": "n"}, "'n' holds neither paths nor bytes"),
        ({"path": ["x"]}, {"column": "photo"}, "no column 'photo': the columns are path"),
        ({"p": [b"1"], "n": [1]}, {"name_column": "n"}, "no text to name photos by"),
    ],
)
def test_unsuitable_columns_are_refused(
    tmp_path: Path, columns: dict[str, list[object]], options: dict[str, str], message: str
) -> None:
    table = write_parquet(tmp_path / "t.parquet", columns)
    with pytest.raises(DatasetError, match=message):
        opened(tmp_path, table, **options)


@pytest.mark.parametrize(
    ("make", "message"),
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
            "holds shards and Parquet: choose one with --kind",
        ),
        (lambda p: (p.mkdir(), (p / "a.parquet").write_text("x")), r"a\.parquet: cannot be read"),
    ],
)
def test_input_without_photos_is_a_clear_error(tmp_path: Path, make: object, message: str) -> None:
    make(tmp_path / "in")  # type: ignore[operator]
    with pytest.raises(DatasetError, match=message):
        opened(tmp_path, tmp_path / "in")


def test_column_is_refused_for_a_folder(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="are for Parquet"):
        opened(tmp_path, write_folder(tmp_path / "photos", 2), column="image")


def test_digest_changes_with_the_photos(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "photos", 5)
    first, _ = opened(tmp_path, folder)
    assert opened(tmp_path, folder)[0].digest == first.digest
    (folder / "new.png").write_bytes(photo(9))
    assert opened(tmp_path, folder)[0].digest != first.digest


@given(st.integers(0, 500), st.integers(1, 60))
def test_split_rows_cover_each_row_once_and_are_small_enough(rows: int, size: int) -> None:
    index = 0
    for start, count in split_rows(rows, size):
        assert start == index
        assert 0 < count <= size
        index += count
    assert index == rows


@given(st.integers(1, 400), st.floats(0.001, 1))
def test_sample_has_the_requested_fraction(count: int, fraction: float) -> None:
    parts = [JobPart(number, "file", 100 * number, 100) for number in range(count)]
    sample = sample_parts(parts, fraction)
    kept = sum(is_sampled(index, part.keep) for part in sample for index in range(100))
    assert abs(kept - 100 * count * fraction) <= len(sample)
    assert len({part.start for part in sample}) == len(sample)
    assert [part.number for part in sample] == list(range(len(sample)))


def test_limit_keeps_the_first_photos(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "photos", 30)
    job_input, storage = opened(tmp_path, folder)
    everything = photo_names(job_input, storage, job_input.parts(8))
    for limit in (1, 8, 9, 30, 99):
        parts = limit_parts(job_input, job_input.parts(8), limit)
        assert photo_names(job_input, storage, parts) == everything[:limit]


def test_limit_counts_the_photos_of_shards_without_an_index(tmp_path: Path) -> None:
    for shard in range(3):
        write_tar(tmp_path / f"{shard}.tar", [(f"{shard}-{n}.png", photo(n)) for n in range(4)])
    job_input, storage = opened(tmp_path, tmp_path)
    parts = limit_parts(job_input, job_input.parts(1), 6)
    assert photo_names(job_input, storage, parts) == [
        "0-0.png",
        "0-1.png",
        "0-2.png",
        "0-3.png",
        "1-0.png",
        "1-1.png",
    ]


def test_part_size_keeps_all_workers_busy_within_bounds() -> None:
    assert part_size(7_000, 2, 16) == 18 * 16
    assert part_size(10, 64, 16) == MIN_PHOTOS
    assert part_size(40_000_000, 100, 16) == part_size(None, 2, 16) == MAX_PHOTOS
    assert part_size(7_000, 2, 1_000) == 1_000


def test_photo_that_cannot_be_fetched_has_an_error() -> None:
    assert fetch_photo("a.png", "memory://nowhere/a.png") == FetchedPhoto(
        "a.png", error="no such file"
    )
    unknown = fetch_photo("a.png", "gopher://x/a.png")
    assert "gopher" in str(unknown.error)
