"""Batches are determined by seed and step alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from showtell.data.dataset import CaptionedPhoto
from showtell.data.feature_cache import FeatureArrays
from showtell.image import Preprocessing, open_photo, prepare
from showtell.training.batches import Batch, CachedFeatures, Pixels, collate, step_seed
from showtell.training.recipe import Stage
from showtell.vocabulary import END, PAD, START
from support.batches import VOCABULARY, Numbers, batches_of, photos_of
from support.odd_photos import corners


def equal(one: Batch, two: Batch) -> bool:
    return (
        torch.equal(one.inputs, two.inputs)
        and torch.equal(one.targets, two.targets)
        and all(torch.equal(one.features[k], two.features[k]) for k in one.features)
        and one.photos == two.photos
    )


@settings(max_examples=40)
@given(
    st.lists(st.lists(st.integers(4, 9), max_size=6), min_size=1, max_size=8),
)
def test_collated_captions_start_with_start_and_end_with_end(captions: list[list[int]]) -> None:
    batch = collate({}, captions)
    for row, ids in enumerate(captions):
        rest = batch.packing.steps - len(ids) - 1
        assert batch.inputs[row].tolist() == [START, *ids, *[PAD] * rest]
        assert batch.targets[row].tolist() == [*ids, END, *[PAD] * rest]
    assert sum(batch.packing.sizes) == sum(len(ids) + 1 for ids in captions)
    assert PAD not in batch.packing.pack(batch.targets)


@settings(max_examples=25)
@given(st.integers(1, 30), st.integers(1, 7), st.integers(0, 50))
def test_an_epoch_has_every_photo_once(count: int, size: int, seed: int) -> None:
    batches = batches_of(photos_of(count), batch_photos=size, seed=seed)
    batches_of_epoch = list(batches.epoch(Numbers(), Stage(epochs=1), 0, 0))
    assert len(batches_of_epoch) == len(batches)
    shown = [photo for batch in batches_of_epoch for photo in batch.features["photo"].tolist()]
    assert sorted(shown) == list(range(count))
    assert [photo for batch in batches_of_epoch for photo in batch.photos] == shown


@pytest.mark.parametrize(
    ("least", "steps", "repeats"), [(0, 3, 1), (3, 3, 1), (4, 6, 2), (7, 9, 3)]
)
def test_few_photos_are_repeated_until_an_epoch_has_enough_steps(
    least: int, steps: int, repeats: int
) -> None:
    batches = batches_of(photos_of(12), batch_photos=4, min_epoch_steps=least)
    shown = [
        photo
        for batch in batches.epoch(Numbers(), Stage(epochs=1), 0, 0)
        for photo in batch.features["photo"].tolist()
    ]
    assert len(batches) == steps
    assert sorted(shown) == sorted(list(range(12)) * repeats)
    assert [sorted(shown[n : n + 12]) for n in range(0, 12 * repeats, 12)] == [
        list(range(12))
    ] * repeats


@settings(max_examples=25)
@given(st.integers(2, 30), st.integers(0, 3), st.integers(0, 9), st.data())
def test_an_epoch_that_starts_in_the_middle_has_the_same_batches(
    count: int, stage: int, epoch: int, data: st.DataObject
) -> None:
    batches = batches_of(photos_of(count), views=("plain", "flip"))
    whole = list(batches.epoch(Numbers(), Stage(epochs=1), stage, epoch))
    first = data.draw(st.integers(0, len(whole)))
    rest = list(batches.epoch(Numbers(), Stage(epochs=1), stage, epoch, first))
    assert len(rest) == len(whole) - first
    assert all(equal(a, b) for a, b in zip(whole[first:], rest, strict=True))


def test_seed_stage_and_epoch_each_change_the_order() -> None:
    def order(seed: int, stage: int, epoch: int) -> list[int]:
        batches = batches_of(photos_of(40), seed=seed)
        batches_of_epoch = batches.epoch(Numbers(), Stage(epochs=1), stage, epoch)
        return [photo for batch in batches_of_epoch for photo in batch.photos]

    orders = [order(*place) for place in ((0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1))]
    assert len({tuple(some) for some in orders}) == 4
    assert order(1, 0, 0) == orders[1]


def test_a_photo_gives_all_its_captions_before_it_repeats_one() -> None:
    photos = photos_of(3)  # with one, two and three captions
    batches = batches_of(photos, captions_per_photo=6, batch_photos=3)
    assert batches.captions_per_photo == 3  # as many as a photo has
    [batch] = batches.epoch(Numbers(), Stage(epochs=1), 0, 0)
    for index, photo in enumerate(batch.photos):
        captions = [VOCABULARY.decode(batch.targets[index * 3 + row].tolist()) for row in range(3)]
        references = photos[photo].captions
        assert set(captions) == set(references)
        assert max(captions.count(text) for text in references) == -(-3 // len(references))


def test_long_captions_are_cut_and_photos_without_words_left_out() -> None:
    photos = [
        CaptionedPhoto("0.png", Path("0.png"), ("a dog runs left",), "train"),
        CaptionedPhoto("1.png", Path("1.png"), ("!!!",), "train"),
        CaptionedPhoto("2.png", Path("2.png"), ("a", "?"), "train"),
    ]
    batches = batches_of(photos, max_words=2)
    [batch] = batches.epoch(Numbers(), Stage(epochs=1), 0, 0)
    assert sorted(batch.photos) == [0, 2]
    captions = {VOCABULARY.decode(row.tolist()) for row in batch.targets}
    assert captions == {"a dog", "a"}


def test_photos_with_left_or_right_in_a_caption_are_never_mirrored() -> None:
    captions = ["a dog left", "a dog RIGHT runs", "a dog", "leftover runs"]
    photos = [CaptionedPhoto(f"{n}", Path(f"{n}"), (captions[n % 4],), "train") for n in range(80)]
    for stage, views in (
        (Stage(epochs=1), ("plain", "flip")),
        (Stage(epochs=1, train_encoder="all"), ("plain",)),
    ):
        batches = batches_of(photos, views=views)
        flips: dict[int, list[bool]] = {0: [], 1: [], 2: [], 3: []}
        for batch in batches.epoch(Numbers(), stage, 0, 0):
            for photo, flip in zip(batch.photos, batch.features["flip"].tolist(), strict=True):
                flips[photo % 4].append(flip)
        assert not any(flips[0] + flips[1])
        for kind in (2, 3):
            assert 3 <= sum(flips[kind]) <= 17  # half of 20


def test_nothing_is_mirrored_unless_the_recipe_asks_for_it() -> None:
    for stage, views in (
        (Stage(epochs=1), ("plain",)),
        (Stage(epochs=1, train_encoder="all", flip=False), ("plain", "flip")),
    ):
        batches_of_epoch = batches_of(photos_of(30), views=views).epoch(Numbers(), stage, 0, 0)
        assert not any(bool(batch.features["flip"].any()) for batch in batches_of_epoch)


def test_cached_features_have_the_requested_order_and_view() -> None:
    draw = np.random.default_rng(0)
    arrays = {
        view: {"regions": draw.normal(size=(6, 4, 3)).astype(np.float16)}
        for view in ("plain", "flip")
    }
    source = CachedFeatures({view: FeatureArrays(a, {}) for view, a in arrays.items()})
    features = source.take([5, 0, 5, 2], [False, True, True, False], (0,))["regions"]
    expected = [("plain", 5), ("flip", 0), ("flip", 5), ("plain", 2)]
    for row, (view, photo) in zip(features, expected, strict=True):
        np.testing.assert_array_equal(row.numpy(), arrays[view]["regions"][photo])
    assert features.dtype == torch.float32


@pytest.fixture
def photo(tmp_path: Path) -> list[CaptionedPhoto]:
    path = tmp_path / "corners.png"
    corners(80, 60).save(path)
    return [CaptionedPhoto("corners.png", path, ("corners",), "train")]


SIZE = Preprocessing(height=32, width=32)


def test_pixels_without_crop_are_the_prepared_photo(photo: list[CaptionedPhoto]) -> None:
    source = Pixels(photo, SIZE, 1.0)
    plain = prepare(open_photo(photo[0].path), SIZE)
    pixels = source.take([0, 0], [False, True], (1, 2))["pixels"].numpy()
    np.testing.assert_array_equal(pixels[0], plain)
    np.testing.assert_allclose(pixels[1], plain[:, :, ::-1], atol=0.02)


def test_crops_depend_on_the_seed_and_keep_the_minimum_area(photo: list[CaptionedPhoto]) -> None:
    source = Pixels(photo, SIZE, 0.5)
    one, same, other = (source.take([0], [False], seed)["pixels"] for seed in ((1,), (1,), (2,)))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


@pytest.mark.parametrize("crop", [0.05, 0.5, 0.99])
def test_the_smallest_photo_can_be_cropped(tmp_path: Path, crop: float) -> None:
    Image.new("RGB", (1, 2), "red").save(tmp_path / "dot.png")
    dot = [CaptionedPhoto("dot.png", tmp_path / "dot.png", ("a dot",), "train")]
    for seed in range(30):
        pixels = Pixels(dot, SIZE, crop).take([0], [True], (seed,))["pixels"]
        assert pixels.shape == (1, 3, 32, 32)


def test_an_interrupted_epoch_ends_its_threads() -> None:
    import threading

    batches = batches_of(photos_of(40))
    before = set(threading.enumerate())
    for _ in range(5):
        batches_of_epoch = batches.epoch(Numbers(), Stage(epochs=1), 0, 0)
        next(batches_of_epoch)
        batches_of_epoch.close()  # type: ignore[attr-defined]
    assert set(threading.enumerate()) <= before


def test_the_seed_of_a_step_is_the_same_in_every_version_of_python() -> None:
    """The values are fixed: a run that resumes under a newer Python takes the same steps."""
    assert step_seed(0, 0, 0, 0) == 468433145
    assert step_seed(2**40, 1, 2, 3) == 225442237
    seeds = {step_seed(0, stage, epoch, 7) for stage in range(9) for epoch in range(9)}
    assert len(seeds) == 81
