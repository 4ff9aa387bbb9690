"""The whole job on real Ray: killed workers and killed jobs leave each photo in the output once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from showtell.data import open_dataset
from showtell.data.shards.write import write_shards
from support.photo_collections import captions_of, model, photo, rows_of

WORKER = "ray::MapWorker"
PATIENCE = 500  # seconds: Ray starts slowly on a busy machine
PHOTOS = 7000  # of Flickr8k


class RunningJob:
    """A running `showtell cluster caption`, with Ray's processes as its children."""

    def __init__(self, *arguments: str | Path, cwd: Path) -> None:
        command = [sys.executable, "-m", "showtell", "cluster", "caption", *map(str, arguments)]
        self.output = cwd / "output.txt"
        with self.output.open("wb") as file:
            self.process = subprocess.Popen(command, cwd=cwd, stdout=file, stderr=file)
        self.children: set[psutil.Process] = set()

    def workers(self) -> list[psutil.Process]:
        """The processes of the actors that are ready, which Ray renames."""
        self.children.update(psutil.Process(self.process.pid).children(recursive=True))
        return [process for process in self.children if self._is_worker(process)]

    @staticmethod
    def _is_worker(process: psutil.Process) -> bool:
        try:
            return process.is_running() and process.name().startswith(WORKER[:15])
        except psutil.NoSuchProcess:
            return False

    def until(self, condition: Callable[[], object], patience: float = PATIENCE) -> None:
        """Wait until a condition holds."""
        end = time.monotonic() + patience
        while not condition():
            assert self.process.poll() is None, self.output.read_text()
            assert time.monotonic() < end, self.output.read_text()
            time.sleep(0.05)

    def kill(self) -> None:
        """Kill the job with SIGKILL and wait until all its workers have ended."""
        workers = self.workers()
        self.process.kill()
        self.process.wait()
        _, alive = psutil.wait_procs(workers, timeout=60)
        assert not alive

    def wait(self, code: int) -> str:
        """Wait until the job ends with an exit code; return its output."""
        assert self.process.wait(3600) == code, self.output.read_text()
        return self.output.read_text()


@pytest.fixture
def start() -> Iterator[Callable[..., RunningJob]]:
    started: list[RunningJob] = []

    def begin(*arguments: str | Path, cwd: Path) -> RunningJob:
        started.append(RunningJob(*arguments, cwd=cwd))
        return started[-1]

    yield begin
    for job in started:
        if job.process.poll() is None:
            job.kill()


def parts_in(output: Path) -> list[Path]:
    return sorted(output.glob("part-*.parquet"))


def kill_worker_then_job(
    job: RunningJob, output: Path, patience: float = PATIENCE
) -> dict[Path, int]:
    """Kill a worker, wait for its replacement, kill the job; return the finished parts."""
    job.until(lambda: len(parts_in(output)) >= 2 and job.workers(), patience)
    workers = job.workers()
    workers[0].kill()
    job.until(lambda: set(job.workers()) - set(workers), patience)
    finished = len(parts_in(output))
    job.until(lambda: len(parts_in(output)) > finished, patience)
    job.kill()
    return {part: part.stat().st_mtime_ns for part in parts_in(output)}


@pytest.mark.timeout(1500)
def test_killed_workers_and_jobs_leave_each_photo_in_the_output_once(
    tmp_path: Path, start: Callable[..., RunningJob]
) -> None:
    tiny = model(tmp_path / "model")
    photos = tmp_path / "photos"
    photos.mkdir()
    for number in range(200):  # large, so that there is time to kill a process
        if number < 5:
            (photos / f"{number:03d}.png").write_bytes(photo(number, size=2000))
        else:
            (photos / f"{number:03d}.png").hardlink_to(photos / f"{number % 5:03d}.png")
    (photos / "bad.jpg").write_bytes(b"not a photo")
    output = tmp_path / "out"
    arguments = ["photos", output, "--model", tiny, "--part-size", "16"]
    arguments += ["--concurrency", "2"]
    done = kill_worker_then_job(start(*arguments, cwd=tmp_path), output)
    assert 2 < len(done) < 13

    output_text = start(*arguments, cwd=tmp_path).wait(1)

    assert {part: part.stat().st_mtime_ns for part in done} == done  # not captioned again
    assert len(parts_in(output)) == 13
    os.chdir(tmp_path)
    expected = list(captions_of(tiny, Path("photos")))
    assert rows_of(output) == expected
    summary = json.loads((output / "_summary.json").read_text())
    assert (summary["photos"], summary["captioned"], summary["failed"]) == (201, 200, 1)
    assert summary["run_photos"] == 201 - sum(pq.read_metadata(part).num_rows for part in done)
    resuming, starting, captioned, *others = output_text.splitlines()
    assert resuming == f"resuming: {201 - summary['run_photos']} of 201 photos are there"
    assert starting == "starting Ray on this machine"
    assert captioned.startswith("200 photos captioned, 1 failed")
    assert len(others) == 3  # and no lines of Ray

    # a finished job is summarised without Ray, and another job is refused
    repeated = start(*arguments, "--price-per-core-hour", "1", cwd=tmp_path)
    assert "200 photos captioned" in repeated.wait(1)
    other = start(*arguments, "--beam", "1", cwd=tmp_path).wait(1)
    assert "holds another job (beam 3, not 1): to resume" in other


@pytest.fixture(scope="module")
def flickr(shared_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Any]]:
    """Photos of Flickr8k in a folder, and their captions by `showtell caption`."""
    folder = tmp_path_factory.mktemp("flickr") / "photos"
    folder.mkdir()
    source = shared_dir / "flickr8k" / "Flicker8k_Dataset"
    for path in sorted(source.glob("*.jpg"))[:PHOTOS]:
        (folder / path.name).symlink_to(path.resolve())
    lines = folder.parent / "captions.jsonl"
    subprocess.run(
        [sys.executable, "-m", "showtell", "caption", folder, "--format", "jsonl", "-o", lines],
        check=True,
    )
    return folder, [json.loads(line) for line in lines.read_text().splitlines()]


def without_path(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [row | {"path": Path(row["path"]).name} for row in rows]


@pytest.mark.slow
@pytest.mark.shared
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("kind", ["folder", "shards", "parquet"])
def test_killed_flickr8k_job_ends_with_the_captions_of_showtell_caption(
    kind: str, flickr: tuple[Path, list[Any]], tmp_path: Path, start: Callable[..., RunningJob]
) -> None:
    folder, expected = flickr
    source, output = folder, tmp_path / "out"
    if kind == "shards":
        source = tmp_path / "shards"
        listing = folder.parent / "captions.csv"
        rows = (f"{folder.name}/{path.name},a photo,train\n" for path in sorted(folder.iterdir()))
        listing.write_text("image,caption,split\n" + "".join(rows))
        write_shards(open_dataset(listing), source, photos_per_shard=500)
    if kind == "parquet":
        source = tmp_path / "photos.parquet"
        paths = sorted(folder.iterdir())
        columns = {"path": [p.name for p in paths], "image": [p.read_bytes() for p in paths]}
        pq.write_table(pa.table(columns), source, row_group_size=512)
    arguments = [source, output, "--concurrency", "2"]
    done = kill_worker_then_job(start(*arguments, cwd=tmp_path), output, patience=3000)
    assert done

    start(*arguments, cwd=tmp_path).wait(0)

    assert {part: part.stat().st_mtime_ns for part in done} == done
    rows = sorted(without_path(rows_of(output)), key=lambda row: row["path"])
    assert len(rows) == PHOTOS
    assert rows == sorted(without_path(expected), key=lambda row: row["path"])
