from __future__ import annotations

import io
import logging
import struct
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms

from showtell.image import Preprocessing, open_photo
from showtell.image_formats import colour_profile
from support.icc_profiles import (
    ADOBE_GAMMA,
    ADOBE_RGB,
    DISPLAY_P3,
    SRGB,
    cmyk_profile,
    grey_profile,
    rgb_profile,
    to_profile,
)
from support.odd_photos import corners, encoded, with_orientation

ADOBE = rgb_profile(ADOBE_RGB, ADOBE_GAMMA)
LINEAR_GREY = grey_profile(1.0)
RED_INK = cmyk_profile((53.2, 80.1, 67.2))


def in_adobe_rgb(image: Image.Image) -> Image.Image:
    return Image.fromarray(to_profile(np.asarray(image), ADOBE_RGB, ADOBE_GAMMA))


def assert_same(photo: Image.Image, expected: Image.Image, tolerance: int = 3) -> None:
    assert photo.mode == "RGB"
    difference = np.asarray(photo, np.int16) - np.asarray(expected, np.int16)
    # colours beside an edge are mixed by lossy formats
    assert np.quantile(np.abs(difference), 0.9) <= tolerance


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF", "HEIF"])
def test_profile_is_applied_in_every_format(kind: str) -> None:
    options: dict[str, object] = {"WEBP": {"lossless": True}, "AVIF": {"subsampling": "4:4:4"}}.get(
        kind, {"quality": 100}
    )
    if kind == "HEIF":
        pytest.importorskip("pillow_heif").register_heif_opener()
    Image.init()
    if kind not in Image.SAVE:
        pytest.skip("Pillow has no AVIF")
    data = encoded(in_adobe_rgb(corners()), kind, icc_profile=ADOBE, **options)
    photo = open_photo(data)
    assert_same(photo, corners(), 12 if kind == "AVIF" else 5)
    assert "icc_profile" not in photo.info
    assert np.abs(np.asarray(in_adobe_rgb(corners()), int) - np.asarray(corners())).max() > 20


def test_profile_of_a_display_with_the_tone_curve_of_srgb_is_applied() -> None:
    image = Image.new("RGB", (8, 8), (234, 51, 35))  # pure red in Display P3
    photo = open_photo(encoded(image, "PNG", icc_profile=rgb_profile(DISPLAY_P3, None)))
    np.testing.assert_allclose(photo.getpixel((4, 4)), (255, 0, 0), atol=4)


@pytest.mark.parametrize(
    "profile",
    [
        ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes(),
        rgb_profile(SRGB, None),
    ],
    ids=["lcms", "table"],
)
@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L"])
def test_profile_of_srgb_changes_no_byte(mode: str, profile: bytes) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    image = Image.fromarray(noise).convert(mode)
    plain = open_photo(encoded(image, "PNG"))
    assert open_photo(encoded(image, "PNG", icc_profile=profile)).tobytes() == plain.tobytes()


def test_profile_is_applied_to_a_large_photo_decoded_small_and_turned() -> None:
    image = in_adobe_rgb(corners(1600, 1200))
    image.info["icc_profile"] = ADOBE
    plain = with_orientation(image, 6)
    tagged = Image.open(io.BytesIO(plain))
    data = encoded(tagged, "JPEG", quality=95, icc_profile=ADOBE, exif=tagged.info["exif"])
    photo = open_photo(data, preprocessing=Preprocessing())
    assert photo.size == (800, 600)
    assert_same(photo, corners(800, 600), 6)


@pytest.mark.parametrize("depth", [8, 16])
@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_profile_of_greys_is_applied(kind: str, depth: int) -> None:
    values = np.full((8, 8), 55 if depth == 8 else 55 * 257, f"u{depth // 8}")
    data = encoded(Image.fromarray(values), kind, icc_profile=LINEAR_GREY)
    # 55 of 255, linear, is 128 in sRGB
    np.testing.assert_allclose(open_photo(data).getpixel((4, 4)), (128,) * 3, atol=2)


@pytest.mark.parametrize("kind", ["TIFF", "JPEG"])
def test_profile_of_a_press_is_applied(kind: str) -> None:
    image = Image.new("CMYK", (16, 16), (255, 0, 0, 0))
    data = encoded(image, kind, icc_profile=RED_INK)
    np.testing.assert_allclose(open_photo(data).getpixel((4, 4)), (255, 0, 0), atol=6)
    paper = encoded(Image.new("CMYK", (16, 16)), kind, icc_profile=RED_INK)
    np.testing.assert_allclose(open_photo(paper).getpixel((4, 4)), (255, 255, 255), atol=2)


def test_profile_is_applied_before_alpha_and_to_palettes() -> None:
    stored = tuple(
        int(value) for value in to_profile(np.array([220, 40, 40]), ADOBE_RGB, ADOBE_GAMMA)
    )
    palette = Image.new("P", (8, 8), 1)
    palette.putpalette([0, 0, 0, *stored])
    for image, options, expected in (
        (palette, {}, (220, 40, 40)),
        (palette, {"transparency": 0}, (220, 40, 40)),
        (Image.new("RGBA", (8, 8), (*stored, 128)), {}, (237, 147, 147)),
        (Image.new("RGB", (8, 8), stored), {"transparency": (1, 2, 3)}, (220, 40, 40)),
        (Image.new("RGB", (8, 8), stored), {"transparency": stored}, (255, 255, 255)),
    ):
        data = encoded(image, "PNG", icc_profile=ADOBE, **options)
        np.testing.assert_allclose(open_photo(data).getpixel((4, 4)), expected, atol=2)
    data = encoded(Image.new("LA", (8, 8), (55, 128)), "PNG", icc_profile=LINEAR_GREY)
    np.testing.assert_allclose(open_photo(data).getpixel((4, 4)), (191,) * 3, atol=2)


def test_rgb_profile_of_a_grey_photo_is_applied() -> None:
    data = encoded(Image.new("L", (8, 8), 55), "PNG", icc_profile=rgb_profile(SRGB, 1.0))
    np.testing.assert_allclose(open_photo(data).getpixel((4, 4)), (128,) * 3, atol=2)


@pytest.mark.parametrize("profile", [RED_INK, LINEAR_GREY], ids=["CMYK", "grey"])
def test_profile_of_other_colours_than_the_photo_is_ignored(
    profile: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    photo = open_photo(encoded(corners(), "PNG", icc_profile=profile))
    assert photo.tobytes() == corners().tobytes()
    assert not caplog.records


def jpeg_with_pieces(*pieces: tuple[int, int, bytes], after_frame: bool = False) -> bytes:
    """A JPEG in Adobe RGB with pieces of a profile: number, number of pieces, bytes."""
    data = encoded(in_adobe_rgb(corners()), "JPEG", quality=100, subsampling=0)
    segments = b""
    for number, count, piece in pieces:
        content = b"ICC_PROFILE\0" + bytes([number, count]) + piece
        segments += b"\xff\xe2" + struct.pack(">H", 2 + len(content)) + content
    place = data.index(b"\xff\xda") if after_frame else 2
    return data[:place] + segments + data[place:]


@pytest.mark.parametrize(
    ("pieces", "after_frame"),
    [
        ([(2, 2, ADOBE[300:]), (1, 2, ADOBE[:300])], False),
        ([(1, 1, ADOBE), (1, 1, ADOBE)], False),
        ([(1, 2, ADOBE[:300]), (2, 2, ADOBE[300:])] * 2, False),
        ([(1, 3, ADOBE[:300]), (2, 3, ADOBE[300:])], False),
        ([(1, 0, ADOBE)], False),
        ([(0, 1, ADOBE)], False),
        ([(1, 1, ADOBE)], True),
    ],
    ids=["order", "twice", "pieces twice", "count", "count 0", "number 0", "after the frame"],
)
def test_odd_pieces_of_a_profile_in_a_jpeg_are_joined(
    pieces: list[tuple[int, int, bytes]], after_frame: bool, caplog: pytest.LogCaptureFixture
) -> None:
    photo = open_photo(jpeg_with_pieces(*pieces, after_frame=after_frame))
    assert_same(photo, corners(), 5)
    assert not caplog.records


def test_profile_that_lacks_a_piece_or_is_cut_is_ignored_with_a_warning(
    caplog: pytest.LogCaptureFixture,
) -> None:
    stored = in_adobe_rgb(corners())
    jpeg = jpeg_with_pieces((1, 3, ADOBE[:300]), (3, 3, ADOBE[400:]))
    assert_same(open_photo(jpeg), stored)
    assert_same(open_photo(encoded(stored, "PNG", icc_profile=ADOBE[:-1])), stored)
    png = bytearray(encoded(stored, "PNG", icc_profile=ADOBE))
    start = png.index(b"iCCP")
    length = int.from_bytes(png[start - 4 : start], "big")
    png[start + 20 : start + 60] = bytes(40)
    checksum = zlib.crc32(png[start : start + 4 + length])
    png[start + 4 + length : start + 8 + length] = checksum.to_bytes(4, "big")
    assert_same(open_photo(bytes(png)), stored)
    assert [record.getMessage().split(": ")[1] for record in caplog.records] == [
        "the colour profile is damaged and is ignored"
    ] * 3


@pytest.mark.parametrize(
    "profile",
    [
        b"no profile",
        ADOBE[:200],
        ADOBE[:16] + b"XYZ " + ADOBE[20:],
        bytes(1000),
        b"\xff" * 5_000_000,
    ],
    ids=["text", "cut", "XYZ", "zeros", "large"],
)
def test_broken_profile_is_ignored_with_one_warning(
    profile: bytes, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "photo.tif"
    path.write_bytes(encoded(corners(), "TIFF", icc_profile=profile))
    assert open_photo(path).tobytes() == corners().tobytes()
    warnings = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(warnings) == 1
    assert warnings[0].getMessage().startswith(f"{path}: the colour profile")


def test_image_of_the_caller_is_left_alone_and_converted_once() -> None:
    image = in_adobe_rgb(corners())
    image.info["icc_profile"] = ADOBE
    before = image.tobytes()
    photo = open_photo(image)
    assert (image.tobytes(), image.info) == (before, {"icc_profile": ADOBE})
    assert_same(photo, corners())
    assert open_photo(photo).tobytes() == photo.tobytes()


def test_colours_as_stored_are_not_converted() -> None:
    data = encoded(in_adobe_rgb(corners()), "PNG", icc_profile=ADOBE)
    photo = open_photo(data, colours_as_stored=True)
    assert photo.tobytes() == in_adobe_rgb(corners()).tobytes()
    assert open_photo(photo).tobytes() == open_photo(data).tobytes()


def test_threads_share_a_profile() -> None:
    data = encoded(in_adobe_rgb(corners(300, 200)), "PNG", icc_profile=ADOBE)
    with ThreadPoolExecutor(4) as pool:
        photos = list(pool.map(lambda _: open_photo(data).tobytes(), range(24)))
    assert set(photos) == {open_photo(data).tobytes()}


def test_cache_of_profiles_is_bounded() -> None:
    for gamma in np.linspace(1, 2, 20):
        image = encoded(corners(), "PNG", icc_profile=rgb_profile(SRGB, gamma))
        open_photo(image)
    assert colour_profile._transform.cache_info().currsize <= 8


@settings(max_examples=100)
@given(st.sampled_from([ADOBE, RED_INK, LINEAR_GREY]), st.data())
def test_damaged_profile_never_spoils_a_photo(profile: bytes, data: st.DataObject) -> None:
    damaged = bytearray(profile)
    for _ in range(data.draw(st.integers(1, 8))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    for mode in ("RGB", "L", "CMYK"):
        image = Image.new(mode, (4, 4))
        image.info["icc_profile"] = bytes(damaged)
        assert open_photo(image).mode == "RGB"


@pytest.mark.shared
def test_red_in_adobe_rgb_is_red(shared_dir: Path) -> None:
    path = shared_dir / "cases" / "jpeg" / "icc_adobergb.jpg"
    if not path.exists():
        pytest.skip("no shared cases")
    np.testing.assert_allclose(open_photo(path).getpixel((2, 2)), (220, 40, 40), atol=2)
