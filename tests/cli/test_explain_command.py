from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from support.odd_photos import corners, with_orientation
from support.tiny_bundles import write_bundle


def explain(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "showtell", "explain", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photo.jpg"
    path.write_bytes(with_orientation(corners(200, 120), 6))
    return path


@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_picture_is_written_and_the_caption_printed(
    photo: Path, tmp_path: Path, suffix: str
) -> None:
    model = write_bundle(tmp_path / "tiny").path
    output = tmp_path / f"picture.{suffix}"
    done = explain(photo, "--output", output, "--model", model)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"{photo}: ")
    with Image.open(output) as picture:
        assert picture.width > 600


def test_max_pixels_bounds_the_photo(photo: Path, tmp_path: Path) -> None:
    model = write_bundle(tmp_path / "tiny").path
    output = tmp_path / "picture.png"
    done = explain(photo, "--output", output, "--model", model, "--max-pixels", 2000)
    assert done.returncode == 1
    assert "--max-pixels" in done.stderr


def test_model_without_attention_says_so(photo: Path, tmp_path: Path) -> None:
    model = write_bundle(tmp_path / "merge", attention=False).path
    output = tmp_path / "picture.png"
    done = explain(photo, "--output", output, "--model", model)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "no attention" in done.stderr
    assert not output.exists()


def test_bad_photo_and_wrong_usage_are_told_apart(photo: Path, tmp_path: Path) -> None:
    model = write_bundle(tmp_path / "tiny").path
    done = explain(tmp_path / "gone.jpg", "--output", tmp_path / "picture.png", "--model", model)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "gone.jpg: no such file" in done.stderr
    assert explain(photo, "--output", tmp_path / "picture.txt").returncode == 2
    assert explain(photo).returncode == 2
