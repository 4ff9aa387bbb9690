"""A job loses no photos to a damaged list of them, and resumes. Workers run in this process."""

from __future__ import annotations

import contextlib
import json
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import fsspec
import pyarrow.parquet as pq
import pytest

from showtell.cluster import job as job_module
from showtell.cluster.folder_listing import LISTING, ListingError, check_listing, write_listing
from showtell.cluster.inputs import open_input
from showtell.cluster.job import JobOptions, caption_all
from showtell.cluster.job_state import JOB_FILE
from showtell.cluster.output import PartResult, part_bytes
from showtell.cluster.parts import JobPart
from showtell.cluster.reading import PartReader
from showtell.cluster.storage import Storage
from showtell.cluster.worker import CaptionWorker, WorkerSetup
from showtell.errors import DatasetError, ShowtellError
from showtell.files.photo_files import find_photos
from support.photo_collections import model, photo, rows_of, write_folder, write_parquet, write_tar

PHOTOS, SIZE = 40, 8
Between = Callable[[int], None]


@pytest.fixture
def tiny(tmp_path: Path) -> str:
    return model(tmp_path / "model")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_folder(tmp_path / "photos", PHOTOS)


@pytest.fixture
def between(monkeypatch: pytest.MonkeyPatch) -> list[Between]:
    """Run jobs without Ray; the functions in the list are called before each part."""
    calls: list[Between] = []

    @contextlib.contextmanager
    def no_ray(*arguments: Any) -> Iterator[int]:
        yield 1

    def in_this_process(job: Any, parts: Sequence[JobPart], workers: int) -> Iterator[PartResult]:
        bundle = job.bundle
        files = {path.name: path.read_bytes() for path in bundle.path.iterdir()}
        setup = WorkerSetup(
            job.spec.id, replace(job.job_input, files=()), job.storage, {}, SIZE, None
        )
        worker = CaptionWorker(setup, files)
        for part in parts:
            for call in calls:
                call(part.number)
            [answer] = worker({"part": [json.dumps(asdict(part))]})["result"]
            result = json.loads(answer)
            if "stopped" in result:
                raise ShowtellError(result["stopped"])
            yield PartResult(**result)

    monkeypatch.setattr(job_module, "connect_ray", no_ray)
    monkeypatch.setattr(job_module, "_run_actors", in_this_process)
    return calls


def run(folder: Path, output: Path, tiny: str) -> int:
    """Run or resume a job; return how many photos this run captioned."""
    return caption_all(folder, output, JobOptions(model=tiny, part_size=SIZE)).run_photos


def names_in(output: Path) -> list[str]:
    return sorted(row["path"] for row in rows_of(output))


def all_names(folder: Path) -> list[str]:
    return sorted(str(p) for p in find_photos([folder], recursive=True, report=lambda e: None))


def change_last_name(listing: Path) -> None:
    """Change one path, which Parquet cannot notice."""
    names = pq.read_table(listing)["path"].to_pylist()
    write_listing(Storage.of(listing.parent.parent), [*names[:-1], b"X" + names[-1]])


def become_a_folder(listing: Path) -> None:
    listing.unlink()
    listing.mkdir()


DAMAGES: dict[str, Callable[[Path], None]] = {
    "cut off": lambda listing: listing.write_bytes(listing.read_bytes()[:-20]),
    "empty": lambda listing: listing.write_bytes(b""),
    "missing": lambda listing: listing.unlink(),
    "a folder": become_a_folder,
    "a name": change_last_name,
    "another": lambda listing: write_listing(
        Storage.of(listing.parent.parent), [b"a.png", b"b.png"]
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_listing_stops_the_job_which_resumes_without_loss(
    damage: str, folder: Path, tmp_path: Path, tiny: str, between: list[Between]
) -> None:
    output = tmp_path / "out"

    def harm(number: int) -> None:
        if number == 2:
            DAMAGES[damage](output / "_job" / LISTING)

    between.append(harm)
    with pytest.raises(ShowtellError, match=r"_job/input\.list: .*: run the same command again"):
        run(folder, output, tiny)
    done = len(list(output.glob("part-*.parquet")))
    assert done == (4 if damage == "a name" else 2)  # parts before the changed path are whole
    assert not list((output / "_job").glob("attempts-*"))
    between.clear()
    if damage == "a folder":
        (output / "_job" / LISTING).rmdir()
    assert run(folder, output, tiny) == PHOTOS - done * SIZE
    assert names_in(output) == all_names(folder)
    assert all(row["error"] is None for row in rows_of(output))


@pytest.mark.parametrize("damage", ["cut off", "empty", "missing", "a name", "another"])
def test_listing_that_was_damaged_between_runs_is_written_again(
    damage: str,
    folder: Path,
    tmp_path: Path,
    tiny: str,
    between: list[Between],
    caplog: pytest.LogCaptureFixture,
) -> None:
    output = tmp_path / "out"

    def stop(number: int) -> None:
        if number == 2:
            raise KeyboardInterrupt

    between.append(stop)
    with pytest.raises(KeyboardInterrupt):
        run(folder, output, tiny)
    between.clear()
    DAMAGES[damage](output / "_job" / LISTING)
    with caplog.at_level(logging.WARNING):
        assert run(folder, output, tiny) == PHOTOS - 2 * SIZE
    assert "_job/input.list: " in caplog.text
    assert names_in(output) == all_names(folder)


def test_parts_that_an_unreadable_listing_left_short_are_captioned_again(
    folder: Path, tmp_path: Path, tiny: str, between: list[Between]
) -> None:
    output = tmp_path / "out"
    run(folder, output, tiny)
    storage = Storage.of(output)
    job_id = json.loads(rows_footer(output / "part-000003.parquet"))["job"]
    row = dict.fromkeys(rows_of(output)[0]) | {
        "path": LISTING,
        "error": f"{LISTING}: cannot be read",
        "alternatives": [],
    }
    short = PartResult(3, LISTING, 3 * SIZE, 0, {"cannot be read": 1})
    storage.write("part-000003.parquet", part_bytes([row], job_id, short))
    whole = (output / "part-000001.parquet").read_bytes()
    (output / "part-000002.parquet").write_bytes(whole)  # a part under another's name
    (output / "part-000004.parquet").write_bytes(b"")
    assert run(folder, output, tiny) == 3 * SIZE
    assert names_in(output) == all_names(folder)


@pytest.fixture
def stopped(folder: Path, tmp_path: Path, tiny: str, between: list[Between]) -> Path:
    """Return the folder of a job that stopped before its third part."""

    def stop(number: int) -> None:
        if number == 2:
            raise KeyboardInterrupt

    between.append(stop)
    with pytest.raises(KeyboardInterrupt):
        run(folder, tmp_path / "out", tiny)
    between.clear()
    return tmp_path / "out"


@pytest.mark.parametrize(
    ("key", "value"),
    [("part_size", 0), ("part_size", None), ("part_size", "8"), ("decoding", None), ("", None)],
)
def test_job_with_a_wrong_value_is_damaged(
    key: str, value: object, stopped: Path, folder: Path, tiny: str
) -> None:
    path = Path(Storage.of(stopped).job_files.address, JOB_FILE)
    damaged = json.dumps(json.loads(path.read_bytes()) | {key: value})
    path.write_text(damaged if key else "[" * 100_000)
    with pytest.raises(DatasetError, match=r"job\.json: damaged \(.*: choose a new folder$"):
        caption_all(folder, stopped, JobOptions(model=tiny))


@pytest.mark.parametrize("record", ['{"attempts": 1e400, "crashes": []}', "[" * 100_000, ""])
def test_damaged_record_of_attempts_counts_as_none(
    record: str, stopped: Path, folder: Path, tiny: str
) -> None:
    record = record.replace("}", ', "current": null}')
    Path(Storage.of(stopped).job_files.address, "attempts-000002.json").write_text(record)
    assert run(folder, stopped, tiny) == PHOTOS - 2 * SIZE
    assert names_in(stopped) == all_names(folder)


def rows_footer(part: Path) -> bytes:
    footer: bytes = pq.read_metadata(part).metadata[b"showtell"]
    return footer


def test_listing_of_a_changed_folder_is_not_taken_for_the_jobs(
    folder: Path, tmp_path: Path
) -> None:
    storage = Storage.of(tmp_path / "out")
    job_input = open_input(folder, storage)
    parts = check_listing(storage, job_input.digest, job_input.parts(SIZE))
    assert len({part.digest for part in parts}) == PHOTOS // SIZE
    with pytest.raises(ListingError, match="its paths are not the job's"):
        check_listing(storage, "0" * 64, parts)
    with pytest.raises(ListingError, match=r"damaged: 3 paths in place of 8"):
        list(PartReader(job_input, replace(parts[-1], start=PHOTOS - 3), storage))


def test_source_that_cannot_be_opened_stops_the_worker(tmp_path: Path) -> None:
    storage = Storage.of(tmp_path / "out")
    shard = write_tar(tmp_path / "a.tar", [(f"{n}.png", photo(n)) for n in range(3)])
    table = write_parquet(tmp_path / "a.parquet", {"image": [photo(n) for n in range(3)]})
    for source in (shard, table):
        job_input = open_input(source, storage)
        [part] = job_input.parts(9)
        source.rename(tmp_path / "away")
        with pytest.raises(DatasetError, match="no such file"):
            list(PartReader(job_input, part, storage))
        (tmp_path / "away").rename(source)
        assert len(list(PartReader(job_input, part, storage))) == 3


def test_each_missing_photo_of_damaged_parquet_has_a_row(tmp_path: Path) -> None:
    storage = Storage.of(tmp_path / "out")
    images = [photo(number) for number in range(9)]
    table = write_parquet(tmp_path / "a.parquet", {"image": images}, rows=3)
    job_input = open_input(table, storage)
    [part] = job_input.parts(99)
    data = bytearray(table.read_bytes())
    start = data.index(images[5][:40])
    data[start - 900 : start] = bytes(900)  # the header of the second group's page
    table.write_bytes(data)
    reader = PartReader(job_input, part, storage)
    read = list(reader)
    assert [name for name, _ in read] == [f"{table}#{number}" for number in range(9)]
    assert reader.seen == 9


def test_table_that_became_shorter_is_not_read_as_if_it_were_whole(tmp_path: Path) -> None:
    storage = Storage.of(tmp_path / "out")
    table = write_parquet(tmp_path / "a.parquet", {"image": [photo(n) for n in range(9)]})
    job_input = open_input(table, storage)
    [part] = job_input.parts(99)
    write_parquet(table, {"image": [photo(n) for n in range(4)]})
    with pytest.raises(DatasetError, match="fewer rows than when the job was divided"):
        list(PartReader(job_input, part, storage))


def test_progress_counts_photos_and_a_resume_tells_how_many_are_there(
    folder: Path,
    tmp_path: Path,
    tiny: str,
    between: list[Between],
    caplog: pytest.LogCaptureFixture,
) -> None:
    def stop(number: int) -> None:
        if number == 2:
            raise KeyboardInterrupt

    between.append(stop)
    reports: list[tuple[int, int | None]] = []
    options = JobOptions(model=tiny, part_size=SIZE)
    caplog.set_level(logging.INFO)
    with pytest.raises(KeyboardInterrupt):
        caption_all(folder, tmp_path / "out", options, lambda *counts: reports.append(counts))
    assert reports == [(0, PHOTOS), (SIZE, PHOTOS), (2 * SIZE, PHOTOS)]
    assert "starting Ray on this machine" in caplog.messages
    assert "resuming" not in caplog.text
    between.clear()
    summary = caption_all(folder, tmp_path / "out", options)
    assert f"resuming: {2 * SIZE} of {PHOTOS} photos are there" in caplog.messages
    per_photo = summary.cpu_seconds / PHOTOS
    assert summary.core_hours_per_million == pytest.approx(per_photo * 1e6 / 3600)


def test_every_parquet_file_of_the_output_is_a_part(
    folder: Path, tmp_path: Path, tiny: str, between: list[Between]
) -> None:
    output = tmp_path / "out"
    during: list[set[str]] = []
    between.append(lambda number: during.append({p.name for p in output.rglob("*.parquet")}))
    run(folder, output, tiny)
    parts = [f"part-{number:06d}.parquet" for number in range(PHOTOS // SIZE)]
    assert during == [set(parts[:number]) for number in range(len(parts))]
    assert sorted(p.name for p in output.iterdir()) == ["_job", "_summary.json", *parts]


READERS: dict[str, Callable[[Any, str], int]] = {
    "pandas": lambda pandas, output: len(pandas.read_parquet(output)),
    "pyarrow.dataset": lambda dataset, output: dataset.dataset(output).count_rows(),
    "duckdb": lambda duckdb, output: len(duckdb.read_parquet(f"{output}/*.parquet").fetchall()),
    "polars": lambda polars, output: polars.read_parquet(f"{output}/*.parquet").height,
}


@pytest.mark.parametrize("reader", READERS)
def test_output_is_one_table_for_readers_of_parquet(
    reader: str, folder: Path, tmp_path: Path, tiny: str, between: list[Between]
) -> None:
    library = pytest.importorskip(reader)
    run(folder, tmp_path / "out", tiny)
    assert READERS[reader](library, str(tmp_path / "out")) == PHOTOS


@pytest.mark.parametrize("lost", ["the folder", "its content", "a subfolder"])
def test_folder_that_is_gone_for_a_while_stops_the_job_which_resumes_without_errors(
    lost: str, folder: Path, tmp_path: Path, tiny: str, between: list[Between]
) -> None:
    output, away = tmp_path / "out", tmp_path / "away"
    place = folder / "inside" if lost == "a subfolder" else folder
    first_lost = 4 if lost == "a subfolder" else 2  # its photos come last

    def lose(number: int) -> None:
        if number == first_lost:
            place.rename(away)
            if lost == "its content":  # as a mount point looks without its disk
                place.mkdir()

    between.append(lose)
    with pytest.raises(ShowtellError, match=r"no such file|is empty since the photos were listed"):
        run(folder, output, tiny)
    between.clear()
    if lost == "its content":
        place.rmdir()
    away.rename(place)
    assert run(folder, output, tiny) == PHOTOS - first_lost * SIZE
    assert names_in(output) == all_names(folder)
    assert all(row["error"] is None for row in rows_of(output))


def test_lost_root_of_parquet_paths_stops_the_job_and_a_wrong_path_does_not(
    folder: Path, tmp_path: Path, tiny: str, between: list[Between]
) -> None:
    paths = [str(Path(name).relative_to(folder)) for name in all_names(folder)]
    table = write_parquet(tmp_path / "a.parquet", {"path": [*paths, "nowhere/1.png"]})
    options = JobOptions(model=tiny, part_size=SIZE, root=folder)

    def lose(number: int) -> None:
        if number == 2:
            folder.rename(tmp_path / "away")

    between.append(lose)
    with pytest.raises(ShowtellError, match="no such file"):
        caption_all(table, tmp_path / "out", options)
    between.clear()
    (tmp_path / "away").rename(folder)
    assert caption_all(table, tmp_path / "out", options).failed == 1
    assert len(rows_of(tmp_path / "out")) == PHOTOS + 1


def test_part_with_a_changed_byte_is_captioned_again(
    folder: Path, tmp_path: Path, tiny: str, between: list[Between]
) -> None:
    output = tmp_path / "out"
    run(folder, output, tiny)
    part = output / "part-000001.parquet"
    data = bytearray(part.read_bytes())
    column = pq.read_metadata(part).row_group(0).column(0)
    first_byte = column.dictionary_page_offset or column.data_page_offset
    data[first_byte + column.total_compressed_size - 1] ^= 0x10
    part.write_bytes(data)
    assert run(folder, output, tiny) == SIZE
    assert names_in(output) == all_names(folder)


def test_part_whose_counts_are_text_is_captioned_again(
    folder: Path, tmp_path: Path, tiny: str, between: list[Between]
) -> None:
    output = tmp_path / "out"
    run(folder, output, tiny)
    part = output / "part-000001.parquet"
    fields = json.loads(rows_footer(part)) | {"reasons": {"x": "y"}}
    table = pq.read_table(part).replace_schema_metadata({"showtell": json.dumps(fields)})
    pq.write_table(table, part)
    assert run(folder, output, tiny) == SIZE
    assert names_in(output) == all_names(folder)


@pytest.mark.parametrize("name", ["part-000002.parquet", "_job/attempts-000002.json"])
def test_pipe_in_place_of_a_file_of_the_job_does_not_hang(
    name: str, stopped: Path, folder: Path, tiny: str
) -> None:
    os.mkfifo(stopped / name)
    with pytest.raises(ShowtellError, match=r"cannot be written \(a named pipe, not a file\)$"):
        run(folder, stopped, tiny)
    (stopped / name).unlink()
    assert run(folder, stopped, tiny) == PHOTOS - 2 * SIZE


def test_store_that_gives_no_photo_stops_the_job_and_one_that_lacks_a_few_does_not(
    tmp_path: Path, tiny: str, between: list[Between]
) -> None:
    store = fsspec.filesystem("memory")
    names = [f"/lost-photos/{number:02d}.png" for number in range(2 * SIZE)]
    for number, name in enumerate(names):
        store.pipe_file(name, photo(number))

    def lose(part: int) -> None:
        for name in names[: SIZE // 2] if part == 0 else names[SIZE:]:
            store.rm_file(name)

    between.append(lose)
    with pytest.raises(ShowtellError, match="none of 8 photos can be fetched: run the same"):
        caption_all("memory://lost-photos", tmp_path / "out", JobOptions(tiny, part_size=SIZE))
    errors = [row["error"] is not None for row in rows_of(tmp_path / "out")]
    assert errors == [True] * (SIZE // 2) + [False] * (SIZE // 2)
