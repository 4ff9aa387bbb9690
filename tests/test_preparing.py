"""Photos become the pixels that an encoder wants, whatever their size and shape."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from showtell.errors import BundleError
from showtell.files.typed_settings import load_settings
from showtell.image import Preprocessing, open_photo, prepare
from support.odd_photos import BLUE, GREEN, RED, WHITE, corners, encoded


def test_prepared_pixels_are_scaled_by_mean_and_deviation() -> None:
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    image = Image.effect_noise((224, 224), 80).convert("RGB")
    pixels = prepare(image, Preprocessing(mean=mean, std=std))
    expected = (np.asarray(image) / 255 - mean) / std
    assert (pixels.shape, pixels.dtype) == ((3, 224, 224), np.float32)
    assert pixels.flags.c_contiguous
    np.testing.assert_allclose(pixels, expected.transpose(2, 0, 1), atol=2e-6)


def colour_at(pixels: np.ndarray, across: float, down: float) -> np.ndarray:
    _, height, width = pixels.shape
    return (pixels[:, int(down * height), int(across * width)] * 0.5 + 0.5) * 255


@pytest.mark.parametrize("size", [(900, 300), (300, 900), (60, 40)])
def test_squash_keeps_all_of_the_photo(size: tuple[int, int]) -> None:
    pixels = prepare(corners(*size), Preprocessing(height=32, width=48))
    assert pixels.shape == (3, 32, 48)
    for across, down, colour in ((0.1, 0.1, RED), (0.9, 0.1, GREEN), (0.1, 0.9, BLUE)):
        assert colour_at(pixels, across, down) == pytest.approx(colour, abs=1)


@pytest.mark.parametrize("size", [(900, 300), (300, 900)])
def test_crop_keeps_the_shape_and_cuts_the_centre(size: tuple[int, int]) -> None:
    image = Image.new("RGB", size, "black")
    centre = (size[0] // 2 - 150, size[1] // 2 - 150)
    image.paste(corners(300, 300), centre)
    preprocessing = Preprocessing(height=64, width=64, resize="crop")
    pixels = prepare(image, preprocessing)
    # the outermost pixel mixes with what lies just outside of the cut
    expected = prepare(corners(300, 300), preprocessing)[:, 1:-1, 1:-1]
    np.testing.assert_allclose(pixels[:, 1:-1, 1:-1], expected, atol=0.05)


def test_crop_fraction_cuts_the_border_away() -> None:
    image = Image.new("RGB", (400, 400), "black")
    image.paste(WHITE, (50, 50, 350, 350))  # the central three quarters
    cut = prepare(image, Preprocessing(64, 64, "crop", crop_fraction=0.75))
    assert (cut[:, 1:-1, 1:-1] == 1).all()
    assert prepare(image, Preprocessing(64, 64, "crop", crop_fraction=1.0))[0, 3, 3] == -1


@pytest.mark.parametrize("size", [(400, 100), (100, 400)])
def test_pad_keeps_the_shape_and_fills_with_the_mean(size: tuple[int, int]) -> None:
    pixels = prepare(Image.new("RGB", size, "white"), Preprocessing(64, 64, "pad"))
    if size[0] < size[1]:
        pixels = pixels.transpose(0, 2, 1)
    assert np.abs(pixels[:, :24]).max() < 0.01
    assert np.abs(pixels[:, 40:]).max() < 0.01
    assert (pixels[:, 24:40] == 1).all()


@settings(max_examples=40)
@given(
    st.integers(1, 700),
    st.integers(1, 700),
    st.sampled_from(["squash", "crop", "pad"]),
    st.sampled_from(["bilinear", "bicubic", "nearest", "lanczos"]),
    st.floats(0.5, 1),
)
def test_any_shape_of_photo_is_prepared(
    width: int, height: int, resize: str, interpolation: str, crop_fraction: float
) -> None:
    preprocessing = Preprocessing(20, 30, resize, crop_fraction, interpolation)  # type: ignore[arg-type]
    pixels = prepare(Image.new("RGB", (width, height), WHITE), preprocessing)
    assert pixels.shape == (3, 20, 30)
    if resize != "pad":
        assert (pixels == 1).all()


@pytest.mark.parametrize("resize", ["squash", "crop", "pad"])
def test_photo_decoded_small_looks_as_if_decoded_whole(resize: str) -> None:
    photo = Image.effect_mandelbrot((2400, 1600), (-2, -1, 1, 1), 60).convert("RGB")
    data = encoded(photo, "JPEG", quality=90)
    preprocessing = Preprocessing(resize=resize)  # type: ignore[arg-type]
    small = open_photo(data, preprocessing=preprocessing)
    assert 448 <= min(small.size) < 1600
    difference = prepare(small, preprocessing) - prepare(open_photo(data), preprocessing)
    assert np.abs(difference).mean() < 0.01


def test_preprocessing_survives_json() -> None:
    preprocessing = Preprocessing(100, 200, "pad", 0.9, "bicubic", (0.1, 0.2, 0.3))
    data = json.loads(json.dumps(preprocessing.to_dict()))
    assert load_settings(Preprocessing, data, error=BundleError) == preprocessing
