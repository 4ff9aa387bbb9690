from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from showtell.caption import Caption, Word
from showtell.explain import _upsampled, draw_attention
from showtell.image import Preprocessing
from support.odd_photos import corners


def one_cell(row: int, column: int, grid: tuple[int, int] = (4, 4)) -> np.ndarray:
    attention = np.zeros(grid, np.float32)
    attention[row, column] = 1
    return attention


def caption_of(*maps: np.ndarray | None, confidence: float | None = None) -> Caption:
    words = tuple(Word(f"word{n}", -0.5, attention) for n, attention in enumerate(maps))
    return Caption(text=" ".join(w.word for w in words), words=words, confidence=confidence)


@pytest.mark.parametrize("cell", [(0, 0), (0, 3), (2, 1), (3, 3)])
@pytest.mark.parametrize("size", [(320, 200), (200, 320)])
def test_heat_lies_where_the_model_looked(cell: tuple[int, int], size: tuple[int, int]) -> None:
    heat = _upsampled(one_cell(*cell), (1000, 1000), size, Preprocessing())
    assert heat.shape == (size[1], size[0])
    row, column = np.unravel_index(heat.argmax(), heat.shape)
    assert cell == (int(row * 4 / size[1]), int(column * 4 / size[0]))
    assert heat.min() >= 0


def test_heat_of_a_cropped_photo_lies_inside_the_cut() -> None:
    preprocessing = Preprocessing(resize="crop")
    # of 300 x 100 the model saw columns 100 to 200 only
    left = _upsampled(one_cell(0, 0), (300, 100), (300, 100), preprocessing)
    assert 100 <= np.unravel_index(left.argmax(), left.shape)[1] < 125
    right = _upsampled(one_cell(3, 3), (300, 100), (300, 100), preprocessing)
    assert 175 <= np.unravel_index(right.argmax(), right.shape)[1] < 200
    everywhere = _upsampled(np.ones((4, 4), np.float32), (300, 100), (300, 100), preprocessing)
    assert everywhere[50, 150] == pytest.approx(1, abs=0.01)
    assert everywhere[:, :60].max() == everywhere[:, 240:].max() == 0


def test_heat_of_a_padded_photo_leaves_the_padding_out() -> None:
    # of 300 x 100 in a square the photo fills rows 1/3 to 2/3 of what the model saw
    heat = _upsampled(one_cell(2, 0, (6, 6)), (300, 100), (300, 100), Preprocessing(resize="pad"))
    row, column = np.unravel_index(heat.argmax(), heat.shape)
    assert row < 50
    assert column < 50


def test_panel_is_bright_where_the_model_looked_and_dim_elsewhere() -> None:
    photo = Image.new("RGB", (340, 340), (200, 200, 200))
    picture = draw_attention(photo, caption_of(one_cell(0, 0)), Preprocessing())
    grey = np.asarray(picture.convert("L"), np.float32)
    panel = grey[:, -44 - 340 : -44]  # the last panel stands at the right margin
    top = next(y for y in range(40, len(panel)) if panel[y, 200] < 100)
    assert panel[top + 20, 20] > 180
    assert panel[top + 300, 300] < 100


def test_picture_has_a_panel_for_each_word_and_the_photo() -> None:
    photo = corners(600, 400)
    sizes = [
        draw_attention(photo, caption_of(*[one_cell(1, 1)] * count), Preprocessing()).size
        for count in (1, 9, 24)
    ]
    areas = [width * height for width, height in sizes]
    assert areas == sorted(areas)
    for width, height in sizes[1:]:
        assert 0.8 < width / height < 3


@pytest.mark.parametrize("size", [(1, 1), (5000, 20), (20, 5000)])
def test_photos_of_any_shape_are_drawn(size: tuple[int, int]) -> None:
    caption = caption_of(one_cell(0, 0), one_cell(3, 3), confidence=0.5)
    picture = draw_attention(Image.new("RGB", size), caption, Preprocessing())
    assert picture.mode == "RGB"


def test_words_without_attention_are_refused() -> None:
    with pytest.raises(ValueError, match="no attention"):
        draw_attention(corners(), caption_of(None, None), Preprocessing())
    with pytest.raises(ValueError, match="no attention"):
        draw_attention(corners(), caption_of(), Preprocessing())
