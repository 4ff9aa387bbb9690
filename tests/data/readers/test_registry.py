"""Every layout becomes one table of photo, captions and split."""

from __future__ import annotations

import logging
import subprocess
import sys
import time
from pathlib import Path

import pytest

from showtell.data import open_dataset
from showtell.data.readers.splits import split_by_hash
from showtell.errors import DatasetError
from support.dataset_folders import (
    DOGS,
    captions_of,
    splits_of,
    write_csv,
    write_flickr8k,
    write_kaggle,
    write_own,
    write_photos,
)


@pytest.mark.parametrize("write", [write_flickr8k, write_kaggle, write_own])
def test_every_layout_gives_the_same_captions(write, tmp_path):
    dataset = open_dataset(write(tmp_path / "set"))
    assert captions_of(dataset) == DOGS
    assert all(photo.path.is_file() for photo in dataset.photos)


# Flickr8k


def test_a_split_has_the_order_of_its_list(tmp_path):
    write_flickr8k(tmp_path, lists={"train": ["fish.jpg", "dog.jpg"], "dev": ["cat.jpg"]})
    dataset = open_dataset(tmp_path)
    assert [photo.name for photo in dataset.split("train")] == ["fish.jpg", "dog.jpg"]
    assert [photo.name for photo in dataset.split("dev")] == ["cat.jpg"]


def test_a_photo_in_no_list_has_no_split(tmp_path):
    write_flickr8k(tmp_path, lists={"test": ["cat.jpg"]})
    splits = splits_of(open_dataset(tmp_path))
    assert splits == {"cat.jpg": "test", "dog.jpg": None, "bird.jpg": None, "fish.jpg": None}


@pytest.mark.parametrize("write", [write_flickr8k, write_kaggle, write_own])
def test_without_splits_the_hash_of_the_name_decides(write, tmp_path):
    splits = splits_of(open_dataset(write(tmp_path)))
    assert splits == {name: split_by_hash(name) for name in DOGS}


def test_the_hash_of_a_name_never_changes():
    # The first byte of the name's sha256, as any other tool prints it: 80, 218, 209, 247, 207.
    names = ["a.jpg", "3.jpg", "photos/1.png", "13.jpg", "猫.jpg"]
    assert [split_by_hash(name) for name in names] == ["train", "dev", "dev", "test", "dev"]


def test_hashed_splits_are_80_10_10():
    splits = [split_by_hash(f"{number}.jpg") for number in range(10_000)]
    assert 7_850 < splits.count("train") < 8_150
    assert 900 < splits.count("dev") < 1_100
    assert 900 < splits.count("test") < 1_100


@pytest.mark.parametrize(
    ("photos", "text"),
    [
        ("Flickr8k_Dataset", "Flickr8k_text"),
        ("Flickr8k_Dataset/Flicker8k_Dataset", "Flickr8k_text"),
        ("Flicker8k_Dataset", "."),
    ],
)
def test_flickr8k_is_found_however_it_was_unzipped(photos, text, tmp_path):
    write_flickr8k(tmp_path, lists={"dev": ["dog.jpg"]}, photo_folder=photos, text_folder=text)
    dataset = open_dataset(tmp_path)
    assert captions_of(dataset) == DOGS
    assert splits_of(dataset)["dog.jpg"] == "dev"


def test_flickr8k_without_its_photos_says_where_they_belong(tmp_path):
    write_flickr8k(tmp_path, photo_folder="elsewhere")
    with pytest.raises(DatasetError, match=r"unzip them into .*Flicker8k_Dataset"):
        open_dataset(tmp_path)


def test_a_photo_in_two_lists_names_the_second_line(tmp_path):
    write_flickr8k(tmp_path, lists={"train": ["dog.jpg"], "dev": ["cat.jpg", "dog.jpg"]})
    with pytest.raises(DatasetError, match=r"devImages\.txt:2: dog\.jpg is in train too"):
        open_dataset(tmp_path)


@pytest.mark.parametrize(
    "line", ["dog.jpg#0 no tab", "dog.jpg\tno number", "dog.jpg#x\tno number", "#0\tno name"]
)
def test_a_broken_token_line_is_named(line, tmp_path):
    write_flickr8k(tmp_path)
    source = tmp_path / "Flickr8k_text" / "Flickr8k.token.txt"
    source.write_text(f"dog.jpg#0\tA dog\n\n{line}\n")
    with pytest.raises(DatasetError, match=r"Flickr8k\.token\.txt:3: "):
        open_dataset(tmp_path)


def test_official_layouts_never_leave_their_photo_folder(tmp_path):
    write_flickr8k(tmp_path / "a", captions={"../../secret.jpg": ("A secret",)})
    with pytest.raises(DatasetError, match="a photo must be a file name without folder"):
        open_dataset(tmp_path / "a")


# Kaggle


def test_kaggle_captions_keep_commas_and_quotes(tmp_path):
    write_photos(tmp_path / "Images", ["a.jpg"])
    (tmp_path / "captions.txt").write_text(
        "image,caption\n"
        "a.jpg,one, two and three\n"
        'a.jpg,"quoted, with ""quotes"" inside"\n'
        'a.jpg,"Stop", says the sign\n'
        'a.jpg,"a lone quote\n'
        "a.jpg,the last one\n"
    )
    assert open_dataset(tmp_path).photos[0].captions == (
        "one, two and three",
        'quoted, with "quotes" inside',
        '"Stop", says the sign',
        '"a lone quote',
        "the last one",
    )


def test_official_lists_apply_to_kaggle_captions(tmp_path):
    write_kaggle(tmp_path)
    (tmp_path / "Flickr_8k.devImages.txt").write_text("fish.jpg\nbird.jpg\n")
    assert [photo.name for photo in open_dataset(tmp_path).split("dev")] == ["fish.jpg", "bird.jpg"]


def test_a_missing_kaggle_header_is_an_error_that_names_the_line(tmp_path):
    write_kaggle(tmp_path)
    (tmp_path / "captions.txt").write_text("dog.jpg,A dog\n")
    with pytest.raises(DatasetError, match=r"captions\.txt:1: the header must be image,caption"):
        open_dataset(tmp_path)


def test_a_broken_kaggle_line_is_named(tmp_path):
    write_kaggle(tmp_path)
    (tmp_path / "captions.txt").write_text("image,caption\ndog.jpg,A dog\ndog.jpg\n")
    with pytest.raises(DatasetError, match=r"captions\.txt:3: not of the form"):
        open_dataset(tmp_path)


def test_the_first_broken_lines_are_named_and_the_others_counted(tmp_path):
    write_kaggle(tmp_path)
    lines = ["image,caption", "dog.jpg,A dog", *[f"broken{number}" for number in range(9)]]
    (tmp_path / "captions.txt").write_text("\n".join(lines))
    with pytest.raises(DatasetError) as caught:
        open_dataset(tmp_path)
    for number in (3, 4, 5):
        assert f"captions.txt:{number}: not of the form" in str(caught.value)
    assert "captions.txt:6" not in str(caught.value)
    assert str(caught.value).endswith("and 6 more broken lines: showtell data check names them all")
    assert "\n" not in str(caught.value)


# every text file


@pytest.mark.parametrize("write", [write_flickr8k, write_kaggle, write_own])
def test_byte_order_marks_carriage_returns_and_blank_lines_are_accepted(write, tmp_path):
    write(tmp_path)
    for source in [*tmp_path.rglob("*.txt"), *tmp_path.rglob("*.csv")]:
        lines = source.read_text("utf-8").splitlines()
        source.write_bytes(b"\xef\xbb\xbf" + "\r\n\r\n".join([*lines, " ", ""]).encode())
    assert captions_of(open_dataset(tmp_path)) == DOGS


@pytest.mark.parametrize("bom", [b"", b"\xef\xbb\xbf"])
def test_bytes_that_are_not_utf8_are_an_error_that_names_the_line(bom, tmp_path):
    (tmp_path / "my.csv").write_bytes(bom + b"image,caption\n1.jpg,x\n1.jpg,caf\xe9\n")
    with pytest.raises(DatasetError, match=r"my\.csv:3: not UTF-8 text: save the file as UTF-8"):
        open_dataset(tmp_path)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be", "utf-16-le"])
@pytest.mark.parametrize("write", [write_kaggle, write_own, write_flickr8k])
def test_utf16_with_a_byte_order_mark_is_read(write, encoding, tmp_path):
    write(tmp_path)
    for source in [*tmp_path.rglob("*.txt"), *tmp_path.rglob("*.csv")]:
        mark = "" if encoding == "utf-16" else "\ufeff"
        source.write_bytes((mark + source.read_text("utf-8")).encode(encoding))
    assert captions_of(open_dataset(tmp_path)) == DOGS


def test_broken_utf16_is_an_error_that_names_the_line(tmp_path):
    good = "image,caption\n1.jpg,x\n".encode("utf-16")
    (tmp_path / "my.csv").write_bytes(good + b"\x00\xd8\x20\x00")
    with pytest.raises(DatasetError, match=r"my\.csv:3: not UTF-16 text: save the file as UTF-8"):
        open_dataset(tmp_path)


def test_a_caption_becomes_one_line(tmp_path):
    write_photos(tmp_path, ["1.jpg"])
    write_csv(
        tmp_path / "my.csv", ["image", "caption"], [("1.jpg", " a dog\nruns \t fast\u2028off ")]
    )
    assert open_dataset(tmp_path).photos[0].captions == ("a dog runs fast off",)


def test_captions_without_a_word_are_left_out(tmp_path):
    write_flickr8k(tmp_path, captions={"dog.jpg": ("", " . ", "A dog"), "cat.jpg": ("_",)})
    assert captions_of(open_dataset(tmp_path)) == {"dog.jpg": ("A dog",)}


# missing photos


def test_missing_photos_are_left_out_with_one_warning(tmp_path, caplog):
    write_own(tmp_path)
    (tmp_path / "dog.jpg").unlink()
    (tmp_path / "cat.jpg").unlink()
    (tmp_path / "cat.jpg").symlink_to("nowhere.jpg")
    with caplog.at_level(logging.WARNING, "showtell"):
        dataset = open_dataset(tmp_path)
    assert set(captions_of(dataset)) == {"bird.jpg", "fish.jpg"}
    assert len(caplog.messages) == 1
    assert "2 of 4 photos are left out" in caplog.messages[0]


def test_a_whole_dataset_logs_nothing(tmp_path, caplog):
    open_dataset(write_own(tmp_path))
    assert not caplog.messages


def test_an_error_names_the_path_if_all_photos_are_missing(tmp_path):
    write_csv(tmp_path / "my.csv", ["image", "caption"], [("photos/1.jpg", "one")])
    with pytest.raises(DatasetError, match=r"none .* \(1 photo\); .*photos/1\.jpg"):
        open_dataset(tmp_path)


@pytest.mark.parametrize("text", ["", "image,caption\n", "\n"])
def test_an_empty_caption_file_is_an_error(text, tmp_path):
    (tmp_path / "my.csv").write_text(text)
    with pytest.raises(DatasetError, match=r"my\.csv: it names no photos"):
        open_dataset(tmp_path)


def test_an_unknown_layout_is_an_error_that_lists_the_known_ones(tmp_path):
    write_photos(tmp_path, ["album/1.jpg", "notes.md"])
    with pytest.raises(DatasetError) as caught:
        open_dataset(tmp_path)
    for part in ("Flicker8k_Dataset/", "captions.txt", ".jsonl", "It holds album/, notes.md"):
        assert part in str(caught.value)


def test_a_folder_that_is_not_there_is_an_error(tmp_path):
    with pytest.raises(DatasetError, match="there is no such folder"):
        open_dataset(tmp_path / "gone")


def test_a_file_of_another_kind_is_an_error(tmp_path):
    write_photos(tmp_path, ["1.jpg"])
    with pytest.raises(DatasetError, match=r"give a folder, or a \.csv or \.jsonl file"):
        open_dataset(tmp_path / "1.jpg")


# speed and weight


def test_thousands_of_photos_open_in_under_two_seconds(tmp_path):
    captions = {f"{n}.jpg": [f"Caption {n} {k}" for k in range(5)] for n in range(7_000)}
    write_flickr8k(tmp_path, captions={"0.jpg": captions["0.jpg"]})
    for name in captions:
        (tmp_path / "Flicker8k_Dataset" / name).touch()
    lines = [
        f"{name}#{k}\t{text}\n" for name, texts in captions.items() for k, text in enumerate(texts)
    ]
    (tmp_path / "Flickr8k_text" / "Flickr8k.token.txt").write_text("".join(lines))
    start = time.process_time()
    assert len(open_dataset(tmp_path).photos) == 7_000
    assert time.process_time() - start < 2


def test_reading_a_dataset_imports_nothing_heavy(tmp_path):
    write_own(tmp_path)
    code = (
        "import sys; from pathlib import Path; from showtell.data import open_dataset;"
        f"open_dataset(Path({str(tmp_path)!r}));"
        "print([m for m in ('torch', 'timm', 'numpy', 'PIL', 'yaml') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.shared
def test_flickr8k_itself(shared_dir):
    root = shared_dir / "flickr8k"
    dataset = open_dataset(root)
    assert len(dataset.photos) == 7_000
    assert sum(len(photo.captions) for photo in dataset.photos) == 35_000
    listed = (root / "Flickr8k_text" / "Flickr_8k.devImages.txt").read_text().split()
    assert [photo.name for photo in dataset.split("dev")] == listed
    assert len(dataset.split("train")) == 6_000


def test_the_layouts_are_tried_in_order(tmp_path):
    write_own(tmp_path, {"other.jpg": ("other",)})
    write_flickr8k(tmp_path)
    assert open_dataset(Path(tmp_path)).layout == "Flickr8k"
