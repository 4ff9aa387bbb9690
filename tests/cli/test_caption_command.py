from __future__ import annotations

import codecs
import csv
import json
import os
import pty
import shutil
import signal
import subprocess
import sys
import tempfile
import termios
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.odd_photos import corners, encoded, write_broken, write_odd
from support.paths import EXAMPLES
from support.photo_library import picture
from support.tiny_bundles import CALIBRATION, write_bundle


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
        timeout=300,
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
    *errors, left_out = done.stderr.decode().splitlines()
    assert left_out.startswith("left out: ")
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
        "left out: 2 subfolders (see --recursive)",
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


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_keywords_of_a_model_that_has_some(tmp_path: Path, suffix: str) -> None:
    photo = EXAMPLES / "polar-bear.jpg"
    done = showtell(photo, "-m", "general", "--keywords", "--format", "jsonl")
    [record] = records(done)
    assert "bear" in [keyword["word"] for keyword in record["keywords"]]  # type: ignore[attr-defined]
    output = tmp_path / f"captions.{suffix}"
    assert showtell(photo, "-m", "general", "--keywords", "-o", output).returncode == 0
    if suffix == "csv":
        [row] = csv.DictReader(output.read_text("utf-8-sig").splitlines())
        assert "bear" in [item.split()[0] for item in row["keywords"].split("; ")]
    kept = showtell(photo, "-m", "general", "--keywords", "-o", output)
    assert b"1 kept from an earlier run" in kept.stderr
    refused = showtell(photo, "-m", "general", "-o", output)
    assert refused.returncode == 1
    assert b"has captions with --keywords: give the same option" in refused.stderr


def test_keywords_of_a_model_without_any_are_refused(photos: Path, model: str) -> None:
    done = showtell(photos, "-m", model, "--keywords")
    assert done.returncode == 2
    assert b"--keywords: the model tiny has none: choose one with --model" in done.stderr
    assert done.stdout == b""


def test_nbest_words_and_attention(photos: Path, model: str) -> None:
    done = showtell(photos / "a.jpg", "-m", model, "--nbest", "3", "--words", "--format", "jsonl")
    [record] = records(done)
    assert len(record["alternatives"]) == 2  # type: ignore[arg-type]
    word = record["words"][0]  # type: ignore[index]
    assert len(word["attention"]) == len(word["attention"][0]) == 4
    text = showtell(photos / "a.jpg", "-m", model, "--nbest", "3", "--words").stdout.decode()
    caption, *listed, _ = text.splitlines()
    assert len(listed) == 3
    assert listed[0].split(None, 1)[1] == caption.partition(": ")[2].partition("  [")[0]
    assert float(listed[0].split()[0]) == pytest.approx(record["log_probability"], abs=1e-3)


def test_csv_to_a_file(photos: Path, tmp_path: Path, model: str) -> None:
    output = tmp_path / "captions.csv"
    done = showtell(photos, "-m", model, "--format", "csv", "--output", output)
    assert (done.returncode, done.stdout) == (0, b"")
    with output.open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [Path(row["path"]).name for row in rows] == ["a.jpg", "b.png"]
    assert all(row["text"] and not row["error"] for row in rows)


@pytest.mark.parametrize("suffix", ["txt", "jsonl", "csv"])
def test_a_later_run_captions_only_what_the_file_does_not_have(
    photos: Path, tmp_path: Path, model: str, suffix: str
) -> None:
    output = tmp_path / f"captions.{suffix}"
    awkward = photos / 'c: =1, "d".png'
    corners(30, 60).save(awkward)
    (photos / "broken.jpg").write_bytes(b"no photo")
    first = showtell(photos, "-m", model, "-o", output)
    assert first.returncode == 1
    assert first.stderr.decode().splitlines()[-1] == f"{output}: 3 captioned, 1 failed"
    before = output.read_text()
    corners(50, 20).save(photos / "new.png")
    (photos / "broken.jpg").unlink()
    second = showtell(photos, "-m", model, "-o", output)
    assert (second.returncode, second.stdout) == (0, b"")
    of_any_model = ", whichever model wrote them" if suffix == "txt" else ""
    summary = f"1 captioned, 3 kept from an earlier run{of_any_model} (see --recaption)"
    assert second.stderr.decode() == f"{output}: {summary}\n"
    lines = output.read_text().splitlines()
    assert len(lines) == 4 + (suffix == "csv")
    assert "new.png" in lines[-1]
    kept = [line for line in before.splitlines() if "broken.jpg" not in line]
    assert lines[:-1] == kept
    recaptioned = showtell(photos, "-m", model, "-o", output, "--recaption")
    assert recaptioned.stderr.decode() == f"{output}: 4 captioned\n"
    assert sorted(output.read_text().splitlines()) == sorted(lines)


@pytest.mark.parametrize("suffix", ["jsonl", "csv"])
def test_a_file_with_the_captions_of_another_model_is_not_continued(
    photos: Path, tmp_path: Path, model: str, suffix: str
) -> None:
    output = tmp_path / f"captions.{suffix}"
    other = write_bundle(tmp_path / "other", seed=9, name="other").path
    assert showtell(photos, "-m", other, "-o", output).returncode == 0
    before = output.read_text()
    assert before.count("other@") == 2
    done = showtell(photos, "-m", model, "-o", output)
    assert (done.returncode, output.read_text()) == (1, before)
    message = done.stderr.decode()
    assert message.startswith(f"showtell: {output}: has captions by the model other@")
    assert "--recaption to replace it" in message
    assert showtell(photos, "-m", model, "-o", output, "--recaption").returncode == 0
    assert "other@" not in output.read_text()


def test_a_file_with_other_columns_is_not_continued_and_the_option_is_named(
    photos: Path, tmp_path: Path, model: str
) -> None:
    output = tmp_path / "captions.csv"
    assert showtell(photos, "-m", model, "-o", output).returncode == 0
    done = showtell(photos, "-m", model, "-o", output, "--nbest", "3")
    assert done.returncode == 1
    assert b"captions.csv: has captions of --nbest 1, not 3: give --nbest 1" in done.stderr
    output.write_text("path,text,log_probability,confidence,error\na.jpg,a dog,,,\n")
    done = showtell(photos, "-m", model, "-o", output)
    assert b"captions.csv: does not say which model wrote its captions" in done.stderr


@pytest.mark.parametrize(("before", "after"), [("1", "3"), ("3", "1"), ("3", "2")])
def test_a_jsonl_file_with_another_number_of_alternatives_is_not_continued(
    photos: Path, tmp_path: Path, model: str, before: str, after: str
) -> None:
    output = tmp_path / "captions.jsonl"
    assert showtell(photos, "-m", model, "-o", output, "--nbest", before).returncode == 0
    assert b"2 kept" in showtell(photos, "-m", model, "-o", output, "--nbest", before).stderr
    done = showtell(photos, "-m", model, "-o", output, "--nbest", after)
    assert done.returncode == 1
    message = (
        f"captions.jsonl: has captions of --nbest {before}, not {after}: give --nbest {before}"
    )
    assert message in done.stderr.decode()


@pytest.mark.parametrize("suffix", ["jsonl", "csv"])
def test_a_later_run_leaves_out_earlier_captions_below_the_confidence(
    tmp_path: Path, suffix: str
) -> None:
    bundle = write_bundle(tmp_path / "sure", confidence=CALIBRATION).path
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(4):
        picture(number).save(folder / f"{number}.png")
    output = tmp_path / f"captions.{suffix}"
    assert showtell(folder, "-m", bundle, "-o", output).returncode == 0
    all_of_them = showtell(folder, "-m", bundle, "--format", "jsonl")
    confidences = sorted(float(str(record["confidence"])) for record in records(all_of_them))
    middle = (confidences[1] + confidences[2]) / 2
    done = showtell(folder, "-m", bundle, "-o", output, "--min-confidence", str(middle))
    assert b"0 captioned, 2 kept from an earlier run (see --recaption), 2 below" in done.stderr
    assert output.read_text().count("photos/") == 2


@pytest.mark.parametrize("suffix", ["txt", "jsonl", "csv"])
def test_the_same_photos_have_one_caption_whatever_the_current_folder(
    photos: Path, tmp_path: Path, model: str, suffix: str
) -> None:
    output = tmp_path / "out" / f"captions.{suffix}"
    output.parent.mkdir()
    (tmp_path / "link").symlink_to(photos)
    assert showtell("photos", "-m", model, "-o", output, cwd=tmp_path).returncode == 0
    text = output.read_text("utf-8-sig")
    assert text.count("../photos/") == 2  # relative to the file, as readers take it
    for folder, cwd in ((".", photos), (photos, "/"), ("link", tmp_path), ("../photos", photos)):
        done = showtell(folder, "-m", model, "-o", output, cwd=cwd)
        assert b"0 captioned, 2 kept" in done.stderr
        assert output.read_text("utf-8-sig") == text


def test_a_csv_file_begins_with_a_byte_order_mark_and_standard_output_does_not(
    photos: Path, tmp_path: Path, model: str
) -> None:
    output = tmp_path / "captions.csv"
    showtell(photos, "-m", model, "-o", output)
    on_standard_output = showtell(photos, "-m", model, "--format", "csv").stdout
    assert output.read_bytes() == codecs.BOM_UTF8 + on_standard_output


def test_an_interrupted_run_says_what_it_has_saved(tmp_path: Path, model: str) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(400):
        picture(number).save(folder / f"{number}.png")
    output, partial = tmp_path / "captions.csv", tmp_path / ".captions.csv.partial"
    process = subprocess.Popen(
        [sys.executable, "-m", "showtell", "caption", folder, "-m", model, "-o", output],
        stderr=subprocess.PIPE,
        text=True,
    )
    while not (partial.exists() and partial.read_text("utf-8").count("\n") > 1):
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=240)
    saved = partial.read_text("utf-8").count("\n") - 1
    assert (process.returncode, errors.splitlines()) == (
        130,
        [
            f"showtell: {output}: {saved} caption{'s'[: saved != 1]} saved so far: run the same"
            " command again for the rest",
            "",
            "showtell: interrupted",
        ],
    )
    assert (
        f"{400 - saved} captioned, {saved} kept"
        in showtell(folder, "-m", model, "-o", output).stderr.decode()
    )


@pytest.mark.parametrize("suffix", ["txt", "jsonl", "csv"])
def test_a_stopped_run_continues(photos: Path, tmp_path: Path, model: str, suffix: str) -> None:
    output = tmp_path / f"captions.{suffix}"
    options = ("-m", model, "-o", output, "--nbest", "2", "--batch-size", "1")
    assert showtell(photos, *options).returncode == 0
    complete = output.read_text()
    output.unlink()
    [end] = [complete.index(f"{photos}/b.png")]
    (tmp_path / f".captions.{suffix}.partial").write_text(complete[: end + 5])  # half a line
    done = showtell(photos, *options)
    assert b"1 captioned, 1 kept" in done.stderr
    assert output.read_text() == complete
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == [output.name]


def test_a_file_that_holds_no_captions_is_not_replaced(
    photos: Path, tmp_path: Path, model: str
) -> None:
    for name, text in {
        "a.jsonl": "notes\n",
        "b.jsonl": '{"path": "a.jpg"}\n',
        "c.csv": "name,price\nx,1\n",
        "d.txt": "shopping list\n",
        "e.txt": "a.jpg: cut o",
    }.items():
        output = tmp_path / name
        output.write_text(text)
        done = showtell(photos, "-m", model, "-o", output)
        assert done.returncode == 1
        reason = "not captions in this format: choose another file, or --recaption to replace it"
        assert done.stderr.decode() == f"showtell: {output}: {reason}\n"
        assert output.read_text() == text
    assert showtell(photos, "-m", model, "-o", output, "--recaption").returncode == 0


def test_the_suffix_of_the_file_gives_the_format(photos: Path, tmp_path: Path, model: str) -> None:
    for name, start in {
        "a.csv": "path,text",
        "b.JSONL": '{"path"',
        "c": f"{photos}/a.jpg: ",
    }.items():
        assert showtell(photos, "-m", model, "-o", tmp_path / name).returncode == 0
        assert (tmp_path / name).read_text("utf-8-sig").startswith(start)
    done = showtell(photos, "-m", model, "-o", tmp_path / "a.json")
    assert done.returncode == 1
    assert b"name it .jsonl" in done.stderr
    done = showtell(photos, "-m", model, "-o", tmp_path / "d.json", "--format", "jsonl")
    assert done.returncode == 0


def test_the_summary_counts_what_a_folder_has_beside_photos(
    photos: Path, tmp_path: Path, model: str
) -> None:
    (photos / "more").mkdir()
    for name in ("a.arw", "b.arw", "notes.txt", ".hidden", ".hidden.jpg"):
        (photos / name).touch()
    done = showtell(photos, "-m", model, "-o", tmp_path / "captions.txt")
    left_out = "left out: 1 subfolder (see --recursive), 1 hidden photo, 3 other files (.arw .txt)"
    assert done.stderr.decode() == f"{tmp_path}/captions.txt: 2 captioned, {left_out}\n"
    assert showtell(photos, "-m", model).stderr.decode() == f"{left_out}\n"


def test_captions_below_a_confidence_are_left_out(tmp_path: Path) -> None:
    folder = tmp_path / "examples"
    shutil.copytree(EXAMPLES, folder)
    all_of_them = records(showtell(folder, "--format", "jsonl"))
    confidences = sorted(float(str(record["confidence"])) for record in all_of_them)
    # between two photos: the confidences in the file are rounded, those that are compared are not
    middle = (confidences[4] + confidences[5]) / 2
    done = showtell(folder, "-o", tmp_path / "sure.jsonl", "--min-confidence", str(middle))
    kept = [json.loads(line) for line in (tmp_path / "sure.jsonl").read_text().splitlines()]
    for record in [*kept, *all_of_them]:
        record["path"] = Path(record["path"]).name  # type: ignore[arg-type]
    assert kept == [record for record in all_of_them if record["confidence"] >= middle]  # type: ignore[operator]
    assert 0 < len(kept) < len(all_of_them)
    assert f"{len(all_of_them) - len(kept)} below --min-confidence" in done.stderr.decode()


def test_a_name_that_begins_with_a_dash_gets_a_hint(photos: Path, model: str) -> None:
    corners().save(photos / "-holiday.png")
    done = showtell("-holiday.png", "-m", model, cwd=photos)
    assert done.returncode == 2
    assert b"-holiday.png is a file: write ./-holiday.png, or -- before names" in done.stderr
    assert showtell("./-holiday.png", "-m", model, cwd=photos).returncode == 0
    assert showtell("-m", model, "--", "-holiday.png", cwd=photos).returncode == 0


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
