"""The synthetic set: its captions are true of its pixels, and dev is not in train."""

from __future__ import annotations

import json
import random
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from showtell.data import open_dataset
from showtell.data.check import check_dataset
from showtell.data.dataset import SPLITS
from showtell.data.synthetic.scenes import (
    COLOURS,
    KINDS,
    Scene,
    canonical_caption,
    draw_captions,
    draw_scene,
)
from showtell.data.synthetic.shapes import draw_photo, draw_shapes
from showtell.data.synthetic.wordings import WORDINGS
from showtell.errors import DatasetError
from showtell.language.languages import ENGLISH, language_of
from showtell.vocabulary import Vocabulary, tokenize

# The grammar once more, from the reader's side: a caption is one thing or two with a relation.
SIZE = r"(?P<size{0}>small|little|tiny|large|big)?"
THING = (
    rf"(?:a|one) ?{SIZE} ?(?P<colour{{0}}>{'|'.join(COLOURS)})?"
    rf" ?(?P<kind{{0}}>{'|'.join(KINDS)}|shape)(?: that is (?P<late{{0}}>{'|'.join(COLOURS)}))?"
)
RELATION = r"(?P<relation>\w+|(?:to the )?(?:left|right) of)"
CAPTION = re.compile(
    rf"(?:just |only )?{THING.format(1)}"
    rf"(?: on its own| and nothing else| {RELATION} {THING.format(2)})?"
)
MEANS = {
    "above": ("above", False),
    "over": ("above", False),
    "below": ("above", True),
    "under": ("above", True),
    "left of": ("left of", False),
    "right of": ("left of", True),
    "inside": ("inside", False),
    "within": ("inside", False),
    "around": ("inside", True),
    "surrounding": ("inside", True),
}
SMALL = {"small", "little", "tiny"}


def colour_masks(photo: NDArray[np.uint8]) -> dict[str, NDArray[np.bool_]]:
    """Find each colour's pixels by what makes it that colour, not by how it was drawn."""
    red, green, blue = (photo[..., channel].astype(int) for channel in range(3))
    return {
        "red": (red > 1.8 * green) & (red > 1.8 * blue),
        "green": (green > 1.8 * red) & (green > 1.8 * blue),
        "blue": (blue > 1.8 * red) & (blue > 1.8 * green),
        "yellow": (red > 1.8 * blue) & (green > 1.8 * blue),
    }


class Seen:
    """One shape, measured in the photo."""

    def __init__(self, mask: NDArray[np.bool_]) -> None:
        rows, columns = np.nonzero(mask)
        self.mask = mask
        self.top, self.bottom = rows.min(), rows.max() + 1
        self.left, self.right = columns.min(), columns.max() + 1
        self.small = (self.right - self.left) / mask.shape[1] < 0.3

    def holds(self, other: Seen) -> bool:
        return bool(
            self.top < other.top < other.bottom < self.bottom
            and self.left < other.left < other.right < self.right
        )

    def name_kind(self, others: list[Seen]) -> None:
        """A square fills all of its box, a circle pi / 4, a triangle half."""
        whole = np.logical_or.reduce([self.mask, *(o.mask for o in others if self.holds(o))])
        fill = whole[self.top : self.bottom, self.left : self.right].mean()
        self.kind = "square" if fill > 0.88 else "circle" if fill > 0.65 else "triangle"


def look(photo: NDArray[np.uint8]) -> dict[str, Seen]:
    seen = {c: Seen(mask) for c, mask in colour_masks(photo).items() if mask.sum() > 20}
    for shape in seen.values():
        shape.name_kind([other for other in seen.values() if other is not shape])
    return seen


def is_true(caption: str, seen: dict[str, Seen]) -> bool:
    """Judge a caption by what is to be seen, for some way of taking its words."""
    match = CAPTION.fullmatch(caption)
    assert match, f"not in the grammar: {caption}"
    words = match.groupdict()

    def fits(number: int, colour: str) -> bool:
        shape = seen[colour]
        size, kind = words[f"size{number}"], words[f"kind{number}"]
        return (
            (words[f"colour{number}"] or words[f"late{number}"]) in (None, colour)
            and kind in ("shape", shape.kind)
            and (size is None or (size in SMALL) == shape.small)
        )

    def related(first: Seen, second: Seen) -> bool:
        if words["relation"] == "and":
            return True
        relation, converse = MEANS[words["relation"].removeprefix("to the ")]
        if converse:
            first, second = second, first
        if relation == "above":
            return bool(first.bottom <= second.top)
        if relation == "left of":
            return bool(first.right <= second.left)
        return second.holds(first)

    if words["relation"] is None:
        return len(seen) == 1 and fits(1, next(iter(seen)))
    return any(
        fits(1, one) and fits(2, two) and related(seen[one], seen[two])
        for one in seen
        for two in seen
        if one != two
    )


scenes = st.builds(
    lambda seed, split: draw_scene(random.Random(seed), split),
    st.integers(),
    st.sampled_from(SPLITS),
)


@given(scenes, st.integers(20, 80), st.floats(0.85, 1.1), st.integers())
def test_every_caption_is_true_of_the_drawn_photo(scene, background, light, seed):
    seen = look(np.asarray(draw_photo(scene, 96, background, light)))
    for caption in draw_captions(random.Random(seed), scene):
        assert is_true(caption, seen), (caption, scene)


@given(scenes, scenes)
def test_the_canonical_caption_of_another_scene_is_false(scene, other):
    """Else a judge that says yes to all would find every caption true."""
    caption = canonical_caption(other)
    # A caption without a size word is also true of a small shape.
    if caption not in (canonical_caption(scene), canonical_caption(scene).replace("small ", "")):
        assert not is_true(caption, look(np.asarray(draw_photo(scene, 96)))), caption


@given(scenes, st.integers())
def test_a_scene_has_five_different_captions_canonical_first(scene, seed):
    captions = draw_captions(random.Random(seed), scene)
    assert captions[0] == canonical_caption(scene)
    assert len(set(captions)) == 5


@given(scenes, st.integers())
def test_captions_survive_the_vocabulary_unchanged(scene, seed):
    """Exact matches can be counted on the text that a model says."""
    for caption in draw_captions(random.Random(seed), scene):
        assert ENGLISH.write(tokenize(caption)) == caption


@given(scenes)
def test_shapes_stay_inside_the_photo(scene: Scene):
    for shape in scene.shapes:
        assert min(shape.x, shape.y) - shape.radius >= 0
        assert max(shape.x, shape.y) + shape.radius <= 1


def drawn_files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_the_same_seed_draws_the_same_set(tmp_path):
    draw_shapes(tmp_path / "a", 12, seed=3)
    draw_shapes(tmp_path / "b", 12, seed=3)
    draw_shapes(tmp_path / "c", 12, seed=4)
    assert drawn_files(tmp_path / "a") == drawn_files(tmp_path / "b")
    assert drawn_files(tmp_path / "a") != drawn_files(tmp_path / "c")


def test_the_dataset_opens_passes_the_check_and_has_its_sizes(tmp_path):
    dataset = draw_shapes(tmp_path / "set", 50, size=48)
    assert dataset == open_dataset(tmp_path / "set")
    report = check_dataset(tmp_path / "set")
    assert report.findings == ()
    assert report.splits == {"train": 40, "dev": 5, "test": 5}
    assert report.captions == 250
    from PIL import Image

    assert {Image.open(photo.path).size for photo in dataset.photos} == {(48, 48)}


def test_no_scene_of_dev_or_test_is_in_train_for_any_seed(tmp_path):
    first = draw_shapes(tmp_path / "first", 400, seed=1, size=32)
    second = draw_shapes(tmp_path / "second", 400, seed=2, size=32)
    train = {photo.captions[0] for photo in [*first.split("train"), *second.split("train")]}
    held_out = {
        photo.captions[0]
        for dataset in (first, second)
        for split in ("dev", "test")
        for photo in dataset.split(split)
    }
    assert len(held_out) > 50
    assert not train & held_out


def test_every_word_of_dev_occurs_in_train(tmp_path):
    dataset = draw_shapes(tmp_path / "set", 300, size=32)
    words = Vocabulary.build(c for photo in dataset.split("train") for c in photo.captions)
    for photo in dataset.split("dev"):
        assert all(word in words for caption in photo.captions for word in tokenize(caption))


def test_every_relation_and_single_shapes_are_drawn(tmp_path):
    draw_shapes(tmp_path / "set", 300, size=32)
    rows = [json.loads(line) for line in (tmp_path / "set" / "captions.jsonl").open()]
    counts = Counter(row["scene"]["relation"] for row in rows)
    assert set(counts) == {None, "above", "left of", "inside"}
    assert min(counts.values()) > 20


def test_a_folder_that_is_not_empty_is_refused(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(DatasetError, match="not empty: choose another folder"):
        draw_shapes(tmp_path, 3)
    assert drawn_files(tmp_path) == {"mine.txt": b"mine"}


def test_an_empty_folder_is_filled(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert len(draw_shapes(Path(), 3).photos) == 3
    assert sorted(path.name for path in tmp_path.iterdir()) == ["captions.jsonl", "photos"]


def test_an_interrupted_drawing_leaves_nothing_behind(tmp_path, monkeypatch):
    from showtell.data.synthetic import shapes

    def full_disk(chance: object, scene: Scene, language: str) -> list[str]:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shapes, "draw_captions", full_disk)
    with pytest.raises(OSError, match="No space"):
        draw_shapes(tmp_path / "set", 3)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("count", "size"), [(0, 96), (3, 31)])
def test_too_few_or_too_small_is_refused(count, size, tmp_path):
    with pytest.raises(DatasetError, match="at least"):
        draw_shapes(tmp_path / "set", count, size=size)


@pytest.mark.parametrize(("count", "sizes"), [(1, (1, 0, 0)), (3, (1, 1, 1)), (20, (16, 2, 2))])
def test_datasets_of_three_or_more_photos_have_dev_and_test(count, sizes, tmp_path):
    dataset = draw_shapes(tmp_path / "set", count, size=32)
    assert tuple(len(dataset.split(split)) for split in SPLITS) == sizes


@pytest.mark.parametrize("language", ["ja", "zh"])
def test_captions_in_a_language_without_spaces_describe_the_same_photos(tmp_path, language):
    english = draw_shapes(tmp_path / "en", 30, seed=3, size=32)
    dataset = draw_shapes(tmp_path / language, 30, seed=3, size=32, language=language)
    assert dataset.language == language
    assert english.language is None
    rules = language_of(language)
    for photo, same in zip(dataset.photos, english.photos, strict=True):
        assert photo.path.read_bytes() == same.path.read_bytes()
        assert len(set(photo.captions)) == 5
        for caption in photo.captions:
            assert rules.write(rules.words(caption)) == caption.replace("，", "")


@pytest.mark.parametrize("language", sorted(WORDINGS))
@given(scene=scenes, other=scenes)
def test_the_canonical_captions_of_two_scenes_differ_in_every_language(language, scene, other):
    same = canonical_caption(scene) == canonical_caption(other)
    assert (canonical_caption(scene, language) == canonical_caption(other, language)) == same


def test_shapes_in_a_language_without_words_for_them_are_refused(tmp_path):
    with pytest.raises(DatasetError, match="shapes have no words in 'de': choose one of en, ja"):
        draw_shapes(tmp_path / "de", 3, language="de")
