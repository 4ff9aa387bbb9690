"""The check of a dataset: its findings, and which of them need repair."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from showtell.data.check import CaptionLengths, DatasetReport, check_dataset
from showtell.data.readers.splits import split_by_hash
from showtell.errors import DatasetError
from support.dataset_folders import DOGS, write_csv, write_flickr8k, write_own, write_photos
from support.odd_photos import png_of_size


def findings_of(report: DatasetReport) -> list[tuple[str, str, str]]:
    return [(f.severity, f.kind, f.name) for f in report.findings]


def test_a_complete_dataset_is_counted_and_ok(tmp_path):
    lists = {"train": ["dog.jpg", "fish.jpg"], "dev": ["cat.jpg"]}
    report = check_dataset(write_flickr8k(tmp_path, lists=lists))
    assert report.ok
    assert report.findings == ()
    assert (report.photos, report.captions) == (4, 7)
    assert report.splits == {"train": 2, "dev": 1, "test": 0}
    assert (report.unsplit, report.splits_assigned) == (1, False)


def test_words_are_counted_as_the_vocabulary_tokenizes(tmp_path):
    captions = {"1.jpg": ["Dogs , DOGS and dogs .", "A dog's day", "dogs"], "2.jpg": ["dogs"]}
    report = check_dataset(write_own(tmp_path, captions))
    # dogs and a dog 's day
    assert (report.words, report.frequent_words) == (6, 1)
    assert report.lengths == CaptionLengths(shortest=1, median=2.5, mean=2.5, longest=4)


def test_the_report_says_that_splits_are_drawn(tmp_path):
    report = check_dataset(write_own(tmp_path))
    assert report.splits_assigned
    assert report.splits["train"] == sum(split_by_hash(name) == "train" for name in DOGS)


def test_missing_photos_are_named_with_the_line_that_names_them(tmp_path):
    write_own(tmp_path)
    (tmp_path / "cat.jpg").unlink()
    report = check_dataset(tmp_path)
    assert not report.ok
    assert findings_of(report) == [("error", "missing", "cat.jpg")]
    assert report.findings[0].detail.endswith("captions.csv:5")
    assert report.photos == 3


def test_a_dataset_without_any_photo_gets_a_report(tmp_path):
    write_csv(tmp_path / "my.csv", ["image", "caption"], [("1.jpg", "x"), ("2.jpg", "y")])
    report = check_dataset(tmp_path)
    assert findings_of(report) == [("error", "missing", "1.jpg"), ("error", "missing", "2.jpg")]
    assert report.photos == 0
    assert report.lengths is None


def test_unreadable_photos_are_named_with_the_reason(tmp_path):
    bad = ["bomb.png", "cut.jpg", "empty.jpg", "text.jpg"]
    write_photos(tmp_path, ["good.jpg", *bad])
    (tmp_path / "bomb.png").write_bytes(png_of_size(50_000, 50_000))
    (tmp_path / "cut.jpg").write_bytes((tmp_path / "good.jpg").read_bytes()[:-40])
    (tmp_path / "empty.jpg").write_bytes(b"")
    (tmp_path / "text.jpg").write_text("not a photo")
    write_csv(tmp_path / "my.csv", ["image", "caption"], [(n, "x") for n in ["good.jpg", *bad]])
    report = check_dataset(tmp_path)
    assert findings_of(report) == [("error", "unreadable", name) for name in bad]
    reasons = [finding.detail for finding in report.findings]
    for reason, part in zip(reasons, ["pixels", "truncated", "empty", "not a photo"], strict=True):
        assert part in reason
        assert "photo of" not in reason


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_photo_without_permission_is_unreadable(tmp_path):
    write_own(tmp_path)
    (tmp_path / "cat.jpg").chmod(0)
    assert findings_of(check_dataset(tmp_path)) == [("error", "unreadable", "cat.jpg")]


def test_a_truncated_photo_is_unreadable_even_if_it_decodes_small(tmp_path):
    """A big JPEG is checked at a fraction of its size: every byte must count all the same."""
    import numpy as np
    from PIL import Image

    noise = np.random.default_rng(0).integers(0, 256, (800, 1200, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "whole.jpg")
    data = (tmp_path / "whole.jpg").read_bytes()
    (tmp_path / "cut.jpg").write_bytes(data[: len(data) * 9 // 10])
    rows = [("whole.jpg", "noise"), ("cut.jpg", "noise")]
    write_csv(tmp_path / "my.csv", ["image", "caption"], rows)
    assert findings_of(check_dataset(tmp_path)) == [("error", "unreadable", "cut.jpg")]


def test_the_same_file_twice_in_a_split_is_a_note(tmp_path):
    lists = {"train": list(DOGS)}
    write_flickr8k(tmp_path, lists=lists)
    folder = tmp_path / "Flicker8k_Dataset"
    (folder / "cat.jpg").write_bytes((folder / "dog.jpg").read_bytes())
    report = check_dataset(tmp_path)
    assert report.ok
    assert findings_of(report) == [("note", "duplicated", "dog.jpg")]
    assert "cat.jpg" in report.findings[0].detail


def test_the_same_file_in_two_splits_is_a_warning(tmp_path):
    write_flickr8k(tmp_path, lists={"train": ["dog.jpg", "bird.jpg"], "dev": ["cat.jpg"]})
    folder = tmp_path / "Flicker8k_Dataset"
    (folder / "cat.jpg").write_bytes((folder / "dog.jpg").read_bytes())
    report = check_dataset(tmp_path)
    assert report.ok
    assert findings_of(report) == [("warning", "duplicated", "dog.jpg")]
    assert "train and dev" in report.findings[0].detail


def test_a_name_listed_twice_is_a_note(tmp_path):
    write_flickr8k(tmp_path, lists={"train": ["dog.jpg", "cat.jpg", "dog.jpg"]})
    token_file = tmp_path / "Flickr8k_text" / "Flickr8k.token.txt"
    token_file.write_text(token_file.read_text() + "cat.jpg#0\tA third cat\n")
    report = check_dataset(tmp_path)
    assert report.ok
    assert sorted(findings_of(report)) == [
        ("note", "duplicated", "cat.jpg"),
        ("note", "duplicated", "dog.jpg"),
    ]


def test_empty_captions_and_photos_without_captions_are_errors(tmp_path):
    write_own(tmp_path, {"dog.jpg": ("A dog", " "), "cat.jpg": ("...",)})
    report = check_dataset(tmp_path)
    assert not report.ok
    assert sorted(findings_of(report)) == [
        ("error", "empty caption", "cat.jpg"),
        ("error", "empty caption", "dog.jpg"),
        ("error", "without captions", "cat.jpg"),
    ]
    assert (report.photos, report.captions) == (1, 1)


def test_a_listed_photo_without_captions_is_an_error(tmp_path):
    write_flickr8k(tmp_path, lists={"test": ["dog.jpg", "horse.jpg"]})
    report = check_dataset(tmp_path)
    assert findings_of(report) == [("error", "without captions", "horse.jpg")]
    assert "Flickr_8k.testImages.txt:2" in report.findings[0].detail


@pytest.mark.parametrize("write", [write_flickr8k, write_own])
def test_photos_that_no_file_names_are_notes(write, tmp_path):
    write(tmp_path)
    folder = tmp_path / "Flicker8k_Dataset" if write is write_flickr8k else tmp_path
    write_photos(folder, ["horse.JPG", "readme.txt"])
    report = check_dataset(tmp_path)
    assert report.ok
    assert findings_of(report) == [("note", "without captions", "horse.JPG")]


def test_the_current_folder_is_checked_like_any_other(tmp_path, monkeypatch):
    write_own(tmp_path)
    write_photos(tmp_path, ["horse.jpg"])
    monkeypatch.chdir(tmp_path)
    for here in (Path(), Path("captions.csv")):
        assert findings_of(check_dataset(here)) == [("note", "without captions", "horse.jpg")]


def test_a_missing_photo_that_no_split_uses_is_a_warning(tmp_path):
    """As in Flickr8k's own token file, which has captions for a `….jpg.1`."""
    write_flickr8k(tmp_path, {"dog.jpg": ("A dog",), "dog.jpg.1": ("?1",)}, {"dev": ["dog.jpg"]})
    (tmp_path / "Flicker8k_Dataset" / "dog.jpg.1").unlink()
    report = check_dataset(tmp_path)
    assert report.ok
    assert findings_of(report) == [("warning", "missing", "dog.jpg.1")]


def test_photos_in_a_folder_outside_the_dataset_are_not_reported(tmp_path):
    write_photos(tmp_path / "album", ["1.jpg", "2.jpg", "3.jpg"])
    write_csv(tmp_path / "set" / "my.csv", ["image", "caption"], [("../album/1.jpg", "x")])
    assert findings_of(check_dataset(tmp_path / "set")) == []


def test_every_broken_line_is_named_and_the_rest_is_checked(tmp_path):
    write_photos(tmp_path, ["1.jpg"])
    lines = ["image,caption", "1.jpg", "1.jpg,A dog", *["1.jpg,a,b"] * 20, "gone.jpg,A cat"]
    (tmp_path / "my.csv").write_text("\n".join(lines))
    report = check_dataset(tmp_path)
    broken = [finding for finding in report.findings if finding.kind == "broken line"]
    assert [finding.name for finding in broken] == [
        f"{tmp_path / 'my.csv'}:{line}" for line in (2, *range(4, 24))
    ]
    assert not report.ok
    assert (report.photos, report.captions) == (1, 1)
    assert [finding.name for finding in report.findings if finding.kind == "missing"] == [
        "gone.jpg"
    ]


def test_a_file_that_cannot_be_read_at_all_stops_the_check(tmp_path):
    (tmp_path / "my.csv").write_bytes(b"image,caption\n1.jpg,\xff\n")
    with pytest.raises(DatasetError, match=r"my\.csv:2"):
        check_dataset(tmp_path)


def test_the_number_of_threads_does_not_change_the_report(tmp_path):
    write_own(tmp_path, {f"{n}.jpg": ("x",) for n in range(30)})
    for n in range(0, 30, 3):
        (tmp_path / f"{n}.jpg").write_text(f"broken {n}")
    assert check_dataset(tmp_path, workers=1) == check_dataset(Path(tmp_path), workers=8)


@pytest.mark.shared
def test_flickr8k_itself_is_ok(shared_dir):
    report = check_dataset(shared_dir / "flickr8k")
    assert report.ok
    assert (report.photos, report.captions) == (7_000, 35_000)
    assert report.splits == {"train": 6_000, "dev": 1_000, "test": 0}
    assert findings_of(report) == [("note", "duplicated", "3050606344_af711c726c.jpg")]
