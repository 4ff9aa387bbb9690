"""Scans and writes that are killed at random moments leave photos and catalogue intact."""

from __future__ import annotations

import os
import sqlite3
import time
from pathlib import Path
from random import Random
from typing import Literal

import pytest

from showtell import Captioner
from showtell.photos.catalogue.database import Catalogue
from showtell.photos.catalogue.journal import recover
from showtell.photos.catalogue.records import photo_records
from showtell.photos.undo import last_run, undo_last_run
from showtell.photos.write_plan import WriteOptions
from support.photo_killing import RandomKiller, temporary_files
from support.photo_library import contents, library, pixels, scan_fully, write_fully

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
SUFFIXES = (".jpg", ".png", ".webp")


def check_catalogue(catalogue: Path) -> None:
    """Check the file with SQLite alone, and through showtell."""
    if not catalogue.exists():  # killed before it was created
        return
    connection = sqlite3.connect(catalogue)
    assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.close()
    with Catalogue(catalogue) as opened:
        assert opened.is_intact()


def kill_scans(tmp_path: Path, captioner: Captioner, kills: int, photos: int) -> set[int]:
    """Kill scans, each of which continues the last; return how many captions each kill left."""
    lib, catalogue = tmp_path / "lib", tmp_path / "photos.sqlite"
    paths = library(lib, photos, SUFFIXES)
    before = contents(lib)

    def work() -> None:
        with Catalogue(catalogue, create=True) as opened:
            scan_fully(opened, lib, captioner)

    started = time.perf_counter()
    work()
    killer, random = RandomKiller(work, time.perf_counter() - started), Random(kills)
    captions, caption_counts = photos, set()
    while killer.kills < kills:
        if captions == photos:  # nothing left to do: start again
            with Catalogue(catalogue) as opened, opened.transaction():
                opened.execute("DELETE FROM files")
                opened.execute("DELETE FROM pictures")
                opened.execute("DELETE FROM search")
            captions = 0
        killer.run_once(random)
        check_catalogue(catalogue)
        assert contents(lib) == before
        with Catalogue(catalogue) as opened:
            now = opened.value("SELECT count(*) FROM captions")
        assert now >= captions, "saved captions are lost"
        captions = now
        caption_counts.add(now)
    with Catalogue(catalogue) as opened:
        scan_fully(opened, lib, captioner)
        assert [item.path for item in photo_records(opened)] == paths
        assert opened.value("SELECT count(*) FROM files WHERE pending OR claim NOT NULL") == 0
    return caption_counts


def kill_writes(
    tmp_path: Path, captioner: Captioner, to: Literal["sidecar", "embed"], kills: int, photos: int
) -> set[tuple[bool, int]]:
    """Kill write and undo: after each kill, every file has its old or its complete new bytes.

    Returns what the kills left: if there were temporary files, and how many files were written.
    """
    lib, catalogue = tmp_path / "lib", tmp_path / "photos.sqlite"
    library(lib, photos, SUFFIXES)
    options = WriteOptions(to=to)

    def work() -> None:
        with Catalogue(catalogue) as opened:
            write_fully(opened, options)
            *_, counts = undo_last_run(opened, report=pytest.fail)
            assert counts.restored

    with Catalogue(catalogue, create=True) as opened:
        scan_fully(opened, lib, captioner)
        old = contents(lib)
        dates = {path: path.stat().st_mtime_ns for path in old}
        decoded = {path: pixels(path) for path in old}
        started = time.perf_counter()
        write_fully(opened, options)
        new = contents(lib)
        assert new != old
        list(undo_last_run(opened, report=pytest.fail))
    assert contents(lib) == old
    killer, random = RandomKiller(work, time.perf_counter() - started), Random(kills)
    outcomes = set()
    while killer.kills < kills:
        killer.run_once(random)
        check_catalogue(catalogue)
        now = contents(lib)
        assert old.keys() <= now.keys()
        changed = 0
        for path, data in now.items():
            if path.name.startswith(".showtell-"):
                continue  # an unused copy: the next run removes it
            assert data in (old.get(path), new.get(path)), path
            changed += data != old.get(path)
            if path in old:
                assert pixels(path) == decoded[path]
                assert path.stat().st_mtime_ns == dates[path]
        outcomes.add((bool(temporary_files(lib)), changed))
        undo_all(catalogue)
        assert temporary_files(lib) == []
        assert contents(lib) == old
    return outcomes


def undo_all(catalogue: Path) -> None:
    """Undo all runs."""
    with Catalogue(catalogue) as opened:
        while can_undo(opened):
            list(undo_last_run(opened, report=pytest.fail))


def can_undo(catalogue: Catalogue) -> bool:
    recover(catalogue)
    return last_run(catalogue) is not None


def test_scan_killed_at_random_moments(tmp_path: Path, captioner: Captioner) -> None:
    assert len(kill_scans(tmp_path, captioner, 15, 60)) >= 4, "the kills came too early or too late"


def test_writing_sidecars_killed_at_random_moments(tmp_path: Path, captioner: Captioner) -> None:
    outcomes = kill_writes(tmp_path, captioner, "sidecar", 15, 40)
    assert len(outcomes) >= 2, "the kills came too early or too late"


def test_embedding_killed_at_random_moments(tmp_path: Path, captioner: Captioner) -> None:
    kill_writes(tmp_path, captioner, "embed", 6, 6)


@pytest.mark.slow
@pytest.mark.timeout(0)
def test_scan_killed_200_times(tmp_path: Path, captioner: Captioner) -> None:
    counts = kill_scans(tmp_path, captioner, 200, 60)
    print(f"\n200 kills of a scan left {len(counts)} different counts of captions")  # noqa: T201


@pytest.mark.slow
@pytest.mark.timeout(0)
def test_writing_sidecars_killed_200_times(tmp_path: Path, captioner: Captioner) -> None:
    outcomes = kill_writes(tmp_path, captioner, "sidecar", 200, 40)
    print_outcomes(outcomes, 200, "writes of sidecars and their undos")


@pytest.mark.slow
@pytest.mark.timeout(0)
def test_embedding_killed_100_times(tmp_path: Path, captioner: Captioner) -> None:
    outcomes = kill_writes(tmp_path, captioner, "embed", 100, 6)
    print_outcomes(outcomes, 100, "embeddings and their undos")


def print_outcomes(outcomes: set[tuple[bool, int]], kills: int, operation: str) -> None:
    has_temporary = any(temporary for temporary, _ in outcomes)
    counts = sorted({count for _, count in outcomes})
    fate = "left, and removed by the next run" if has_temporary else "never left"
    print(  # noqa: T201
        f"\n{kills} kills of {operation}: temporary files were {fate};"
        f" files written when killed: {counts}"
    )
