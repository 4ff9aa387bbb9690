"""Whatever people write about their photos comes back as they wrote it, in every layout."""

from __future__ import annotations

import csv
import io
import json
import re
import tempfile
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from showtell.data import open_dataset
from showtell.data.readers.listing import DatasetListing
from showtell.errors import DatasetError
from showtell.vocabulary import tokenize
from support.dataset_folders import karpathy_images, token_lines

text = st.text(st.characters(codec="utf-8"), max_size=40)
# Half of them hold what trips a reader up: separators, quotes, breaks that only Unicode knows.
tricky = st.text(st.sampled_from("ab,;\"'\\#\t\r\n\v\x1c\x85\u2028\ufeff\0 {}[]|é猫"), max_size=20)
captions = st.lists(text | tricky, min_size=1, max_size=4)
names = st.text(st.characters(codec="utf-8", exclude_characters="/\0\t\n\r#,"), max_size=20).map(
    lambda name: f"{name.strip()}x.jpg"
)
listed = st.dictionaries(names, captions, min_size=1, max_size=3).filter(
    lambda table: all(len(name.encode()) < 200 for name in table)
)


def one_line(caption: str) -> str:
    return " ".join(caption.split())


def kept(table: dict[str, list[str]]) -> dict[str, tuple[str, ...]]:
    """What should come back: captions on one line each, without those that say nothing."""
    lines = {
        name: tuple(one_line(c) for c in texts if tokenize(c)) for name, texts in table.items()
    }
    return {name: texts for name, texts in lines.items() if texts}


def read_back(folder: Path, photo_folder: str, names: dict[str, list[str]]) -> dict[str, object]:
    (folder / photo_folder).mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / photo_folder / name).touch()
    try:
        return {photo.name: photo.captions for photo in open_dataset(folder).photos}
    except DatasetError as error:
        if "has a caption" in str(error):  # every one of them says nothing
            return {}
        raise


@given(listed)
def test_csv_round_trips(table):
    with tempfile.TemporaryDirectory() as folder:
        buffer = io.StringIO(newline="")
        writer = csv.writer(buffer)
        writer.writerow(["image", "caption"])
        writer.writerows((name, c) for name, texts in table.items() for c in texts)
        Path(folder, "my.csv").write_bytes(buffer.getvalue().encode())
        assert read_back(Path(folder), ".", table) == kept(table)


@given(listed, st.booleans())
def test_jsonl_round_trips(table, ascii_only):
    with tempfile.TemporaryDirectory() as folder:
        rows = [{"image": name, "captions": texts} for name, texts in table.items()]
        lines = "".join(json.dumps(row, ensure_ascii=ascii_only) + "\n" for row in rows)
        Path(folder, "my.jsonl").write_bytes(lines.encode())
        assert read_back(Path(folder), ".", table) == kept(table)


@given(listed)
def test_token_file_round_trips(table):
    # A line feed ends a line here: a caption in this layout cannot hold one.
    table = {name: [c.replace("\n", " ") for c in texts] for name, texts in table.items()}
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "Flickr8k.token.txt").write_bytes(token_lines(table).encode())
        assert read_back(Path(folder), "Flicker8k_Dataset", table) == kept(table)


@given(listed)
def test_kaggle_round_trips(table):
    table = {name: [re.sub(r"[\n\r]", " ", c) for c in texts] for name, texts in table.items()}
    with tempfile.TemporaryDirectory() as folder:
        buffer = io.StringIO(newline="")
        writer = csv.writer(buffer, quoting=csv.QUOTE_ALL)
        rows = [(name, c) for name, texts in table.items() for c in texts]
        writer.writerows(rows)
        # Captions are quoted there, names are not.
        quoted = [line.partition(",")[2] for line in buffer.getvalue().split("\r\n")]
        lines = [f"{name},{caption}" for (name, _), caption in zip(rows, quoted, strict=False)]
        Path(folder, "captions.txt").write_bytes("\n".join(["image,caption", *lines]).encode())
        assert read_back(Path(folder), "Images", table) == kept(table)


@given(listed.filter(lambda table: not any("|" in name for name in table)))
def test_kaggles_flickr30k_round_trips(table):
    table = {name: [c.replace("\n", " ") for c in texts] for name, texts in table.items()}
    with tempfile.TemporaryDirectory() as folder:
        rows = [f"{name}| {k}| {c}" for name, texts in table.items() for k, c in enumerate(texts)]
        text = "\n".join(["image_name| comment_number| comment", *rows])
        Path(folder, "results.csv").write_bytes(text.encode())
        assert read_back(Path(folder), "flickr30k_images", table) == kept(table)


@given(listed, st.booleans())
def test_karpathys_json_round_trips(table, ascii_only):
    with tempfile.TemporaryDirectory() as folder:
        data = {"images": karpathy_images(table)}
        text = json.dumps(data, ensure_ascii=ascii_only, indent=1 if ascii_only else None)
        Path(folder, "dataset_flickr8k.json").write_bytes(text.encode())
        assert read_back(Path(folder), "Images", table) == kept(table)


@given(listed, st.booleans())
def test_cocos_json_round_trips(table, ascii_only):
    with tempfile.TemporaryDirectory() as folder:
        images = [{"id": number, "file_name": name} for number, name in enumerate(table)]
        annotations = [
            {"image_id": number, "caption": text}
            for number, texts in enumerate(table.values())
            for text in texts
        ]
        data = {"images": images, "annotations": annotations}
        text = json.dumps(data, ensure_ascii=ascii_only)
        Path(folder, "captions_train2017.json").write_bytes(text.encode())
        assert read_back(Path(folder), "train2017", table) == kept(table)


@given(listed.filter(lambda table: not any(name.startswith(".") for name in table)))
def test_texts_beside_photos_round_trip(table):
    # A byte order mark at the start of a file is no part of its first caption.
    table = {
        name: [c.replace("\n", " ").lstrip("\ufeff") for c in texts]
        for name, texts in table.items()
    }
    with tempfile.TemporaryDirectory() as folder:
        for name, texts in table.items():
            Path(folder, name).with_suffix(".txt").write_bytes("\n".join(texts).encode())
        assert read_back(Path(folder), ".", table) == kept(table)


sources = st.sampled_from(
    [
        "my.csv",
        "my.jsonl",
        "Flickr8k.token.txt",
        "captions.txt",
        "results_20130124.token",
        "dataset_flickr8k.json",
        "captions_val2017.json",
    ]
)


@given(st.binary(max_size=200), sources)
def test_random_bytes_are_a_one_line_error_that_names_the_file(data, name):
    with tempfile.TemporaryDirectory() as folder:
        for photos in ("Images", "Flicker8k_Dataset", "flickr30k-images"):
            Path(folder, photos).mkdir()
        Path(folder, name).write_bytes(data)
        with pytest.raises(DatasetError) as caught:  # there is no photo, so it is never a dataset
            open_dataset(Path(folder))
        assert name in str(caught.value)
        assert "\n" not in str(caught.value)


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from(["train", "1.jpg"]),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["raw", "tokens"]), inner)
    ),
    max_leaves=4,
)
keys = ["filename", "split", "sentences", "cocoid", "filepath", "id", "file_name"]
entries = st.lists(
    st.dictionaries(st.sampled_from([*keys, "image_id", "caption"]), anything) | anything,
    max_size=3,
)


@given(entries, entries, st.sampled_from(["dataset_coco.json", "captions_val2017.json"]))
def test_json_of_another_form_is_an_error_that_names_the_file(images, annotations, name):
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "val2017").mkdir()
        data = {"images": images, "annotations": annotations}
        Path(folder, name).write_text(json.dumps(data))
        with pytest.raises(DatasetError, match=re.escape(name)):
            open_dataset(Path(folder))


@given(text | tricky)
@example("\u02bc")  # a letter to Unicode, an apostrophe to the rule
def test_a_caption_is_kept_if_it_contains_a_word(caption):
    listing = DatasetListing(Path(), "made", Path())
    photo = listing.add_caption("1.jpg", "1.jpg", caption, "made:1")
    assert bool(photo.captions) == bool(tokenize(caption))
