from __future__ import annotations

import csv
import json
import os
import pty
import shutil
import subprocess
import sys
import tempfile
import termios
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.odd_photos import corners, encoded, write_broken, write_odd
from support.tiny_bundles import write_bundle


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return os.fspath(write_bundle(tmp_path_factory.mktemp("models") / "tiny").path)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for name, size in (("b.png", 40), ("a.jpg", 80)):
        corners(size, size).save(folder / name)
    return folder


def showtell(
    *arguments: object, stdin: bytes = b"", **options: object
) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(  # type: ignore[call-overload, no-any-return]
        [sys.executable, "-m", "showtell", "caption", *map(os.fspath, arguments)],  # type: ignore[arg-type]
        input=stdin,
        capture_output=True,
        timeout=60,
        **options,
    )


def records(done: subprocess.CompletedProcess[bytes]) -> list[dict[str, object]]:
    return [json.loads(row) for row in done.stdout.splitlines()]


def test_folder_is_captioned_in_order_and_silent_in_a_pipe(photos: Path, model: str) -> None:
    done = showtell(photos, "--model", model)
    assert (done.returncode, done.stderr) == (0, b"")
    lines = done.stdout.decode().splitlines()
    assert [row.split(": ")[0] for row in lines] == [f"{photos}/a.jpg", f"{photos}/b.png"]
    assert all(row.split(": ")[1] for row in lines)


def test_broken_photos_are_named_and_the_others_captioned(tmp_path: Path, model: str) -> None:
    broken, odd = write_broken(tmp_path), write_odd(tmp_path)
    done = showtell(tmp_path, "--model", model, "--format", "jsonl")
    assert done.returncode == 1
    found = {record["path"]: record for record in records(done)}
    assert sorted(found) == sorted(os.fspath(tmp_path / name) for name in [*broken, *odd])
    for name in odd:
        record = found[os.fspath(tmp_path / name)]
        assert record["error"] is None
        assert record["text"]
    errors = done.stderr.decode().splitlines()
    assert len(errors) == len(broken)
    for name, reason in broken.items():
        [message] = [row for row in errors if f"/{name}: " in row]
        assert reason in message
        assert message == f"showtell: {found[os.fspath(tmp_path / name)]['error']}"
    assert b"Traceback" not in done.stderr


def test_max_pixels_bounds_each_photo(photos: Path, model: str) -> None:
    done = showtell(photos, "--model", model, "--max-pixels", "2000", "--format", "jsonl")
    assert done.returncode == 1
    errors = [record["error"] for record in records(done)]
    assert errors[1] is None
    assert "80 x 80 pixels are more than 2,000" in str(errors[0])
    assert "--max-pixels" in str(errors[0])


def test_strange_names_are_one_line_of_text(tmp_path: Path, model: str) -> None:
    write_odd(tmp_path)
    done = showtell(tmp_path, "--model", model)
    assert done.returncode == 0
    text = done.stdout.decode("utf-8")
    assert f"{tmp_path}/line\\nbreak.jpg: " in text
    assert f"{tmp_path}/no-utf8-\\xff\\xfe.jpg: " in text


def test_photo_without_utf8_name_is_captioned_by_name(tmp_path: Path, model: str) -> None:
    write_odd(tmp_path)
    name = os.fsencode(tmp_path) + b"/no-utf8-\xff\xfe.jpg"
    done = subprocess.run(
        [sys.executable, "-m", "showtell", "caption", name, "-m", model, "--format", "jsonl"],
        capture_output=True,
        check=True,
    )
    assert b"no-utf8-\\udcff\\udcfe.jpg" in done.stdout


def test_unreadable_photo_is_an_error_for_an_ordinary_user(model: str) -> None:
    folder = Path(tempfile.mkdtemp())  # pytest's own folders are closed to other users
    try:
        folder.chmod(0o755)
        shutil.copytree(model, folder / "model")
        corners().save(folder / "open.jpg")
        corners().save(folder / "closed.jpg")
        (folder / "closed.jpg").chmod(0)
        (folder / "room").mkdir(mode=0)
        # Root may read anything, so the process gives its rights up once all code is loaded.
        script = f"""
import os, sys
from showtell.cli import main
arguments = ["caption", "-m", {os.fspath(folder / "model")!r}]
try:
    main([*arguments, {os.fspath(folder / "open.jpg")!r}])
except SystemExit as ended:
    assert not ended.code
import encodings.idna, linecache, concurrent.futures.thread
if os.getuid() == 0:
    os.setgroups([]), os.setgid(65534), os.setuid(65534)
main([*arguments, {os.fspath(folder)!r}, {os.fspath(folder / "room")!r}])
"""
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    finally:
        (folder / "room").rmdir()
        shutil.rmtree(folder)
    assert done.returncode == 1
    assert done.stdout.count("open.jpg: ") == 2
    assert sorted(done.stderr.splitlines()) == [
        f"showtell: {folder}/closed.jpg: no permission to read it",
        f"showtell: {folder}/room: the folder cannot be listed (permission denied)",
    ]


def test_photo_from_standard_input(model: str) -> None:
    data = encoded(corners(), "PNG")
    done = showtell("-", "-m", model, "--format", "jsonl", stdin=data)
    assert done.returncode == 0
    [record] = records(done)
    assert record["path"] == "-"
    assert record["text"]
    done = showtell("-", "-m", model, stdin=b"no photo")
    assert done.returncode == 1
    assert done.stderr.startswith(b"showtell: <stdin>: not a photo")
    assert showtell("-", "-", "-m", model, stdin=data).returncode == 2


def test_recursive_looks_into_subfolders(photos: Path, tmp_path: Path, model: str) -> None:
    flat = showtell(tmp_path, "-m", model)
    assert flat.returncode == 1
    assert b"no photos here" in flat.stderr
    assert b"--recursive" in flat.stderr
    assert showtell(tmp_path, "-m", model, "--recursive").stdout.count(b"\n") == 2


def test_nbest_words_and_attention(photos: Path, model: str) -> None:
    done = showtell(photos / "a.jpg", "-m", model, "--nbest", "3", "--words", "--format", "jsonl")
    [record] = records(done)
    assert len(record["alternatives"]) == 2  # type: ignore[arg-type]
    word = record["words"][0]  # type: ignore[index]
    assert len(word["attention"]) == len(word["attention"][0]) == 4
    text = showtell(photos / "a.jpg", "-m", model, "--nbest", "3", "--words").stdout.decode()
    assert len(text.splitlines()) == 4


def test_csv_to_a_file(photos: Path, tmp_path: Path, model: str) -> None:
    output = tmp_path / "captions.csv"
    done = showtell(photos, "-m", model, "--format", "csv", "--output", output)
    assert (done.returncode, done.stdout) == (0, b"")
    with output.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [Path(row["path"]).name for row in rows] == ["a.jpg", "b.png"]
    assert all(row["text"] and not row["error"] for row in rows)


def test_failed_run_leaves_the_older_output_alone(tmp_path: Path, model: str) -> None:
    output = tmp_path / "captions.txt"
    output.write_text("before")
    (tmp_path / "empty").mkdir()
    done = showtell(tmp_path / "empty", "-m", model, "--output", output)
    assert done.returncode == 1
    assert output.read_text() == "before"


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--nbest", "4", "--beam", "2"], b"nbest: 4"),
        (["--groups", "2", "--strategy", "diverse"], b"groups: 2"),
        (["--beam", "0"], b"--beam"),
        (["--words", "--format", "csv"], b"--words"),
        (["--format", "xml"], b"--format"),
        (["--top-p", "0"], b"--top-p"),
        (["--no-such-option"], b"--no-such-option"),
        ([""], b"a PATH is empty"),
    ],
)
def test_wrong_usage_exits_with_two(
    photos: Path, model: str, arguments: list[str], reason: bytes
) -> None:
    done = showtell(photos, "-m", model, *arguments)
    assert done.returncode == 2
    assert reason in done.stderr
    assert b"Traceback" not in done.stderr


def test_no_path_is_wrong_usage() -> None:
    assert showtell().returncode == 2


def test_missing_model_is_one_line(photos: Path, tmp_path: Path) -> None:
    done = showtell(photos, "-m", tmp_path / "nowhere")
    assert done.returncode == 1
    assert done.stderr.count(b"\n") == 1


@pytest.mark.parametrize("strategy", ["diverse", "sample", "mbr"])
def test_strategies_repeat_exactly(photos: Path, model: str, strategy: str) -> None:
    arguments = [photos, "-m", model, "--strategy", strategy, "--seed", "3"]
    first = showtell(*arguments)
    assert (first.returncode, first.stderr) == (0, b"")
    assert first.stdout == showtell(*arguments, "--batch-size", "1").stdout


@pytest.fixture
def terminal() -> Iterator[tuple[int, int]]:
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 80))
    yield ours, theirs
    os.close(ours)


def test_terminal_gets_a_progress_bar(photos: Path, model: str, terminal: tuple[int, int]) -> None:
    ours, theirs = terminal
    done = subprocess.run(
        [sys.executable, "-m", "showtell", "caption", photos, "-m", model],
        stdout=subprocess.PIPE,
        stderr=theirs,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 0
    assert done.stdout.count(b"\n") == 2
    assert b"2/2" in os.read(ours, 10_000)
    os.close(theirs)


def test_reader_that_goes_away_is_no_traceback(photos: Path, model: str) -> None:
    command = f'"{sys.executable}" -m showtell caption {photos} {photos} -m {model} | head -n 1'
    done = subprocess.run(["bash", "-c", command], capture_output=True)
    assert done.stdout.count(b"\n") == 1
    assert done.stderr == b""
