"""Parts are captioned as `showtell caption` captions, and written whole, once, whatever happens."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from showtell.cluster.attempts import DEADLY, GIVE_UP, PATIENCE, Tries
from showtell.cluster.inputs import Input, Part, find_input
from showtell.cluster.job_state import Job, check_same, finished, kept_job, sweep
from showtell.cluster.output import PartResult, part_bytes, read_result, reason_of_failure
from showtell.cluster.storage import Storage
from showtell.cluster.summary import Run, duration, summarise
from showtell.cluster.worker import CaptionParts, Work
from showtell.errors import DatasetError
from showtell.files.remote import TEMPORARY
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

JOB = Job(
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


def worker(found: Input, storage: Storage, model: str, **options: Any) -> CaptionParts:
    files = {file.name: file.read_bytes() for file in Path(model).iterdir()}
    return CaptionParts(Work(JOB.id, found, storage, options, 4, None), files)


def listed(folder: Path, storage: Storage, **options: Any) -> Input:
    return find_input(folder, listing=storage, write_listing=True, **options)


@pytest.fixture
def tiny(tmp_path: Path) -> str:
    return model(tmp_path / "model")


def test_parts_hold_what_showtell_caption_writes(tmp_path: Path, tiny: str) -> None:
    folder = write_folder(tmp_path / "photos", 23, bad=[4, 20])
    storage = Storage.of(tmp_path / "out")
    found = listed(folder, storage)
    actor = worker(found, storage, tiny, nbest=2)
    parts = found.parts(9)
    # as Ray calls it: arrays of what was put in, answers as columns
    answers = [actor({"part": [json.dumps(asdict(part))]})["result"][0] for part in parts]
    wanted = list(captions_of(tiny, folder))
    rows = rows_of(tmp_path / "out")
    assert len(parts) == 3
    assert [list(row) for row in rows] == [FIELDS] * 23
    assert [row["path"] for row in rows] == [row["path"] for row in wanted]
    assert [row["error"] for row in rows] == [row["error"] for row in wanted]
    assert sum(row["error"] is not None for row in rows) == 2
    alone = dict(zip((row["path"] for row in rows), rows, strict=True))
    for caption in captions_of(tiny, folder):
        row = alone[caption["path"]]
        assert (row["text"], row["log_probability"]) == (
            caption["text"],
            caption["log_probability"],
        )
        assert len(row["alternatives"]) == (row["error"] is None)
    results = [PartResult(**json.loads(answer)) for answer in answers]
    assert sum(result.captioned for result in results) == 21
    assert results[0].seconds >= results[0].writing > 0
    assert not [name for name in storage.names() if name.startswith(("_trying", TEMPORARY))]


def test_a_part_says_which_photos_it_holds(tmp_path: Path, tiny: str) -> None:
    table = write_parquet(
        tmp_path / "a.parquet", {"path": [f"{n}.png" for n in range(9)], "jpg": [photo(1)] * 9}
    )
    storage = Storage.of(tmp_path / "out")
    found = listed(table, storage)
    worker(found, storage, tiny).caption(found.parts(4)[1])
    kept = json.loads(
        pq.read_metadata(tmp_path / "out" / "part-000001.parquet").metadata[b"showtell"]
    )
    assert (kept["job"], kept["source"], kept["start"], kept["captioned"]) == (
        JOB.id,
        str(table),
        4,
        4,
    )


def test_a_path_that_is_no_utf_8_is_spelt_out(tmp_path: Path, tiny: str) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    Path(os.fsdecode(os.fsencode(folder) + b"/caf\xe9.png")).write_bytes(photo(1))
    storage = Storage.of(tmp_path / "out")
    found = listed(folder, storage)
    worker(found, storage, tiny).caption(found.parts(9)[0])
    [row] = rows_of(tmp_path / "out")
    assert row["path"].endswith(r"caf\udce9.png")
    assert row["text"]


def test_a_full_disk_is_an_answer_and_no_part(
    tmp_path: Path, tiny: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = Storage.of(tmp_path / "out")
    found = listed(write_folder(tmp_path / "photos", 3), storage)
    actor = worker(found, storage, tiny)

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    [answer] = actor({"part": [json.dumps(asdict(found.parts(9)[0]))]})["result"]
    assert "no space left on device" in json.loads(answer)["stopped"]
    assert storage.names() == ["_input.parquet"]


def test_the_photo_that_ends_its_worker_is_found_and_left_out(
    tmp_path: Path, tiny: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_folder(tmp_path / "photos", 12)
    storage = Storage.of(tmp_path / "out")
    found = listed(folder, storage)
    [part] = found.parts(99)
    deadly = str(sorted(folder.glob("*.png"))[2])

    class Ended(BaseException):
        """What stands here for SIGKILL: nothing of the worker runs after it."""

    actor = worker(found, storage, tiny)

    def pixels(opened: Any, *arguments: Any, **options: Any) -> Any:
        if str(opened) == deadly:
            raise Ended
        return load_pixels(opened, *arguments, **options)

    monkeypatch.setattr("showtell.pipeline.load_pixels", pixels)
    ends = 0
    while True:
        try:
            actor.caption(part)
            break
        except Ended:
            ends += 1
    rows = {row["path"]: row["error"] for row in rows_of(tmp_path / "out")}
    assert ends == PATIENCE + 2
    assert len(rows) == 12
    assert {path: error for path, error in rows.items() if error} == {deadly: f"{deadly}: {DEADLY}"}


def test_a_part_that_ends_every_worker_ends_the_job(tmp_path: Path) -> None:
    storage = Storage.of(tmp_path)
    for _ in range(GIVE_UP):
        Tries(storage, 7).begin()
    with pytest.raises(DatasetError, match="has it enough memory"):
        Tries(storage, 7).begin()


def written(storage: Storage, number: int, job: str = JOB.id) -> None:
    record = {
        "path": "a",
        "text": "b",
        "error": None,
        "log_probability": -1.0,
        "confidence": None,
        "alternatives": [],
    }
    result = PartResult(number, "a", 0, 1)
    storage.write(f"part-{number:06d}.parquet", part_bytes([record], job, result))


def test_only_whole_parts_of_this_job_are_done(tmp_path: Path) -> None:
    storage = Storage.of(tmp_path)
    parts = [Part(number, "a") for number in range(5)]
    written(storage, 0)
    written(storage, 1, job="another")
    written(storage, 2)
    half = tmp_path / "part-000002.parquet"
    half.write_bytes(half.read_bytes()[:-30])
    (tmp_path / "part-000003.parquet").write_bytes(b"")
    assert list(finished(storage, JOB, parts)) == [0]
    assert read_result(storage, "part-000000.parquet", JOB.id) == PartResult(0, "a", 0, 1)
    (tmp_path / "other.parquet").write_bytes(b"")
    with pytest.raises(DatasetError, match=r"other\.parquet is no part of this job"):
        finished(storage, JOB, parts)


def test_what_a_killed_job_left_half_written_is_swept_away(tmp_path: Path) -> None:
    storage = Storage.of(tmp_path)
    written(storage, 0)
    (tmp_path / f"{TEMPORARY}abc").write_text("half")
    sweep(storage)
    assert storage.names() == ["part-000000.parquet"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"digest": "e"}, "its photos changed"),
        ({"model": "n", "model_sha256": "t"}, "model m, not n; the model's files changed"),
        ({"decoding": {"beam": 5, "nbest": 1}}, "beam 3, not 5"),
        ({"batch_size": 8}, "batch size 16, not 8"),
        ({"limit": 9}, "limit None, not 9"),
        ({"input": "other"}, "input in, not other"),
    ],
)
def test_another_job_in_the_folder_is_named_by_what_differs(
    tmp_path: Path, change: dict[str, Any], said: str
) -> None:
    storage = Storage.of(tmp_path / "new")
    assert kept_job(storage) is None
    JOB.keep(storage)
    kept = kept_job(storage)
    assert kept == JOB
    check_same(storage, kept, JOB)
    with pytest.raises(DatasetError, match=said):
        check_same(storage, kept, replace(JOB, **change))


def test_a_folder_of_other_things_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.docx").write_text("x")
    with pytest.raises(DatasetError, match="holds files, and no job of showtell"):
        kept_job(Storage.of(tmp_path))


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        ("a.jpg: no such file", "no such file"),
        ("a.jpg: damaged, cannot be decoded (at byte 7)", "damaged, cannot be decoded"),
        ("a.jpg: truncated: the file ends before the picture does", "truncated"),
        (
            "a.jpg: 20000 x 30000 pixels are more than 178,956,970: too large to open safely",
            "N x N pixels are more than N",
        ),
    ],
)
def test_failures_are_counted_by_their_reason(error: str, reason: str) -> None:
    assert reason_of_failure({"path": "a.jpg", "error": error}) == reason


def test_the_summary_adds_up_and_reckons_the_whole() -> None:
    results = [
        PartResult(n, "a", 0, 90, {"no such file": 10}, seconds=5, cpu=4, memory=n)
        for n in range(2)
    ]
    run = Run(cores=2, photos=200, seconds=5.0, starting=8.0)
    summary = summarise(
        results, run, input="i", output="o", model="m", price=0.04, whole=(40_000_000, True)
    )
    assert (summary.photos, summary.captioned, summary.failed) == (200, 180, 20)
    assert summary.failed_by_reason == {"no such file": 20}
    assert summary.photos_per_second == 40
    # 2 cores for 25,000 seconds
    assert summary.core_hours_per_million == pytest.approx(2 * 25_000 / 3600)
    assert summary.cost_per_million == pytest.approx(0.5556, abs=1e-4)
    assert summary.estimate is not None
    assert summary.estimate.seconds == 1_000_000
    assert summary.estimate.cost == pytest.approx(40 * 0.5556, abs=1e-2)
    text = "\n".join(summary.lines())
    assert "180 photos captioned, 20 failed, in o" in text
    assert "20: no such file" in text
    assert "40,000,000 photos, would take 11.6 days on 2 cores: 555.56 core hours, 22.22" in text


def test_a_run_that_found_all_done_takes_speed_from_the_parts() -> None:
    results = [PartResult(n, "a", 0, 100, seconds=5) for n in range(2)]
    summary = summarise(results, Run(2, 0, 0.0, 0.0), input="i", output="o", model="m", price=None)
    assert summary.photos_per_second == 40
    assert summary.cost_per_million is None


@pytest.mark.parametrize(
    ("seconds", "said"), [(41, "41 s"), (720, "12 min"), (12_240, "3.4 h"), (1e6, "11.6 days")]
)
def test_spans_of_time_for_a_person(seconds: float, said: str) -> None:
    assert duration(seconds) == said
