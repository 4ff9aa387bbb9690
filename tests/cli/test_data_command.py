"""`showtell data`: what a person sees of it, and its exit codes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image


def showtell(*arguments: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "showtell", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, check=False)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three photos and a CSV; tests break it."""
    for number in range(3):
        Image.new("RGB", (9, 9), (80 * number, 0, 0)).save(tmp_path / f"{number}.jpg")
    rows = "".join(f"{n}.jpg,A dog runs,{s}\n" for n, s in enumerate(["train", "train", "dev"]))
    (tmp_path / "captions.csv").write_text("image,caption,split\n" + rows)
    return tmp_path


def test_check_prints_the_content_of_a_dataset(folder):
    done = showtell("data", "check", folder)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[1:] == [
        "3 photos, 3 captions",
        "splits: train 2, dev 1, test 0",
        "photos without a split: 0",
        "words per caption: 3 to 3, median 3, mean 3.0",
        "vocabulary: 3 words, 0 of them at least 5 times",
        "nothing wrong",
    ]
    assert done.stderr == ""


def test_check_names_errors_and_exits_1(folder):
    (folder / "0.jpg").unlink()
    (folder / "1.jpg").write_text("no photo")
    done = showtell("data", "check", folder)
    assert done.returncode == 1
    lines = done.stdout.splitlines()
    assert f"missing: 0.jpg: named in {folder / 'captions.csv'}:2" in lines
    assert any(line.startswith("unreadable: 1.jpg: not a photo") for line in lines)
    assert lines[-1] == "2 to repair"
    assert done.stderr == ""


def test_check_exits_0_if_there_are_only_notes(folder):
    (folder / "1.jpg").write_bytes((folder / "0.jpg").read_bytes())
    done = showtell("data", "check", folder, "--workers", 1)
    assert done.returncode == 0
    assert "note: duplicated: 0.jpg: the same file as 1.jpg" in done.stdout.splitlines()


def test_check_names_the_first_notes_and_counts_the_others(folder):
    photo = (folder / "0.jpg").read_bytes()
    for number in range(3, 36):
        (folder / f"{number}.jpg").write_bytes(photo)
    done = showtell("data", "check", folder)
    assert done.returncode == 0
    notes = [line for line in done.stdout.splitlines() if line.startswith("note: ")]
    assert len(notes) == 11
    assert notes[0] == "note: without captions: 10.jpg: on disk only"
    assert notes[-1] == "note: without captions: 23 more"


def test_every_broken_line_is_named_with_its_file_and_number(folder):
    (folder / "captions.csv").write_text("image,caption\n0.jpg\n1.jpg,A dog\n,A cat\n")
    done = showtell("data", "check", folder)
    assert done.returncode == 1
    for number in (2, 4):
        assert f"broken line: {folder / 'captions.csv'}:{number}: image or cap" in done.stdout
    assert done.stdout.splitlines()[-1] == "2 to repair"


def test_a_broken_header_is_one_line_on_standard_error(folder):
    (folder / "captions.csv").write_text("photo,text\n0.jpg,A dog\n")
    done = showtell("data", "check", folder)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert f"{folder / 'captions.csv'}:1: " in done.stderr


def test_an_unknown_layout_is_one_line_on_standard_error(tmp_path):
    done = showtell("data", "check", tmp_path)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "no known layout. It holds nothing. Known are Flickr8k:" in done.stderr


def test_unprintable_names_are_escaped(tmp_path):
    name = os.fsdecode(b"caf\xe9\n.jpg")
    (tmp_path / "my.jsonl").write_text('{"image": "caf\\udce9\\n.jpg", "caption": "x"}\n')
    try:
        (tmp_path / name).write_text("no photo")
    except (OSError, UnicodeError):
        pytest.skip("this disk takes UTF-8 names only")
    done = showtell("data", "check", tmp_path)
    assert done.returncode == 1
    assert r"unreadable: caf\xe9\n.jpg: not a photo" in done.stdout


def test_shapes_draws_a_dataset_that_passes_the_check(tmp_path):
    drawn = showtell("data", "shapes", "set", "--count", 10, "--size", 40, cwd=tmp_path)
    assert drawn.returncode == 0, drawn.stderr
    assert drawn.stdout == "10 photos in set: train 8, dev 1, test 1\n"
    checked = showtell("data", "check", "set", cwd=tmp_path)
    assert checked.returncode == 0
    assert "10 photos, 50 captions" in checked.stdout


def test_shapes_refuses_a_folder_that_is_not_empty(folder):
    done = showtell("data", "shapes", folder, "--count", 3)
    assert done.returncode == 1
    assert "not empty" in done.stderr


@pytest.mark.parametrize("wrong", [("--count", 0), ("--count", 3, "--size", 5), ()])
def test_wrong_usage_exits_2(wrong, tmp_path):
    assert showtell("data", "shapes", tmp_path / "set", *wrong).returncode == 2


def test_checking_needs_no_torch(folder):
    code = (
        "import sys; sys.modules['torch'] = sys.modules['timm'] = sys.modules['yaml'] = None;"
        "from showtell.cli import main; main(sys.argv[1:])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "data", "check", folder], capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr
