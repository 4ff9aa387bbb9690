"""The published layouts of Flickr30k, COCO and Karpathy's splits, with their irregularities."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from showtell.data import open_dataset
from showtell.data.check import check_dataset
from showtell.data.readers.splits import split_by_hash
from showtell.errors import DatasetError
from support.dataset_folders import (
    DOGS,
    captions_of,
    coco_name,
    karpathy_images,
    splits_of,
    token_lines,
    write_coco,
    write_flickr8k,
    write_flickr30k,
    write_flickr30k_table,
    write_kaggle,
    write_karpathy,
    write_photos,
)

HEADER = "image_name| comment_number| comment\n"


def findings_of(folder: Path, kind: str) -> list[tuple[str, str, str]]:
    findings = check_dataset(folder).findings
    return [(f.severity, f.name, f.detail) for f in findings if f.kind == kind]


# Flickr30k


@pytest.mark.parametrize(
    "write",
    [write_flickr30k, write_flickr30k_table, lambda r: write_flickr30k_table(r, inner=False)],
)
def test_flickr30k_is_the_same_from_the_authors_files_and_from_kaggle(write, tmp_path):
    dataset = open_dataset(write(tmp_path))
    assert dataset.layout == "Flickr30k"
    assert captions_of(dataset) == DOGS
    assert splits_of(dataset) == {name: split_by_hash(name) for name in DOGS}
    assert all(photo.path.is_file() for photo in dataset.photos)


def test_flickr30ks_token_file_may_be_in_the_folder_of_its_archive(tmp_path):
    write_photos(tmp_path / "flickr30k-images", DOGS)
    (tmp_path / "flickr30k").mkdir()
    (tmp_path / "flickr30k" / "results_20130124.token").write_text(token_lines(DOGS))
    assert captions_of(open_dataset(tmp_path)) == DOGS


def test_kaggles_table_may_be_in_the_folder_of_the_photos(tmp_path):
    write_photos(tmp_path, ["1.jpg"])
    (tmp_path / "results.csv").write_text(HEADER + "1.jpg| 0| A dog\n")
    assert captions_of(open_dataset(tmp_path)) == {"1.jpg": ("A dog",)}


def test_kaggles_broken_row_is_repaired_with_a_note(tmp_path):
    write_flickr30k_table(tmp_path, {"2199200615.jpg": ("A dog runs",)}, inner=False)
    with (tmp_path / "results.csv").open("a") as file:
        file.write("2199200615.jpg| 4   A dog runs across the grass .\n")
    assert open_dataset(tmp_path).photos[0].captions == (
        "A dog runs",
        "A dog runs across the grass .",
    )
    [(severity, name, detail)] = findings_of(tmp_path, "repaired line")
    assert (severity, name) == ("note", "2199200615.jpg")
    assert detail.startswith(f"{tmp_path / 'results.csv'}:3: no | after the caption's number")
    assert check_dataset(tmp_path).ok


def test_kaggles_captions_keep_commas_quotes_and_bars(tmp_path):
    texts = ('"Stop", says the sign, in red .', 'A man with a "', "one | two", "a; b,c")
    write_flickr30k_table(tmp_path, {"1.jpg": texts})
    assert open_dataset(tmp_path).photos[0].captions == texts


@pytest.mark.parametrize(
    "line", ["1.jpg", "1.jpg| A dog", "1.jpg| 44  A dog| runs", "| 0| A dog", "1.jpg|  | A dog"]
)
def test_rows_that_cannot_be_repaired_are_named(line, tmp_path):
    write_photos(tmp_path / "flickr30k_images", ["1.jpg"])
    (tmp_path / "results.csv").write_text(f"{HEADER}1.jpg| 0| A cat\n{line}\n")
    with pytest.raises(DatasetError, match=r"results\.csv:3: "):
        open_dataset(tmp_path)


def test_kaggles_table_with_commas_is_read(tmp_path):
    write_photos(tmp_path / "Images", ["1.jpg"])
    (tmp_path / "captions.txt").write_text(
        "image_name,comment_number,comment\n"
        "1.jpg,0, A dog , running\n"
        '1.jpg,1,"A ""good"" dog, running"\n'
    )
    dataset = open_dataset(tmp_path)
    assert dataset.layout == "Flickr30k"
    assert dataset.photos[0].captions == ("A dog , running", 'A "good" dog, running')


def test_flickr30k_without_its_photos_says_where_they_belong(tmp_path):
    (tmp_path / "results_20130124.token").write_text(token_lines(DOGS))
    with pytest.raises(DatasetError, match=r"unpack them into .*flickr30k-images"):
        open_dataset(tmp_path)


# Karpathy


def test_karpathys_splits_are_used_and_restval_is_train(tmp_path):
    splits = {"dog.jpg": "restval", "cat.jpg": "val", "bird.jpg": "test"}
    dataset = open_dataset(write_karpathy(tmp_path, splits=splits))
    assert dataset.layout == "Flickr30k, Karpathy's splits"
    assert captions_of(dataset) == DOGS
    expected = {"dog.jpg": "train", "cat.jpg": "dev", "bird.jpg": "test", "fish.jpg": "train"}
    assert splits_of(dataset) == expected


@pytest.mark.parametrize(
    ("dataset", "folder"),
    [
        ("flickr8k", "Flicker8k_Dataset"),
        ("flickr8k", "Flickr8k_Dataset/Flicker8k_Dataset"),
        ("flickr8k", "Images"),
        ("flickr30k", "flickr30k_images/flickr30k_images"),
        ("flickr30k", "flickr30k-images"),
        ("coco", "val2014"),
        ("coco", "images/train2014"),
    ],
)
def test_karpathys_photos_are_found_in_every_known_folder(dataset, folder, tmp_path):
    write_karpathy(tmp_path, dataset=dataset, photo_folder=folder)
    assert captions_of(open_dataset(tmp_path)) == DOGS


def coco_entries(tmp_path: Path) -> Path:
    """Write Karpathy's file for three photos of 2014, and return its path."""
    names = ["COCO_val2014_000000391895.jpg", "COCO_train2014_000000000009.jpg"]
    images = karpathy_images(dict.fromkeys(names, ("A man rides",)))
    for image, folder, identity in zip(images, ("val2014", "train2014"), (391895, 9), strict=True):
        image |= {"filepath": folder, "cocoid": identity}
    source = tmp_path / "dataset_coco.json"
    source.write_text(json.dumps({"images": images, "dataset": "coco"}))
    return source


def test_karpathys_coco_is_found_among_the_photos_of_2017(tmp_path):
    coco_entries(tmp_path)
    write_photos(tmp_path, [f"train2017/{coco_name(391895)}", f"val2017/{coco_name(9)}"])
    photos = open_dataset(tmp_path).photos
    assert [photo.name for photo in photos] == [coco_name(391895), coco_name(9)]
    assert all(photo.path.is_file() for photo in photos)


def test_karpathys_coco_is_found_among_the_photos_of_2014(tmp_path):
    source = coco_entries(tmp_path)
    names = [
        "val2014/COCO_val2014_000000391895.jpg",
        "train2014/COCO_train2014_000000000009.jpg",
    ]
    write_photos(tmp_path, names)
    expected = [str(tmp_path / name) for name in names]
    assert [str(photo.path) for photo in open_dataset(tmp_path).photos] == expected
    assert [str(photo.path) for photo in open_dataset(source).photos] == expected


def test_a_missing_photo_of_karpathys_file_is_named(tmp_path):
    coco_entries(tmp_path)
    write_photos(tmp_path, ["train2014/x.jpg", "val2014/COCO_val2014_000000391895.jpg"])
    missing = findings_of(tmp_path, "missing")
    assert [name for _, name, _ in missing] == ["COCO_train2014_000000000009.jpg"]


def test_of_karpathys_three_files_the_one_with_photos_is_read(tmp_path):
    for dataset in ("flickr8k", "flickr30k", "coco"):
        write_karpathy(tmp_path, {"none.jpg": (dataset,)}, dataset=dataset, photo_folder="other")
    write_photos(tmp_path / "flickr30k-images", ["none.jpg"])
    assert captions_of(open_dataset(tmp_path)) == {"none.jpg": ("flickr30k",)}
    write_photos(tmp_path / "val2014", ["none.jpg"])
    with pytest.raises(DatasetError, match=r"which file is meant: .*flickr30k\.json, .*coco\.json"):
        open_dataset(tmp_path)
    chosen = open_dataset(tmp_path / "dataset_coco.json")
    assert captions_of(chosen) == {"none.jpg": ("coco",)}


def test_karpathys_file_may_be_in_a_subfolder(tmp_path):
    write_karpathy(tmp_path, splits={"dog.jpg": "test"})
    (tmp_path / "annotations").mkdir()
    source = tmp_path / "annotations" / "dataset_flickr30k.json"
    (tmp_path / "dataset_flickr30k.json").rename(source)
    assert splits_of(open_dataset(tmp_path))["dog.jpg"] == "test"
    assert splits_of(open_dataset(source)) == splits_of(open_dataset(tmp_path))


def test_karpathys_splits_apply_to_datasets_without_splits(tmp_path):
    write_flickr30k_table(tmp_path / "a")
    write_karpathy(tmp_path / "a", splits={"dog.jpg": "test"}, photo_folder="flickr30k_images")
    assert splits_of(open_dataset(tmp_path / "a"))["dog.jpg"] == "test"
    write_kaggle(tmp_path / "b")
    write_karpathy(
        tmp_path / "b", splits={"dog.jpg": "val"}, dataset="flickr8k", photo_folder="Images"
    )
    assert splits_of(open_dataset(tmp_path / "b"))["dog.jpg"] == "dev"


def test_flickr8ks_own_lists_take_precedence_over_karpathys(tmp_path):
    write_flickr8k(tmp_path, lists={"dev": ["dog.jpg"]})
    write_karpathy(tmp_path, dataset="flickr8k", photo_folder="Flicker8k_Dataset")
    assert splits_of(open_dataset(tmp_path))["dog.jpg"] == "dev"


def test_tokens_replace_a_missing_raw_caption(tmp_path):
    write_karpathy(tmp_path, {"1.jpg": ("A dog runs",)})
    source = tmp_path / "dataset_flickr30k.json"
    data = json.loads(source.read_text())
    del data["images"][0]["sentences"][0]["raw"]
    source.write_text(json.dumps(data))
    assert captions_of(open_dataset(tmp_path)) == {"1.jpg": ("a dog runs",)}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"filename": "../../secret.jpg"},
            r"images\[1\]: a photo must be a file name without folder, not '../../secret.jpg'",
        ),
        ({"filename": None}, r"images\[1\]: filename must be text"),
        ({"split": "validate"}, r"images\[1\] \(cat.jpg\): unknown split 'validate'"),
        ({"split": None}, r"images\[1\] \(cat.jpg\): split must be text"),
        ({"sentences": "A dog"}, r"images\[1\] \(cat.jpg\): sentences must be a list"),
        ({"sentences": ["A dog"]}, r"images\[1\] \(cat.jpg\): a sentence must be an object"),
        ({"sentences": [{"raw": 3}]}, r"images\[1\] \(cat.jpg\): a sentence's raw must be text"),
        ({"sentences": [{"tokens": [1]}]}, r"images\[1\] \(cat.jpg\): a token must be text"),
        ({"sentences": [{"raw": "\ud800"}]}, r"images\[1\] .*half a surrogate pair"),
        ({"filename": "dog.jpg"}, r"images\[1\] \(dog.jpg\): the photo occurs twice"),
    ],
)
def test_a_broken_entry_of_karpathys_is_named_and_the_others_are_read(change, message, tmp_path):
    write_karpathy(tmp_path)
    source = tmp_path / "dataset_flickr30k.json"
    data = json.loads(source.read_text())
    data["images"][1] |= change
    source.write_text(json.dumps(data))
    with pytest.raises(DatasetError, match=rf"dataset_flickr30k\.json: {message}"):
        open_dataset(tmp_path)
    report = check_dataset(tmp_path)
    assert (report.photos, report.ok) == (3, False)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"images": [\n{"filename"}]}', ":2: not JSON"),
        ("", ":1: not JSON"),
        ('{"pictures": []}', ':1: not of the form {"images"'),
        ("[]", ':1: not of the form {"images"'),
        ("[" * 100_000, ":1: not JSON"),
        ('{"images": []}', ": it names no photos"),
    ],
)
def test_a_file_that_is_not_karpathys_is_an_error_that_names_it(text, message, tmp_path):
    write_photos(tmp_path / "flickr30k-images", ["dog.jpg"])
    (tmp_path / "dataset_flickr30k.json").write_text(text)
    with pytest.raises(DatasetError) as caught:
        open_dataset(tmp_path)
    assert f"dataset_flickr30k.json{message}" in str(caught.value)
    assert "\n" not in str(caught.value)


# COCO

TWO = {"train": {coco_name(9): ("A dog .",)}, "val": {coco_name(139): ("A cat", "Two cats")}}


@pytest.mark.parametrize("year", [2014, 2017])
def test_cocos_train_is_train_and_its_val_is_dev(year, tmp_path):
    dataset = open_dataset(write_coco(tmp_path, TWO, year))
    assert dataset.layout == "COCO"
    assert splits_of(dataset) == {coco_name(9): "train", coco_name(139): "dev"}
    assert [sorted(photo.captions) for photo in dataset.photos] == [
        ["A dog ."],
        ["A cat", "Two cats"],
    ]
    assert all(photo.path.is_file() for photo in dataset.photos)


def test_cocos_captions_with_line_breaks_and_trailing_spaces_are_one_line(tmp_path):
    texts = ("A man\nriding a wave. ", "A dog\r\n\r\nruns  ", "\n A cat\n", "\u2028A bird\t")
    write_coco(tmp_path, {"train": {"1.jpg": texts}})
    assert open_dataset(tmp_path).photos[0].captions[::-1] == (
        "A man riding a wave.",
        "A dog runs",
        "A cat",
        "A bird",
    )


def test_cocos_photos_may_be_in_images(tmp_path):
    write_coco(tmp_path, TWO)
    (tmp_path / "images").mkdir()
    for folder in ("train2017", "val2017"):
        (tmp_path / folder).rename(tmp_path / "images" / folder)
    assert all(photo.path.is_file() for photo in open_dataset(tmp_path).photos)


def test_one_of_cocos_files_can_be_opened(tmp_path):
    write_coco(tmp_path, TWO)
    dataset = open_dataset(tmp_path / "annotations" / "captions_val2017.json")
    assert splits_of(dataset) == {coco_name(139): "dev"}


def test_of_two_years_the_one_with_photos_is_read(tmp_path):
    write_coco(tmp_path, TWO, 2014)
    write_coco(tmp_path, TWO, 2017)
    with pytest.raises(DatasetError, match=r"which year is meant: captions_train2014\.json, "):
        open_dataset(tmp_path)
    (tmp_path / "train2014").rename(tmp_path / "old1")
    (tmp_path / "val2014").rename(tmp_path / "old2")
    assert "2017/" in str(open_dataset(tmp_path).photos[0].path)


def test_captions_of_cocos_form_with_another_name_get_drawn_splits(tmp_path):
    write_coco(tmp_path, {"train": DOGS})
    folder = tmp_path / "annotations"
    (folder / "captions_train2017.json").rename(folder / "captions_mine.json")
    (tmp_path / "train2017").rename(tmp_path / "images")
    assert splits_of(open_dataset(tmp_path)) == {name: split_by_hash(name) for name in DOGS}


def test_karpathys_splits_take_precedence_over_cocos(tmp_path):
    write_coco(tmp_path, {"train": {coco_name(391895): ("COCO's",)}, "val": {}})
    coco_entries(tmp_path)
    assert captions_of(open_dataset(tmp_path)) == {coco_name(391895): ("A man rides",)}


@pytest.mark.parametrize(
    ("key", "change", "message"),
    [
        ("images", {"id": None}, r"images\[0\]: id must be a whole number or text"),
        ("images", {"id": True}, r"images\[0\]: id must be a whole number or text"),
        ("images", {"id": 1.5}, r"images\[0\]: id must be a whole number or text"),
        (
            "images",
            {"file_name": "/etc/passwd"},
            r"images\[0\]: a photo must be inside the folder, not '/etc/passwd'",
        ),
        ("annotations", {"image_id": 5}, r"annotations\[0\]: image_id 5 is not among the images"),
        ("annotations", {"image_id": None}, r"annotations\[0\]: image_id must be a whole"),
        ("annotations", {"caption": None}, r"annotations\[0\]: caption must be text"),
        (
            "annotations",
            {"caption": "\udc00"},
            r"annotations\[0\]: caption contains half a surrogate pair",
        ),
    ],
)
def test_a_broken_entry_of_cocos_is_named(key, change, message, tmp_path):
    write_coco(tmp_path, {"train": DOGS})
    source = tmp_path / "annotations" / "captions_train2017.json"
    data = json.loads(source.read_text())
    data[key][0] |= change
    source.write_text(json.dumps(data))
    with pytest.raises(DatasetError, match=rf"captions_train2017\.json: {message}"):
        open_dataset(tmp_path)


@pytest.mark.parametrize(
    "name",
    [
        "../dog.jpg",
        "a/../../dog.jpg",
        "a\\..\\..\\dog.jpg",
        "/dog.jpg",
        "C:\\dog.jpg",
        "a\0/b",
        "./",
    ],
)
def test_cocos_photos_are_inside_the_folder(name, tmp_path):
    write_coco(tmp_path, {"train": {"dog.jpg": ("A dog",)}})
    source = tmp_path / "annotations" / "captions_train2017.json"
    data = json.loads(source.read_text())
    data["images"][0]["file_name"] = name
    source.write_text(json.dumps(data))
    with pytest.raises(DatasetError, match=r"images\[0\]: a photo must be (inside|a file name)"):
        open_dataset(tmp_path)


@pytest.mark.parametrize(
    ("written", "folder"),
    [
        ("a/dog.jpg", "train2017/a"),
        ("./a//dog.jpg", "train2017/a"),
        ("a\\dog.jpg", "train2017/a"),
        ("train2017/dog.jpg", "train2017"),
        ("train2017/dog.jpg", "images/train2017"),
        ("other/dog.jpg", "other"),
        ("{root}/other/dog.jpg", "other"),
    ],
)
def test_cocos_file_names_may_have_folders(written, folder, tmp_path):
    write_photos(tmp_path / folder, ["dog.jpg"])
    data = {
        "images": [{"id": 1, "file_name": written.format(root=tmp_path)}],
        "annotations": [{"image_id": 1, "caption": "A dog"}],
    }
    (tmp_path / "captions_train2017.json").write_text(json.dumps(data))
    [photo] = open_dataset(tmp_path).photos
    assert photo.path.samefile(tmp_path / folder / "dog.jpg")
    assert (photo.captions, photo.split) == (("A dog",), "train")


@pytest.mark.parametrize(
    ("image", "annotation"), [("7", "7"), ("7", 7), (7, "7"), (7.0, 7), ("a7", "a7"), (-7, -7)]
)
def test_cocos_ids_are_numbers_or_text(image, annotation, tmp_path):
    write_coco(tmp_path, {"train": {"dog.jpg": ("A dog",)}})
    source = tmp_path / "annotations" / "captions_train2017.json"
    data = json.loads(source.read_text())
    data["images"][0]["id"], data["annotations"][0]["image_id"] = image, annotation
    source.write_text(json.dumps(data))
    assert captions_of(open_dataset(tmp_path)) == {"dog.jpg": ("A dog",)}


@pytest.mark.shared
def test_shared_case_of_cocos_photos_in_folders(shared_dir):
    case = shared_dir / "cases" / "coco" / "coco_sub"
    if not case.is_dir():
        pytest.skip("no such case")
    assert captions_of(open_dataset(case)) == {
        "a/horses.jpg": ("Two horses",),
        "a/coffee.jpg": ("A cup",),
    }


def test_two_photos_of_one_id_are_named(tmp_path):
    write_coco(tmp_path, {"train": DOGS})
    source = tmp_path / "annotations" / "captions_train2017.json"
    data = json.loads(source.read_text())
    data["images"][1]["id"] = data["images"][0]["id"]
    source.write_text(json.dumps(data))
    with pytest.raises(DatasetError, match=r"images\[1\]: cat\.jpg \(id 101\) occurs twice"):
        open_dataset(tmp_path)


@pytest.mark.parametrize("text", ['{"images": []}', "[]", '{"images": {}, "annotations": []}'])
def test_another_json_of_cocos_is_an_error_that_names_the_file(text, tmp_path):
    (tmp_path / "captions_val2017.json").write_text(text)
    with pytest.raises(DatasetError, match=r"captions_val2017\.json:1: not of the form"):
        open_dataset(tmp_path)
