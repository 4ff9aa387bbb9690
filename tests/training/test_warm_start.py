"""Warm start: weights read back from a bundle, new words, rehearsal of old data."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from showtell.bundle import load_bundle
from showtell.bundle.registry import find_bundle
from showtell.data import open_dataset
from showtell.data.overlap import count_seen, pack_names
from showtell.data.synthetic.shapes import draw_shapes
from showtell.errors import BundleError, TrainingError
from showtell.export.run_to_bundle import export, manifest_of
from showtell.nets.model import CaptionModel, TorchDecoder
from showtell.training.batches import CaptionBatches
from showtell.training.checkpoint import trained_tensors
from showtell.training.loop import load_weights
from showtell.training.recipe import load_recipe, recipe_from_dict
from showtell.training.rehearsal import open_rehearsal
from showtell.training.run_folder import open_run
from showtell.training.trainer import train
from showtell.training.warm_start import (
    compare_with_bundle,
    grown_tensors,
    load_initial,
    open_initial_model,
)
from showtell.vocabulary import START, Vocabulary
from support.training_runs import TINY, Training, assert_same_run

TUNE = [
    "init_from={model}",
    "stages=[{{epochs: 1}}]",
    "min_count=1",
    "batch_photos=8",
    "decoding.max_length=8",
    "precision=float32",
]


@pytest.fixture(scope="module")
def old_run(tmp_path_factory: pytest.TempPathFactory, shapes: Path) -> Path:
    """A run on shapes whose every weight has moved, batch norm's too."""
    learn = {"epochs": 1, "train_encoder": "all"}
    recipe = TINY | {
        "decoder": TINY["decoder"] | {"concept_weight": 0.3, "concepts_from": "regions"},
        "views": ["plain"],
        "stages": [learn, learn | {"objective": "concepts", "learning_rate": 0.01}],
    }
    return train(recipe_from_dict(recipe), shapes, tmp_path_factory.mktemp("old") / "run")


@pytest.fixture(scope="module")
def bundles(old_run: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("bundles")
    precisions = ("float32", "float16", "int8")
    return {p: export(old_run, folder / p, precision=p).bundle.path for p in precisions}  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def mine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photos of a new kind: 8 to train on, 2 of dev, with words that shapes have not."""
    folder = tmp_path_factory.mktemp("mine") / "set"
    draw_shapes(folder, 10, seed=5, size=32)
    rows = [json.loads(line) for line in (folder / "captions.jsonl").read_text().splitlines()]
    for number, row in enumerate(rows):
        row["split"] = "dev" if number >= 8 else "train"
        row["captions"] = [f"my balloon {text}" for text in row["captions"]]
    (folder / "captions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def tune(model: Path | str, data: Path, output: Path, *more: str) -> Path:
    overrides = [text.format(model=model) for text in TUNE]
    return train(load_recipe("finetune", [*overrides, *more]), data, output)


def test_a_second_warm_start_keeps_the_photo_names_of_the_first_model(
    old_run: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    shutil.copytree(old_run, run)
    description = json.loads((run / "run.json").read_text())
    first = ["first-1.jpg", "first-2.jpg"]
    description["began"] = {"model": "first", "name_hashes": pack_names(first)}
    (run / "run.json").write_text(json.dumps(description))
    names = open_initial_model(str(run)).names
    assert count_seen(names, first) == 2
    own = open_initial_model(str(old_run)).names
    assert len(names) > len(own) > 0


@pytest.mark.parametrize(
    ("precision", "close"), [("float32", 1e-5), ("float16", 1e-3), ("int8", 2e-2)]
)
def test_weights_read_back_from_a_bundle_equal_those_of_its_run(
    old_run: Path, bundles: dict[str, Path], precision: str, close: float
) -> None:
    of_run, of_bundle = open_run(old_run).model, open_initial_model(str(bundles[precision])).model
    first, second = trained_tensors(of_run.decoder), trained_tensors(of_bundle.decoder)
    assert list(first) == list(second)
    for name, tensor in first.items():
        error = (second[name] - tensor).norm() / tensor.norm().clamp(min=1e-3)
        assert error < close, name
    pixels = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        run_regions, bundle_regions = (
            of_run.encoder(pixels)["regions"],
            of_bundle.encoder(pixels)["regions"],
        )
    assert (run_regions - bundle_regions).norm() / run_regions.norm() < close


@pytest.mark.parametrize("name", ["float32", "int8"])
def test_weights_that_do_not_reproduce_the_bundle_are_refused(
    bundles: dict[str, Path], tmp_path: Path, name: str
) -> None:
    bundle = shutil.copytree(bundles[name], tmp_path / "other")
    manifest = json.loads((bundle / "manifest.json").read_text())
    manifest["encoder"]["options"] = {"pad_type": "same"}
    (bundle / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(TrainingError, match="other: its weights cannot be read back") as caught:
        open_initial_model(str(bundle))
    assert "start from the training run" in str(caught.value)


@pytest.mark.parametrize("model", ["flickr8k", "general"])
def test_the_weights_of_the_shipped_models_can_be_read_back(model: str) -> None:
    start = open_initial_model(model)
    assert "Flickr8k" in start.terms
    features, words = compare_with_bundle(load_bundle(find_bundle(model)), start.model)
    assert (features < 1e-3, words < 0.05) == (True, True)
    with torch.no_grad():  # the comparison notices a twentieth of one weight of many
        for name, weight in start.model.decoder.named_parameters():
            if name.endswith("output_proj.weight"):
                weight.mul_(1.05)
    assert compare_with_bundle(load_bundle(find_bundle(model)), start.model)[1] > 0.05


def test_a_missing_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="no model named 'flickr9k': did you mean flickr8k"):
        open_initial_model("flickr9k")


def test_new_words_follow_the_old_ones_and_take_little_probability(old_run: Path) -> None:
    start = open_initial_model(str(old_run))
    old = start.vocabulary
    grown = start.grow_vocabulary(["a balloon rises", "a balloon"], min_count=2)
    assert grown.words == (*old.words, "balloon")
    settings = start.model.settings
    larger = CaptionModel(start.model.encoder, settings, len(grown)).eval()
    load_weights(larger.decoder, grown_tensors(start.model, len(grown), seed=0))
    features = {"regions": np.random.default_rng(0).normal(size=(3, 4, 256)).astype(np.float32)}
    features["regions"] = features["regions"][..., : start.model.encoder.channels]
    scores = []
    for model in (start.model, larger):
        decoder = TorchDecoder(model.decoder)
        scores.append(decoder.step(np.full(3, START), *decoder.init_state(features))[0])
    before, after = scores
    assert after.shape[1] == before.shape[1] + 1
    taken = 1 - np.exp(after[:, : len(old)]).sum(1)
    assert (taken < 2 / len(old)).all()
    np.testing.assert_allclose(after[:, : len(old)] - np.log1p(-taken)[:, None], before, atol=1e-4)


def test_a_fine_tuned_run_has_old_and_new_words_and_its_origin(
    bundles: dict[str, Path], mine: Path, shapes: Path, tmp_path: Path
) -> None:
    run = open_run(tune(bundles["int8"], mine, tmp_path / "run"))
    start = open_initial_model(str(bundles["int8"]))
    assert run.vocabulary.words[: len(start.vocabulary)] == start.vocabulary.words
    assert {"my", "balloon"} <= set(run.vocabulary.words[len(start.vocabulary) :])
    assert run.recipe.encoder == "test_efficientnet"
    assert (run.recipe.decoder.hidden, run.recipe.decoder.dropout) == (16, 0.3)
    untouched = trained_tensors(run.model.encoder)
    for name, tensor in trained_tensors(start.model.encoder).items():
        assert torch.equal(untouched[name], tensor), name
    manifest = manifest_of(run, "mine")
    assert manifest.training.init_from == "int8"
    names = [photo.name for data in (shapes, mine) for photo in open_dataset(data).split("train")]
    assert count_seen(manifest.training.name_hashes, names) == len(names)
    again = open_initial_model(str(tmp_path / "run"))  # and a model of a model
    assert again.vocabulary == run.vocabulary


def test_terms_of_the_first_training_stay_with_the_model(old_run: Path, tmp_path: Path) -> None:
    run = shutil.copytree(old_run, tmp_path / "run")
    description = json.loads((run / "run.json").read_text())
    description["began"] = {"model": "flickr8k", "terms": "Research only.", "dataset": "Flickr8k"}
    (run / "run.json").write_text(json.dumps(description))
    manifest = manifest_of(open_run(run), "mine")
    assert manifest.terms.startswith("Research only. The terms")
    assert manifest.training.dataset.startswith("Flickr8k, then ")


def test_a_killed_and_resumed_fine_tuning_equals_one_never_killed(
    train: Training, old_run: Path, shapes: Path, mine: Path, tmp_path: Path
) -> None:
    recipe = {
        "init_from": str(old_run),
        "rehearsal": str(shapes),
        "rehearsal_share": 0.4,
        "batch_photos": 3,
        "views": ["plain"],
        "save_steps": 2,
        "stages": [{"epochs": 2}],
    }
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert train(whole, data=mine, recipe=recipe).code == 0
    assert train(killed, data=mine, recipe=recipe, step=3).code != 0
    ended = train(killed, data=mine, recipe=recipe, resume=True)
    assert ended.code == 0, ended.stderr
    assert_same_run(whole, killed)


def test_a_run_killed_before_its_first_checkpoint_still_starts_from_the_model(
    old_run: Path, mine: Path, tmp_path: Path
) -> None:
    run = tune(old_run, mine, tmp_path / "run")
    before = open_run(run)
    shutil.rmtree(run / "checkpoints")
    (run / "log.jsonl").unlink()
    overrides = [text.format(model=old_run) for text in TUNE]
    train(load_recipe("finetune", overrides), mine, run, resume="auto")
    after = trained_tensors(open_run(run).model)
    for name, tensor in trained_tensors(before.model).items():
        assert torch.equal(after[name], tensor), name
    fresh = CaptionModel(before.model.encoder, before.model.settings, len(before.vocabulary))
    load_initial(run, fresh)
    old_words = open_run(old_run).model.decoder.get_parameter("base.embed.weight")
    assert torch.equal(
        fresh.decoder.get_parameter("base.embed.weight")[: len(old_words)], old_words
    )


def test_an_epoch_has_all_new_photos_and_another_sample_of_old_ones(
    shapes: Path, mine: Path
) -> None:
    new = open_dataset(mine).split("train")
    rehearsal = open_rehearsal(shapes, 0.5, len(new), seed=0)
    assert len(rehearsal.train) == 20  # all there are: fewer than twenty epochs would draw
    photos = [*new, *rehearsal.train]
    recipe = replace(
        load_recipe("finetune"), batch_photos=4, rehearsal_share=0.5, min_epoch_steps=0
    )
    vocabulary = Vocabulary.build([text for photo in photos for text in photo.captions])
    batches = CaptionBatches(photos, range(len(photos)), vocabulary, recipe, len(rehearsal.train))

    class Source:
        def take(self, photos: list[int], *_: object) -> dict[str, torch.Tensor]:
            return {"pooled": torch.zeros(len(photos), 1)}

    drawn = []
    for epoch in range(3):
        photos_of_epoch = [
            p for b in batches.epoch(Source(), recipe.stages[0], 0, epoch) for p in b.photos
        ]
        assert len(photos_of_epoch) == len(set(photos_of_epoch)) == 16 == 4 * len(batches)
        assert set(range(8)) < set(photos_of_epoch)
        drawn.append(frozenset(photos_of_epoch))
    assert len(set(drawn)) == 3


def test_the_best_epoch_is_judged_on_new_and_old_photos_by_their_shares(
    shapes: Path, mine: Path
) -> None:
    rehearsal = open_rehearsal(shapes, 0.25, 8, seed=0)
    new = open_dataset(mine).split("dev")
    photos = [*new, *rehearsal.dev]
    right = [photo.captions[0] for photo in photos]
    both = rehearsal.score(right, photos)
    new_forgotten = rehearsal.score(["x"] * len(new) + right[len(new) :], photos)
    old_forgotten = rehearsal.score(right[: len(new)] + ["x"] * len(rehearsal.dev), photos)
    assert both == pytest.approx(new_forgotten + old_forgotten)
    assert 0 < new_forgotten < old_forgotten


def test_a_rehearsal_dataset_without_training_photos_is_named(tmp_path: Path, mine: Path) -> None:
    rows = [json.loads(line) for line in (mine / "captions.jsonl").read_text().splitlines()]
    lines = [json.dumps(row | {"split": "dev", "image": str(mine / row["image"])}) for row in rows]
    (tmp_path / "captions.jsonl").write_text("\n".join(lines))
    with pytest.raises(TrainingError, match="no training photos with captions"):
        open_rehearsal(tmp_path, 0.5, 10, seed=0)
