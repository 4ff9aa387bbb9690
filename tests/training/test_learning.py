"""Training on drawn shapes gives correct captions of held-out shapes."""

from __future__ import annotations

from pathlib import Path

import pytest

from showtell import Captioner
from showtell.data import open_dataset
from showtell.data.synthetic.shapes import draw_shapes
from showtell.export import cached_bundle
from showtell.language.languages import language_of
from showtell.scoring.metrics import cider
from showtell.training.recipe import load_recipe
from showtell.training.trainer import train


@pytest.fixture(scope="module")
def learned(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shapes")
    draw_shapes(folder / "set", 1500, size=64)
    run = train(load_recipe("shapes"), folder / "set", folder / "run")
    photos = open_dataset(folder / "set").split("test")
    captions = [
        c.text for c in Captioner.load(cached_bundle(run)).caption(photo.path for photo in photos)
    ]
    return photos, captions


def test_held_out_shapes_get_correct_captions(learned):
    photos, captions = learned
    right = sum(text in photo.captions for text, photo in zip(captions, photos, strict=True))
    assert len(photos) > 100
    assert cider(captions, [photo.captions for photo in photos]) > 250
    assert right / len(photos) > 0.5


def test_different_photos_get_different_captions_that_match_them(learned):
    photos, captions = learned
    assert len(set(captions)) > 0.4 * len({photo.captions[0] for photo in photos})
    references = [photo.captions for photo in photos]
    shuffled = references[7:] + references[:7]
    assert cider(captions, references) > 3 * cider(captions, shuffled)


def test_no_scene_of_the_test_split_is_in_the_training_split(learned):
    photos, _ = learned
    root = Path(photos[0].path).parents[1]
    training_captions = {photo.captions[0] for photo in open_dataset(root).split("train")}
    assert not training_captions & {photo.captions[0] for photo in photos}


@pytest.mark.slow
def test_held_out_shapes_get_correct_captions_in_a_language_without_spaces(tmp_path):
    draw_shapes(tmp_path / "set", 1500, size=64, language="zh")
    recipe = load_recipe("shapes", ["max_words=28", "decoding.max_length=28"])
    run = train(recipe, tmp_path / "set", tmp_path / "run")
    photos = open_dataset(tmp_path / "set").split("test")
    captioner = Captioner.load(cached_bundle(run))
    captions = [c.text for c in captioner.caption(photo.path for photo in photos)]
    references = [photo.captions for photo in photos]
    right = sum(text in texts for text, texts in zip(captions, references, strict=True))
    assert captioner.bundle.manifest.language == "zh"
    assert right / len(photos) > 0.5
    assert cider(captions, references, language_of("zh")) > 250
