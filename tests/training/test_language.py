"""Training in another language: what chooses it, and what the run and its bundle say."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from showtell.bundle import load_bundle
from showtell.bundle.registry import find_bundle
from showtell.captioner import Captioner
from showtell.data.synthetic.shapes import draw_shapes
from showtell.errors import RecipeError
from showtell.export.run_to_bundle import export
from showtell.training.recipe import Recipe, load_recipe, recipe_from_dict
from showtell.training.run_folder import open_run
from showtell.training.trainer import train
from support.training_runs import TINY

SHORT = TINY | {"stages": [{"epochs": 1}], "save_steps": 0, "views": ["plain"]}
GERMAN = ["Ein roter Kreis.", "ein roter kreis", "Das ist ein Kreis."]


def in_german(shapes: Path, folder: Path, **more: str) -> Path:
    """Write a dataset of the same photos with German captions."""
    folder.mkdir()
    rows = [json.loads(line) for line in (shapes / "captions.jsonl").read_text().splitlines()]
    lines = [
        json.dumps(
            {"image": str(shapes / row["image"]), "captions": GERMAN, "split": row["split"]} | more
        )
        for row in rows
    ]
    (folder / "captions.jsonl").write_text("\n".join(lines))
    return folder


def test_the_recipe_chooses_the_language_of_run_and_bundle(shapes: Path, tmp_path: Path) -> None:
    data = in_german(shapes, tmp_path / "data")
    run = train(recipe_from_dict(SHORT | {"language": "de"}), data, tmp_path / "run")
    vocabulary = open_run(run).vocabulary
    assert vocabulary.language == "de"
    assert vocabulary.decode(vocabulary.encode("ein kreis")) == "Ein Kreis"
    bundle = export(run, tmp_path / "bundle", data).bundle
    assert bundle.manifest.language == "de"
    card = bundle.file("MODEL_CARD.md").read_text("utf-8")
    assert "Writes one German sentence" in card
    assert "Language: German (de), normalisation rule 1, writing rule 1, 1 of its words" in card
    assert "showtell's German words (rule 1)" in bundle.manifest.scores[0].scorer
    text = Captioner(bundle).caption(shapes / "photos" / "00000.png").text
    assert text == "" or text[0].isupper()


def test_the_dataset_chooses_the_language_unless_the_recipe_does(
    shapes: Path, tmp_path: Path
) -> None:
    data = in_german(shapes, tmp_path / "data", language="de-AT")
    run = train(recipe_from_dict(SHORT), data, tmp_path / "run")
    assert open_run(run).vocabulary.language == "de-AT"


def test_a_recipe_in_another_language_than_the_dataset_is_refused(
    shapes: Path, tmp_path: Path
) -> None:
    data = in_german(shapes, tmp_path / "data", language="de")
    with pytest.raises(RecipeError, match=r"^language: fr, but the captions of .* are in German"):
        train(recipe_from_dict(SHORT | {"language": "fr"}), data, tmp_path / "run")


def test_a_model_of_another_language_gives_its_encoder_only(shapes: Path, tmp_path: Path) -> None:
    english = train(recipe_from_dict(SHORT), shapes, tmp_path / "english")
    data = in_german(shapes, tmp_path / "data", language="de")
    with pytest.raises(RecipeError, match="english writes English, the captions are in German"):
        train(recipe_from_dict(SHORT | {"init_from": str(english)}), data, tmp_path / "refused")
    recipe = recipe_from_dict(SHORT | {"encoder_from": str(english)})
    run = train(recipe, data, tmp_path / "german")
    assert train(recipe, data, run, resume="auto") == run
    bundles = [
        export(folder, tmp_path / f"{folder.name}-bundle").bundle for folder in (english, run)
    ]
    of_english, of_german = (bundle.manifest for bundle in bundles)
    assert of_german.files["encoder.onnx"] == of_english.files["encoder.onnx"]
    assert of_german.files["decoder_step.onnx"] != of_english.files["decoder_step.onnx"]
    assert of_german.training.init_from == "english"
    card = bundles[1].file("MODEL_CARD.md").read_text("utf-8")
    assert f"fine-tuned: as in the model {english}\n" in card
    assert "red" not in bundles[1].vocabulary
    assert "roter" in bundles[1].vocabulary


def test_only_one_model_may_give_the_encoder() -> None:
    with pytest.raises(RecipeError, match=r"^encoder_from: init_from gives the encoder too"):
        Recipe(init_from="flickr8k", encoder_from="flickr8k")


def test_a_recipe_with_a_wrong_language_tag_is_refused() -> None:
    with pytest.raises(RecipeError, match=r"^language: 'german' is not a BCP 47 language tag"):
        Recipe(language="german")


def test_the_german_recipe_takes_the_encoder_of_the_shipped_model() -> None:
    recipe = load_recipe("flickr8k-de")
    assert (recipe.language, recipe.encoder_from) == ("de", "flickr8k")
    assert all(stage.train_encoder == "none" for stage in recipe.stages)
    assert load_bundle(find_bundle(recipe.encoder_from)).manifest.language == "en"


def test_a_language_without_spaces_trains_and_captions(tmp_path: Path) -> None:
    data = tmp_path / "data"
    draw_shapes(data, 24, size=32, language="zh")
    run = train(recipe_from_dict(SHORT | {"max_words": 28}), data, tmp_path / "run")
    bundle = export(run, tmp_path / "bundle", data).bundle
    assert bundle.manifest.language == "zh"
    assert {"一", "个", "红", "色"} <= set(bundle.vocabulary.words)
    assert "Chinese characters" in bundle.manifest.scores[0].scorer
    vocabulary = bundle.vocabulary
    assert vocabulary.decode(vocabulary.encode("一个红色圆形")) == "一个红色圆形"
    assert " " not in str(Captioner(bundle).caption(data / "photos" / "00000.png").text)
