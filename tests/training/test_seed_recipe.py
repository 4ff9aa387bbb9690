"""The recipe of the notebook: Xception and a merge LSTM train, caption, evaluate and export."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from showtell import Captioner
from showtell.bundle import load_bundle
from showtell.data import open_dataset
from showtell.data.synthetic.shapes import draw_shapes
from showtell.decoding.beam_search import beam_search
from showtell.export.run_to_bundle import export
from showtell.image import open_photo, prepare
from showtell.nets.decoder import MergeDecoder
from showtell.nets.encoder import build_encoder
from showtell.nets.model import TorchDecoder, build_decoder
from showtell.scoring.evaluate import evaluate
from showtell.training.recipe import load_recipe
from showtell.training.run_folder import TrainedRun, open_run
from showtell.training.trainer import train

# Xception at random on tiny photos, trained with the decoder
TINY = (
    "encoder_weights=none",
    "image_size=64",
    "batch_photos=5",
    "stages.0.epochs=1",
    "stages.0.train_encoder=all",
    "stages.0.encoder_learning_rate=1e-3",
)


def test_the_seed_recipe_has_the_settings_of_the_notebook() -> None:
    recipe = load_recipe("seed")
    assert (recipe.encoder, recipe.min_count, recipe.batch_photos) == ("xception", 1, 1)
    assert (recipe.decoder.kind, recipe.decoder.hidden, recipe.decoder.embedding) == (
        "merge",
        256,
        256,
    )
    assert (recipe.decoding.beam, recipe.decoding.length_penalty) == (1, 0)
    assert recipe.views == ("plain",)
    (stage,) = recipe.stages
    assert (stage.epochs, stage.objective, stage.train_encoder) == (10, "cross_entropy", "none")
    nothing = (stage.label_smoothing, stage.weight_decay, stage.warmup, stage.average)
    assert nothing == (0, 0, 0, 0)
    assert (stage.learning_rate, stage.final_learning_rate, stage.adam_beta2) == (1e-3, 1, 0.999)


def test_the_seeds_initial_weights_follow_keras() -> None:
    """Glorot's uniform bound, and biases of zero but for the LSTM's forget gate at one."""
    torch.manual_seed(0)
    decoder = build_decoder(load_recipe("seed").decoder, 2048, 7000)
    assert isinstance(decoder, MergeDecoder)
    project = decoder.photo[1]
    assert isinstance(project, torch.nn.Linear)
    for layer in (project, decoder.join, decoder.word):
        bound = (6 / sum(layer.weight.shape)) ** 0.5
        assert 0.99 * bound < float(layer.weight.detach().abs().max()) <= bound
        assert not layer.bias.any()
    assert float(decoder.lstm.input.bias.sum()) == 256


def test_the_preset_has_keras_size_channels_and_settings() -> None:
    encoder = build_encoder("xception", "none")
    assert (encoder.grid, encoder.channels) == ((10, 10), 2048)
    assert (encoder.spec.preprocessing.width, encoder.spec.preprocessing.height) == (299, 299)
    norms = [m.eps for m in encoder.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert set(norms) == {1e-3}


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shapes") / "set"
    draw_shapes(folder, 24, size=64)
    return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, shapes: Path) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("runs")
    yield train(load_recipe("seed", TINY), shapes, folder / "seed")
    shutil.rmtree(folder)  # half a gigabyte


@pytest.fixture(scope="module")
def bundle(run: Path) -> Path:
    return export(run, run.parent / "bundle").bundle.path


def greedy(trained: TrainedRun, photo: Path) -> str:
    preprocessing = trained.model.encoder.spec.preprocessing
    pixels = prepare(open_photo(photo, preprocessing=preprocessing), preprocessing)
    with torch.inference_mode():
        features = trained.model.encoder(torch.from_numpy(pixels)[None])
    beams = beam_search(
        TorchDecoder(trained.model.decoder),
        {name: np.asarray(values) for name, values in features.items()},
        beam=1,
        length_penalty=0.0,
        max_length=trained.recipe.decoding.max_length,
    )
    return trained.vocabulary.decode(beams[0][0].tokens)


def test_a_random_xception_trains_and_its_bundle_captions_as_pytorch_does(
    run: Path, bundle: Path, shapes: Path
) -> None:
    trained = open_run(run)
    begun = build_encoder("xception", "none", 64).network.state_dict()
    now = trained.model.encoder.network.state_dict()
    assert now.keys() == begun.keys()
    assert not torch.equal(now["bn4.running_mean"], begun["bn4.running_mean"])
    manifest = load_bundle(bundle).manifest
    assert (manifest.encoder.network, manifest.encoder.channels) == ("legacy_xception", 2048)
    assert (manifest.decoding.beam, manifest.decoder.attention) == (1, False)
    photos = [photo.path for photo in open_dataset(shapes).photos[:6]]
    captions = list(Captioner.load(bundle).caption(photos))
    assert [caption.error for caption in captions] == [None] * 6
    assert [caption.text for caption in captions] == [greedy(trained, path) for path in photos]
    assert all(caption.text for caption in captions)


def test_the_seeds_bundle_is_evaluated_like_any_other(
    bundle: Path, shapes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("showtell.scoring.tokenized.find_java", lambda: None)  # slow to start
    evaluation = evaluate(bundle, shapes)
    assert {"bleu_4", "rouge_l", "cider"} <= set(evaluation.scores.metrics())
    assert evaluation.beam == 1  # the seed decodes greedily
