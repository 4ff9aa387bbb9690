"""A job of an older version is migrated in place, whenever the migration is interrupted."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest

from showtell.cluster.attempts import PartAttempts
from showtell.cluster.folder_listing import LISTING, check_listing, write_listing
from showtell.cluster.job_state import JOB_FILE, JobSpec, finished_parts, load_job
from showtell.cluster.older_jobs import migrate_job
from showtell.cluster.output import PartResult, part_bytes
from showtell.cluster.parts import JobPart
from showtell.cluster.storage import Storage
from showtell.errors import DatasetError
from support.photo_collections import FIELDS

NAMES = [b"a.png", b"b.png", b"c.png", b"d.png"]
PARTS = [JobPart(0, LISTING, 0, 2), JobPart(1, LISTING, 2, 2)]
DIGEST = "0c1b3f6cd4ad6b1ad8e9f0b6f0dcd1a9"
JOB = JobSpec("in", "folder", None, "", DIGEST, 16, 2, 2, None, None, "m", "s", {"beam": 3})
NEW_FILES = [f"attempts-{1:06d}.json", LISTING, JOB_FILE]


@pytest.fixture(params=["disk", "memory"])
def older(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Storage]:
    """The folder of a job as older versions left it: the first of two parts is finished."""
    memory = f"memory://{uuid.uuid4().hex}"
    storage = Storage.of(memory if request.param == "memory" else tmp_path / "out")
    write_listing(storage, NAMES)
    JOB.save(storage)
    PartAttempts(storage, 1).begin()
    files = storage.job_files
    files.move(LISTING, storage, "_input.parquet")
    files.move(JOB_FILE, storage, "_job.json")
    files.move("attempts-000001.json", storage, "_attempts-000001.json")
    rows = [dict.fromkeys(FIELDS) | {"path": name.decode()} for name in NAMES[:2]]
    result = PartResult(0, "_input.parquet", 0, 2)  # the source under its old name
    storage.write(PARTS[0].name, part_bytes(rows, JOB.id, result))
    yield storage
    fsspec.filesystem("memory").store.clear()


def assert_resumes(storage: Storage) -> None:
    assert load_job(storage) == JOB
    assert list(finished_parts(storage, JOB, PARTS)) == [0]
    assert storage.names() == [PARTS[0].name]
    assert storage.job_files.names() == sorted(NEW_FILES)
    with pytest.raises(DatasetError, match="its paths are not the job's"):  # it is read, so there
        check_listing(storage, "another", PARTS)
    attempts = PartAttempts(storage, 1)
    for _ in range(2):
        attempts.begin()
    assert attempts.one_by_one  # the third attempt


def test_job_of_an_older_version_resumes(older: Storage) -> None:
    assert_resumes(older)


@pytest.mark.parametrize("moves", range(3))
def test_interrupted_migration_is_completed_by_the_next_run(
    moves: int, older: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    move, done = Storage.move, []

    def interrupted(self: Storage, name: str, target: Storage, new_name: str) -> None:
        if len(done) == moves:
            raise KeyboardInterrupt
        done.append(name)
        move(self, name, target, new_name)

    with monkeypatch.context() as patch:
        patch.setattr(Storage, "move", interrupted)
        with pytest.raises(KeyboardInterrupt):
            load_job(older)
    assert len(done) == moves
    assert "_job.json" in older.names()
    assert_resumes(older)


def test_folder_without_an_older_job_is_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "_input.parquet").write_bytes(b"of somebody else")
    storage = Storage.of(tmp_path)
    migrate_job(storage, storage.names())
    assert [path.name for path in tmp_path.iterdir()] == ["_input.parquet"]
