"""A picture of the attention for each word of a caption."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from showtell.caption import Caption
from showtell.image import Preprocessing, visible_box

_PAPER, _INK, _FAINT = (250, 250, 248), (24, 24, 28), (120, 120, 128)
_GLOW = np.array([255.0, 176.0, 40.0], np.float32)
_PANEL = 340  # pixels of a panel's longer side
_GAP, _MARGIN = 22, 44
_TITLE, _WORD, _SMALL = 44, 30, 18
_WIDE = 16 / 9  # the shape of a slide

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


def draw_attention(
    photo: Image.Image, caption: Caption, preprocessing: Preprocessing
) -> Image.Image:
    """Draw the photo, then one panel per word in which the attended regions are bright.

    `photo` is upright RGB (see `open_photo`); the words of `caption` have attention. All panels
    share one scale of brightness, from the 25th to the 99.7th percentile of all attention values,
    so that a word with evenly spread attention stays dim.

    Raises ValueError if the words have no attention.
    """
    maps = [word.attention for word in caption.words if word.attention is not None]
    if not maps or len(maps) < len(caption.words):
        raise ValueError("the caption's words have no attention")
    scale = _PANEL / max(photo.size)
    size = (max(1, round(photo.width * scale)), max(1, round(photo.height * scale)))
    small = photo.resize(size, Image.Resampling.LANCZOS, reducing_gap=3.0)
    heats = [_upsampled(attention, photo.size, size, preprocessing) for attention in maps]
    low, high = np.percentile(np.stack(heats), [25, 99.7])
    panels = [(small, "", "")]
    for word, heat in zip(caption.words, heats, strict=True):
        probability = f"{math.exp(word.log_probability):.0%}"
        panel = _highlighted(small, (heat - low) / max(high - low, 1e-6))
        panels.append((panel, word.word, probability))
    return _page(panels, caption)


def _upsampled(
    attention: NDArray[np.float32],
    whole: tuple[int, int],
    size: tuple[int, int],
    preprocessing: Preprocessing,
) -> NDArray[np.float32]:
    """Return attention [grid height, width] resized to a panel; 0 outside of the model's input."""
    rows, columns = attention.shape
    left, top, right, bottom = visible_box(whole, preprocessing)
    # copies of the outermost cells around the grid, so that they do not fade towards the edge
    grid = Image.fromarray(np.pad(attention, 1, mode="edge").astype(np.float32))
    # the affine transform from panel pixels to cells of the padded grid
    across = (right - left) / columns
    down = (bottom - top) / rows
    box = (1 - left / across, 1 - top / down, 0.0, 0.0)
    step = (whole[0] / across / size[0], whole[1] / down / size[1])
    heat = grid.transform(
        size,
        Image.Transform.AFFINE,
        (step[0], 0, box[0], 0, step[1], box[1]),
        Image.Resampling.BICUBIC,
    )
    values: NDArray[np.float32] = np.maximum(np.asarray(heat, np.float32), 0)
    return values


def _highlighted(photo: Image.Image, heat: NDArray[np.float32]) -> Image.Image:
    """Return the photo dim and grey, with warm colours where `heat` (0 to 1) is high."""
    strength = np.clip(heat, 0, 1)[:, :, None]
    colour = np.asarray(photo, np.float32)
    grey = np.asarray(photo.convert("L"), np.float32)[:, :, None]
    dim = 0.34 * (0.8 * grey + 0.2 * colour)
    bright = np.minimum(0.92 * colour + 0.3 * _GLOW, 255)
    return Image.fromarray((dim + (bright - dim) * strength).astype(np.uint8))


def _page(panels: list[tuple[Image.Image, str, str]], caption: Caption) -> Image.Image:
    width, height = panels[0][0].size
    cell = (width + _GAP, height + _WORD + _SMALL + 2 * _GAP)
    columns = min(range(1, len(panels) + 1), key=lambda n: _misfit(n, len(panels), cell))
    rows = math.ceil(len(panels) / columns)
    across = max(columns * cell[0] - _GAP, 12 * _TITLE)
    title_font = _font(_TITLE)
    title = _wrapped(caption.text or "", title_font, across)
    head = len(title) * round(1.25 * _TITLE) + _GAP // 2
    foot = "" if caption.confidence is None else f"confidence {caption.confidence:.0%}"
    page = Image.new(
        "RGB",
        (across + 2 * _MARGIN, head + rows * cell[1] + 2 * _MARGIN + (_SMALL if foot else -_GAP)),
        _PAPER,
    )
    draw = ImageDraw.Draw(page)
    for number, text in enumerate(title):
        draw.text((_MARGIN, _MARGIN + number * round(1.25 * _TITLE)), text, _INK, title_font)
    word_font, small_font = _font(_WORD), _font(_SMALL)
    for number, (panel, word, probability) in enumerate(panels):
        left = _MARGIN + number % columns * cell[0]
        top = _MARGIN + head + _GAP + number // columns * cell[1]
        page.paste(panel, (left, top))
        below = top + height + _GAP // 3
        draw.text((left, below), word, _INK, word_font)
        right = left + draw.textlength(word, word_font) + 10
        draw.text((right, below + _WORD - _SMALL), probability, _FAINT, small_font)
    if foot:
        position = (page.width - _MARGIN, page.height - _MARGIN // 2)
        draw.text(position, foot, _FAINT, small_font, anchor="rs")
    return page


def _misfit(columns: int, count: int, cell: tuple[int, int]) -> float:
    """Return how much a page of `columns` differs from a slide's shape; empty cells count too."""
    rows = math.ceil(count / columns)
    shape = columns * cell[0] / (rows * cell[1] + 3 * _TITLE)
    return abs(math.log(shape / _WIDE)) + 0.1 * (rows * columns - count)


def _wrapped(text: str, font: Font, width: int) -> list[str]:
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and font.getlength(longer) > width:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines


def _font(size: int) -> Font:
    return ImageFont.load_default(size)
