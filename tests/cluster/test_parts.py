"""Parts hold what `showtell caption` writes, and each is written whole and once."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from showtell.cluster.attempts import BATCH_ATTEMPTS, CRASHING, MAX_ATTEMPTS, PartAttempts
from showtell.cluster.failure_reasons import failure_reason
from showtell.cluster.folder_listing import LISTING
from showtell.cluster.inputs import JobInput, open_input
from showtell.cluster.job_state import (
    JOB_FILE,
    JobSpec,
    check_same_job,
    clean_partial,
    finished_parts,
    load_job,
)
from showtell.cluster.output import PartResult, part_bytes, read_result
from showtell.cluster.parts import JobPart
from showtell.cluster.storage import Storage
from showtell.cluster.summary import JobNames, RunStatistics, format_duration, summarise_job
from showtell.cluster.worker import CaptionWorker, WorkerSetup
from showtell.errors import DatasetError
from showtell.files.remote import TEMPORARY_PREFIX
from showtell.image import load_pixels
from support.photo_collections import (
    FIELDS,
    captions_of,
    model,
    photo,
    rows_of,
    write_folder,
    write_parquet,
)

JOB = JobSpec(
    input="in",
    kind="folder",
    columns=None,
    root="",
    digest="d",
    batch_size=16,
    part_size=5,
    parts=3,
    limit=None,
    sample=None,
    model="m",
    model_sha256="s",
    decoding={"beam": 3, "nbest": 1},
)


def worker(job_input: JobInput, storage: Storage, model: str, **options: Any) -> CaptionWorker:
    files = {file.name: file.read_bytes() for file in Path(model).iterdir()}
    return CaptionWorker(WorkerSetup(JOB.id, job_input, storage, options, 4, None), files)


def open_listed(folder: Path, storage: Storage, **options: Any) -> JobInput:
    return open_input(folder, storage, **options)


@pytest.fixture
def tiny(tmp_path: Path) -> str:
    return model(tmp_path / "model")


def test_parts_hold_what_showtell_caption_writes(tmp_path: Path, tiny: str) -> None:
    folder = write_folder(tmp_path / "photos", 23, bad=[4, 20])
    storage = Storage.of(tmp_path / "out")
    job_input = open_listed(folder, storage)
    actor = worker(job_input, storage, tiny, nbest=2)
    parts = job_input.parts(9)
    # as Ray calls it: a dict of columns
    answers = [actor({"part": [json.dumps(asdict(part))]})["result"][0] for part in parts]
    expected = list(captions_of(tiny, folder))
    rows = rows_of(tmp_path / "out")
    assert len(parts) == 3
    assert [list(row) for row in rows] == [FIELDS] * 23
    assert [row["path"] for row in rows] == [row["path"] for row in expected]
    assert [row["error"] for row in rows] == [row["error"] for row in expected]
    assert sum(row["error"] is not None for row in rows) == 2
    by_path = dict(zip((row["path"] for row in rows), rows, strict=True))
    for caption in captions_of(tiny, folder):
        row = by_path[caption["path"]]
        assert (row["text"], row["log_probability"]) == (
            caption["text"],
            caption["log_probability"],
        )
        assert len(row["alternatives"]) == (row["error"] is None)
    results = [PartResult(**json.loads(answer)) for answer in answers]
    assert sum(result.captioned for result in results) == 21
    assert results[0].seconds >= results[0].writing > 0
    assert storage.names() == [part.name for part in parts]
    assert storage.job_files.names() == [LISTING]


def test_footer_of_a_part_names_its_job_and_photos(tmp_path: Path, tiny: str) -> None:
    table = write_parquet(
        tmp_path / "a.parquet", {"path": [f"{n}.png" for n in range(9)], "jpg": [photo(1)] * 9}
    )
    storage = Storage.of(tmp_path / "out")
    job_input = open_listed(table, storage)
    worker(job_input, storage, tiny).caption(job_input.parts(4)[1])
    saved = json.loads(
        pq.read_metadata(tmp_path / "out" / "part-000001.parquet").metadata[b"showtell"]
    )
    assert (saved["job"], saved["source"], saved["start"], saved["captioned"]) == (
        JOB.id,
        str(table),
        4,
        4,
    )


def test_path_that_is_not_utf8_is_escaped(tmp_path: Path, tiny: str) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    Path(os.fsdecode(os.fsencode(folder) + b"/caf\xe9.png")).write_bytes(photo(1))
    storage = Storage.of(tmp_path / "out")
    job_input = open_listed(folder, storage)
    worker(job_input, storage, tiny).caption(job_input.parts(9)[0])
    [row] = rows_of(tmp_path / "out")
    assert row["path"].endswith(r"caf\udce9.png")
    assert row["text"]


def test_full_disk_stops_the_worker_and_leaves_no_part(
    tmp_path: Path, tiny: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = Storage.of(tmp_path / "out")
    job_input = open_listed(write_folder(tmp_path / "photos", 3), storage)
    actor = worker(job_input, storage, tiny)

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    [answer] = actor({"part": [json.dumps(asdict(job_input.parts(9)[0]))]})["result"]
    assert "no space left on device" in json.loads(answer)["stopped"]
    assert storage.names() == []
    assert storage.job_files.names() == [LISTING]


def test_photo_that_crashes_its_worker_is_left_out(
    tmp_path: Path, tiny: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_folder(tmp_path / "photos", 12)
    storage = Storage.of(tmp_path / "out")
    job_input = open_listed(folder, storage)
    [part] = job_input.parts(99)
    crashing = str(sorted(folder.glob("*.png"))[2])

    class Crash(BaseException):
        """Stands for SIGKILL: nothing of the worker runs after it."""

    actor = worker(job_input, storage, tiny)

    def pixels(opened: Any, *arguments: Any, **options: Any) -> Any:
        if str(opened) == crashing:
            raise Crash
        return load_pixels(opened, *arguments, **options)

    monkeypatch.setattr("showtell.pipeline.load_pixels", pixels)
    crashes = 0
    while True:
        try:
            actor.caption(part)
            break
        except Crash:
            crashes += 1
    rows = {row["path"]: row["error"] for row in rows_of(tmp_path / "out")}
    assert crashes == BATCH_ATTEMPTS + 2
    assert len(rows) == 12
    assert {path: error for path, error in rows.items() if error} == {
        crashing: f"{crashing}: {CRASHING}"
    }


def test_part_that_crashes_every_worker_stops_the_job(tmp_path: Path) -> None:
    storage = Storage.of(tmp_path)
    for _ in range(MAX_ATTEMPTS):
        PartAttempts(storage, 7).begin()
    with pytest.raises(DatasetError, match="have enough memory"):
        PartAttempts(storage, 7).begin()


def written(storage: Storage, number: int, job: str = JOB.id) -> None:
    record = {
        "path": "a",
        "text": "b",
        "error": None,
        "log_probability": -1.0,
        "confidence": None,
        "alternatives": [],
        "keywords": [],
    }
    result = PartResult(number, "a", 0, 1)
    storage.write(f"part-{number:06d}.parquet", part_bytes([record], job, result))


def test_only_complete_parts_of_this_job_are_finished(tmp_path: Path) -> None:
    storage = Storage.of(tmp_path)
    parts = [JobPart(number, "a") for number in range(5)]
    written(storage, 0)
    written(storage, 1, job="another")
    written(storage, 2)
    half = tmp_path / "part-000002.parquet"
    half.write_bytes(half.read_bytes()[:-30])
    (tmp_path / "part-000003.parquet").write_bytes(b"")
    assert list(finished_parts(storage, JOB, parts)) == [0]
    assert read_result(storage, "part-000000.parquet", JOB.id) == PartResult(0, "a", 0, 1)
    (tmp_path / "other.parquet").write_bytes(b"")
    with pytest.raises(DatasetError, match=r"other\.parquet is not a part of this job"):
        finished_parts(storage, JOB, parts)


def test_unfinished_files_of_a_killed_job_are_deleted(tmp_path: Path) -> None:
    storage = Storage.of(tmp_path)
    written(storage, 0)
    JOB.save(storage)
    for folder in (tmp_path, tmp_path / "_job"):
        (folder / f"{TEMPORARY_PREFIX}abc").write_text("half")
    clean_partial(storage)
    assert storage.names() == ["part-000000.parquet"]
    assert storage.job_files.names() == [JOB_FILE]


@pytest.mark.parametrize(
    ("change", "difference"),
    [
        ({"digest": "e"}, "its photos changed"),
        ({"model": "n", "model_sha256": "t"}, "model m, not n; the model's files changed"),
        ({"decoding": {"beam": 5, "nbest": 1}}, "beam 3, not 5"),
        ({"batch_size": 8}, "batch size 16, not 8"),
        ({"limit": 9}, "limit None, not 9"),
        ({"input": "other"}, "input in, not other"),
    ],
)
def test_differences_to_another_job_in_the_folder_are_named(
    tmp_path: Path, change: dict[str, Any], difference: str
) -> None:
    storage = Storage.of(tmp_path / "new")
    assert load_job(storage) is None
    JOB.save(storage)
    saved = load_job(storage)
    assert saved == JOB
    check_same_job(storage, saved, JOB)
    with pytest.raises(DatasetError, match=difference):
        check_same_job(storage, saved, replace(JOB, **change))


def test_folder_with_other_files_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.docx").write_text("x")
    with pytest.raises(DatasetError, match="holds files but no showtell job"):
        load_job(Storage.of(tmp_path))


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        ("a.jpg: no such file", "no such file"),
        ("a.jpg: damaged, cannot be decoded (at byte 7)", "damaged, cannot be decoded"),
        ("a.jpg: truncated: image data is missing at the end", "truncated"),
        (
            "a.jpg: 20000 x 30000 pixels are more than 178,956,970: too large to open safely",
            "N x N pixels are more than N",
        ),
    ],
)
def test_failures_are_counted_by_their_reason(error: str, reason: str) -> None:
    assert failure_reason({"path": "a.jpg", "error": error}) == reason


def test_summary_adds_up_the_parts_and_estimates_the_whole_input() -> None:
    results = [
        PartResult(n, "a", 0, 90, {"no such file": 10}, seconds=5, cpu=4, memory=n)
        for n in range(2)
    ]
    run = RunStatistics(cores=2, photos=200, seconds=5.0, starting=8.0)
    summary = summarise_job(
        results, run, JobNames("i", "o", "m"), price=0.04, whole=(40_000_000, True)
    )
    assert (summary.photos, summary.captioned, summary.failed) == (200, 180, 20)
    assert summary.failed_by_reason == {"no such file": 20}
    assert summary.photos_per_second == 40
    # 8 seconds of processor time for 200 photos, whatever the wall time
    assert summary.core_hours_per_million == pytest.approx(40_000 / 3600)
    assert summary.cost_per_million == pytest.approx(0.4444, abs=1e-4)
    assert summary.estimate is not None
    assert summary.estimate.seconds == 1_000_000
    assert summary.estimate.cost == pytest.approx(40 * 0.4444, abs=1e-2)
    text = "\n".join(summary.lines())
    assert "180 photos captioned, 20 failed, in o" in text
    assert "20: no such file" in text
    assert "40,000,000 photos, would take 11.6 days on 2 cores: 444.44 core hours, 17.78" in text


def test_speed_comes_from_the_parts_if_a_run_had_nothing_to_do() -> None:
    results = [PartResult(n, "a", 0, 100, seconds=5) for n in range(2)]
    summary = summarise_job(
        results, RunStatistics(2, 0, 0.0, 0.0), JobNames("i", "o", "m"), price=None
    )
    assert summary.photos_per_second == 40
    assert summary.cost_per_million is None


@pytest.mark.parametrize(
    ("seconds", "text"), [(41, "41 s"), (720, "12 min"), (12_240, "3.4 h"), (1e6, "11.6 days")]
)
def test_durations_are_readable(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text
