"""The feature cache: used only for unchanged inputs, and complete after any interruption."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from showtell.data import feature_cache as features_module
from showtell.data.dataset import CaptionedPhoto
from showtell.data.feature_cache import FeatureArrays, cache_key, extract_features, find_unreadable
from showtell.errors import DatasetError
from showtell.image import open_photo, prepare
from support.feature_encoders import SHAPES, SIZE, Encode, photos_in
from support.odd_photos import corners
from support.paths import TESTS


@pytest.fixture
def photos(tmp_path: Path) -> list[CaptionedPhoto]:
    return photos_in(tmp_path / "photos", 10)


@pytest.fixture
def extract(tmp_path: Path) -> Callable[..., FeatureArrays]:
    def run(photos: Sequence[CaptionedPhoto], encode: Any, **other: Any) -> FeatureArrays:
        given: dict[str, Any] = {
            "encoder": "abc",
            "shapes": SHAPES,
            "preprocessing": SIZE,
            "cache": tmp_path / "cache",
            "batch_size": 4,
        }
        return extract_features(photos, encode, **(given | other))

    return run


def refuse(pixels: Any) -> dict[str, Any]:
    raise AssertionError("encoded again")


def test_features_are_those_of_prepared_photos_in_float16(
    photos: list[CaptionedPhoto], extract: Callable[..., FeatureArrays]
) -> None:
    extracted = extract(photos, Encode())
    assert extracted.bad == {}
    pixels = np.stack([prepare(open_photo(photo.path), SIZE) for photo in photos])
    for name, values in Encode()(pixels).items():
        if name in SHAPES:
            np.testing.assert_array_equal(extracted.arrays[name], values.astype(np.float16))
    assert set(extracted.arrays) == set(SHAPES)
    picked = extracted.rows([7, 2, 7])
    np.testing.assert_array_equal(picked["pooled"], extracted.arrays["pooled"][[7, 2, 7]])


def test_a_mirrored_view_is_the_mirrored_photo(
    tmp_path: Path, extract: Callable[..., FeatureArrays]
) -> None:
    path = tmp_path / "corners.png"
    corners(40, 40).save(path)
    photos = [CaptionedPhoto("corners.png", path, ("corners",), None)]
    plain = extract(photos, Encode()).arrays["regions"][0].reshape(2, 2, 3)
    flip = extract(photos, Encode(), view="flip").arrays["regions"][0].reshape(2, 2, 3)
    np.testing.assert_allclose(flip, plain[:, ::-1], atol=2e-3)
    assert not np.allclose(flip, plain)


def test_cached_features_are_read_without_encoding(
    photos: list[CaptionedPhoto], extract: Callable[..., FeatureArrays]
) -> None:
    first = extract(photos, Encode())
    again = extract(photos, refuse)
    for name in SHAPES:
        assert isinstance(again.arrays[name], np.memmap)
        np.testing.assert_array_equal(again.arrays[name], first.arrays[name])


@pytest.mark.parametrize(
    "change",
    [
        {"encoder": "abd"},
        {"preprocessing": replace(SIZE, mean=(0.5, 0.5, 0.4))},
        {"preprocessing": replace(SIZE, resize="crop")},
        {"preprocessing": replace(SIZE, interpolation="bicubic")},
        {"view": "flip"},
        {"shapes": {"pooled": (3,)}},
    ],
)
def test_another_encoder_preprocessing_or_view_is_computed_again(
    change: dict[str, Any], photos: list[CaptionedPhoto], extract: Callable[..., FeatureArrays]
) -> None:
    extract(photos, Encode())
    encode = Encode()
    extract(photos, encode, **change)
    assert encode.photos == len(photos)


def test_the_cache_key_changes_with_each_photo_and_their_order(
    photos: list[CaptionedPhoto], extract: Callable[..., FeatureArrays]
) -> None:
    key = cache_key(photos, "abc", SIZE, "plain", sorted(SHAPES))
    assert key == cache_key(list(photos), "abc", SIZE, "plain", sorted(SHAPES))

    def other(some: Sequence[CaptionedPhoto]) -> bool:
        return cache_key(some, "abc", SIZE, "plain", sorted(SHAPES)) != key

    assert other(photos[1:])
    assert other(photos[::-1])
    assert other([replace(photos[0], name="else.png"), *photos[1:]])
    stat = photos[3].path.stat()
    os.utime(photos[3].path, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))
    assert other(photos)
    os.utime(photos[3].path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert not other(photos)
    photos[3].path.write_bytes(photos[3].path.read_bytes() + b"!")
    os.utime(photos[3].path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert other(photos)
    photos[3].path.unlink()
    assert other(photos)


def test_an_interrupted_extraction_resumes_at_its_last_save(
    photos: list[CaptionedPhoto],
    extract: Callable[..., FeatureArrays],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(features_module, "SAVE_EVERY", 2)
    whole = extract(photos, Encode(), cache=tmp_path / "other", batch_size=2)
    with pytest.raises(RuntimeError, match="interrupted"):
        extract(photos, Encode(fail_after=6), batch_size=2)
    reported: list[int] = []
    encode = Encode()
    extracted = extract(photos, encode, batch_size=2, progress=reported.append)
    assert encode.photos == 4
    assert reported == [8, 10]
    for name in SHAPES:
        np.testing.assert_array_equal(extracted.arrays[name], whole.arrays[name])


KILLED = """
import os, signal, sys
from pathlib import Path
sys.path[:0] = sys.argv[4:]
from showtell.data import feature_cache as features
from showtell.data.feature_cache import extract_features
from support.feature_encoders import SHAPES, SIZE, Encode, photos_in
features.SAVE_EVERY = 2

class Kill(Encode):
    def __call__(self, pixels):
        if self.photos >= int(sys.argv[3]):
            os.kill(os.getpid(), signal.SIGKILL)
        return super().__call__(pixels)

from showtell.data.dataset import CaptionedPhoto
paths = sorted(Path(sys.argv[1]).iterdir(), key=lambda path: int(path.stem))
photos = [CaptionedPhoto(path.name, path, ("a photo",), "train") for path in paths]
extract_features(photos, Kill(), "abc", SHAPES, SIZE, Path(sys.argv[2]), batch_size=2)
"""


@pytest.mark.parametrize("after", [0, 6])
def test_a_killed_extraction_resumes_with_the_same_features(
    after: int, photos: list[CaptionedPhoto], extract: Callable[..., FeatureArrays], tmp_path: Path
) -> None:
    arguments = [tmp_path / "photos", tmp_path / "cache", str(after), TESTS]
    run = subprocess.run([sys.executable, "-c", KILLED, *arguments], capture_output=True)
    assert run.returncode == -9, run.stderr
    encode = Encode()
    extracted = extract(photos, encode, batch_size=2)
    assert encode.photos == len(photos) - after
    whole = extract(photos, Encode(), cache=tmp_path / "other", batch_size=2)
    for name in SHAPES:
        np.testing.assert_array_equal(extracted.arrays[name], whole.arrays[name])


def test_bad_photos_are_named_and_their_rows_are_zero(
    photos: list[CaptionedPhoto], extract: Callable[..., FeatureArrays]
) -> None:
    photos[1].path.write_bytes(b"not a photo")
    photos[5].path.write_bytes(photos[5].path.read_bytes()[:60])
    photos[9].path.unlink()
    encode = Encode()
    extracted = extract(photos, encode)
    assert sorted(extracted.bad) == [1, 5, 9]
    for row, reason in extracted.bad.items():
        assert photos[row].name in reason
        assert not extracted.arrays["regions"][row].any()
    good = [row for row in range(10) if row not in extracted.bad]
    assert encode.photos == len(good)
    for row in good:
        values = Encode()(prepare(open_photo(photos[row].path), SIZE)[None])
        np.testing.assert_array_equal(
            extracted.arrays["pooled"][row], np.float16(values["pooled"][0])
        )
    assert extract(photos, refuse).bad == extracted.bad
    assert find_unreadable(photos, SIZE) == extracted.bad


def test_a_batch_of_unreadable_photos_is_not_encoded(
    photos: list[CaptionedPhoto], extract: Callable[..., FeatureArrays]
) -> None:
    for photo in photos[4:8]:
        photo.path.write_bytes(b"")
    extracted = extract(photos, Encode())
    assert sorted(extracted.bad) == [4, 5, 6, 7]
    assert all(extracted.arrays["pooled"][row].any() for row in (0, 3, 8, 9))


def test_a_photo_that_becomes_readable_is_computed(
    photos: list[CaptionedPhoto],
    extract: Callable[..., FeatureArrays],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As after installing what a format needs: the file itself has not changed."""

    def needs_more(source: Any, **options: Any) -> Any:
        if Path(source).name in ("2.png", "3.png"):
            raise features_module.PhotoError(f"{source}: needs the extra 'heif'")
        return open_photo(source, **options)

    expected = extract(photos, Encode(), encoder="other")
    with monkeypatch.context() as patch:
        patch.setattr("showtell.image.open_photo", needs_more)
        assert sorted(extract(photos, Encode()).bad) == [2, 3]
    encode = Encode()
    extracted = extract(photos, encode)
    assert (encode.photos, extracted.bad) == (2, {})
    np.testing.assert_allclose(extracted.arrays["pooled"], expected.arrays["pooled"], atol=1e-3)
    assert extract(photos, refuse).bad == {}


def test_photos_with_names_that_are_not_utf8_are_cached(
    photos: list[CaptionedPhoto], extract: Callable[..., FeatureArrays]
) -> None:
    odd = replace(photos[0], name=os.fsdecode(b"caf\xe9.png"))
    assert extract([odd, *photos[1:]], Encode()).bad == {}


FULL = """
import resource, sys
from pathlib import Path
sys.path[:0] = sys.argv[4:]
from showtell.data.feature_cache import extract_features
from showtell.data.dataset import CaptionedPhoto
from showtell.errors import DatasetError
from support.feature_encoders import SIZE, Encode
limit = int(sys.argv[3])
if limit:
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
photos = [CaptionedPhoto(p.name, p, ("a photo",), "train") for p in Path(sys.argv[1]).iterdir()]
shapes = {"regions": (4, 3), "pooled": (3,), "unwanted": (100_000,)}
try:
    extract_features(photos, Encode(), "abc", shapes, SIZE, Path(sys.argv[2]))
except DatasetError as error:
    print(error)
"""


def said_of_full_disk(output: str) -> None:
    assert len(output.strip().splitlines()) == 1
    assert "the feature cache cannot be written or read" in output
    assert "choose another folder with feature_cache=DIR" in output


def test_a_file_size_limit_is_a_clear_error(photos: list[CaptionedPhoto], tmp_path: Path) -> None:
    run = subprocess.run(
        [sys.executable, "-c", FULL, tmp_path / "photos", tmp_path / "cache", "500000", TESTS],
        capture_output=True,
        text=True,
        check=True,
    )
    said_of_full_disk(run.stdout)


def test_a_full_disk_is_an_error_before_the_extraction(
    photos: list[CaptionedPhoto], tmp_path: Path
) -> None:
    """A file system of its own with less room than the features need."""
    if subprocess.run(["unshare", "-rm", "true"], capture_output=True).returncode:
        pytest.skip("may not mount a file system here")
    (tmp_path / "mount").mkdir()
    script = (
        'mount -t tmpfs -o size=1m none "$1" && "$2" -c "$3" "$4" "$1/cache" 0 "$5"'
        ' && find "$1" -name "*.npy" -size +0 | wc -l'
    )
    run = subprocess.run(
        [
            "unshare",
            "-rm",
            "sh",
            "-c",
            script,
            "sh",
            tmp_path / "mount",
            sys.executable,
            FULL,
            tmp_path / "photos",
            TESTS,
        ],
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr  # no SIGBUS
    message, left = run.stdout.strip().rsplit("\n", 1)
    said_of_full_disk(message)
    assert int(left) <= 2  # what did fit; the array that did not has gone


def test_a_damaged_cache_is_named(
    photos: list[CaptionedPhoto], extract: Callable[..., FeatureArrays], tmp_path: Path
) -> None:
    extract(photos, Encode())
    [folder] = (tmp_path / "cache").iterdir()
    (folder / "pooled.npy").write_bytes(b"nothing of use")
    with pytest.raises(DatasetError, match="cache is damaged: remove the folder"):
        extract(photos, refuse)
    (folder / "complete.json").write_text("{}")
    with pytest.raises(DatasetError, match=folder.name):
        extract(photos, refuse)


def test_two_processes_fill_a_cache_once(
    photos: list[CaptionedPhoto],
    extract: Callable[..., FeatureArrays],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    import fcntl
    import threading

    caplog.set_level("INFO")
    folder = tmp_path / "cache" / cache_key(photos, "abc", SIZE, "plain", sorted(SHAPES))
    folder.mkdir(parents=True)
    encode = Encode()
    extracted: list[FeatureArrays] = []
    with (folder / "lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)  # as another process that is at it
        waiting = threading.Thread(target=lambda: extracted.append(extract(photos, encode)))
        waiting.start()
        deadline = time.monotonic() + 30
        while "waiting for another process" not in caplog.text:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert encode.photos == 0
    waiting.join(30)
    assert encode.photos == len(photos)
    assert json.loads((folder / "complete.json").read_text())["bad"] == {}
    assert extracted[0].bad == {}
