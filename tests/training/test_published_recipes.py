"""The recipes of Flickr30k and COCO, checked and run on tiny data of the same layout."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from showtell.data import open_dataset
from showtell.training.recipe import load_recipe
from support.paths import ROOT
from support.training_runs import Commands

RECIPES = ("flickr30k", "coco")
SMALL = [
    "encoder=test_efficientnet",
    "encoder_weights=none",
    "image_size=32",
    "decoder.embedding=16",
    "decoder.hidden=16",
    "decoder.heads=2",
    "min_count=1",
    "precision=float32",
    "batch_photos=8",
    "stages.0.epochs=1",
    "stages.1.epochs=1",
]


def text_of(name: str) -> str:
    return (ROOT / "src" / "showtell" / "recipes" / f"{name}.yaml").read_text("utf-8")


@pytest.mark.parametrize("name", RECIPES)
def test_the_recipe_can_be_run(name: str) -> None:
    recipe = load_recipe(name)
    assert recipe.encoder == "mobilenetv2"
    assert recipe.min_count == 5
    assert [stage.train_encoder for stage in recipe.stages] == ["none", "all"]


@pytest.mark.parametrize(
    ("name", "photos", "train"), [("flickr30k", 30_014, 29_000), ("coco", 118_287, 113_287)]
)
def test_disk_and_time_in_a_recipe_s_comment_follow_from_its_settings(
    name: str, photos: int, train: int
) -> None:
    recipe, text = load_recipe(name), text_of(name)
    view = photos * 49 * 1280 * 2 / 1e9
    assert f"bytes = {view:.1f} GB" in " ".join(text.replace("#", " ").split())
    minutes = {key: float(m) for key, m in re.findall(r"#   (.*?)  .*? ([0-9]+) min\n", text)}
    first, second = (stage.epochs for stage in recipe.stages)
    captions = train * recipe.captions_per_photo / 5_000
    expected = {
        "features": len(recipe.views) * photos / 500,
        "first stage": first * captions,
        "second stage": second * (train / 300 + captions),
        "dev scores": (first + second) * (recipe.dev_photos * 0.06),
    }
    assert minutes == {key: pytest.approx(s / 60, abs=1) for key, s in expected.items()}
    assert "This is an estimate from these assumed rates, not a measurement" in text
    total = {"flickr30k": 20, "coco": 90}[name]
    assert sum(minutes.values()) == pytest.approx(total, rel=0.2)


@pytest.mark.parametrize("name", RECIPES)
def test_the_recipe_names_papers_with_their_years(name: str) -> None:
    assert len(re.findall(r"[A-Z]\w+ et al\., [^()]+ \(20\d\d\)", text_of(name))) >= 2


def karpathy(shapes: Path, folder: Path, name: str) -> Path:
    """Give the drawn shapes Karpathy's file, and the names and folders of a published set."""
    images: list[dict[str, Any]] = []
    names = {"train": "restval", "dev": "val", "test": "test"}
    for number, photo in enumerate(open_dataset(shapes).photos):
        if name == "coco":
            folder_name, filename = "val2017", f"COCO_val2014_{number:012}.jpg"
            on_disk, coco = f"{number:012}.jpg", {"cocoid": number, "filepath": "val2014"}
        else:
            folder_name, filename = "flickr30k-images", f"{1000000 + number}.jpg"
            on_disk, coco = filename, {}
        (folder / folder_name).mkdir(parents=True, exist_ok=True)
        (folder / folder_name / on_disk).symlink_to(photo.path.resolve())
        sentences = [{"raw": text, "tokens": text.split()} for text in photo.captions]
        split = names[photo.split or ""] if name == "coco" or photo.split != "train" else "train"
        images.append({"filename": filename, "split": split, "sentences": sentences, **coco})
    (folder / f"dataset_{name}.json").write_text(json.dumps({"images": images, "dataset": name}))
    return folder


@pytest.mark.parametrize("name", RECIPES)
def test_the_recipe_trains_on_data_of_its_layout(
    name: str, commands: Commands, shapes: Path, tmp_path: Path
) -> None:
    data = karpathy(shapes, tmp_path / "data", name)
    run = tmp_path / "run"
    ended = commands("train", name, *SMALL, "--data", data, "--output", run)
    assert ended.code == 0, ended.stderr
    written = json.loads((run / "run.json").read_text())
    assert written["data"]["layout"].endswith("Karpathy's splits")
    assert written["data"]["photos"]["train"]["count"] == 20
    assert written["data"]["photos"]["dev"]["count"] == 2
    epochs = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    assert {line["stage"] for line in epochs if "stage" in line} == {0, 1}
