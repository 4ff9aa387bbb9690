from __future__ import annotations

import io
import os
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, features

from showtell.errors import PhotoError
from showtell.image import Preprocessing, open_photo
from showtell.image_formats.pillow_plugins import load_plugin
from support.odd_photos import (
    BLUE,
    GREEN,
    RED,
    WHITE,
    corners,
    deep_png,
    encoded,
    jpeg_of_size,
    png_of_size,
    with_orientation,
    with_xmp,
    write_broken,
    write_odd,
)


def assert_corners(image: Image.Image, tolerance: int = 0) -> None:
    """The quarters of `corners`, whatever the size."""
    assert image.mode == "RGB"
    width, height = image.size
    places = [(0.25, 0.25, RED), (0.75, 0.25, GREEN), (0.25, 0.75, BLUE), (0.75, 0.75, WHITE)]
    for across, down, colour in places:
        pixel = image.getpixel((int(width * across), int(height * down)))
        assert np.abs(np.subtract(pixel, colour)).max() <= tolerance, (across, down, pixel)


# opening: every kind of source and format


def test_photo_opens_from_path_bytes_file_image_and_array(tmp_path: Path) -> None:
    data = encoded(corners(), "PNG")
    path = tmp_path / "photo.png"
    path.write_bytes(data)
    with path.open("rb") as file:
        sources = [path, str(path), data, memoryview(data), io.BytesIO(data), file, corners()]
        for source in [*sources, np.asarray(corners())]:
            assert open_photo(source).tobytes() == corners().tobytes()


def test_photo_opens_from_a_pipe() -> None:
    reading, writing = os.pipe()
    data = encoded(corners(), "PNG")
    writer = threading.Thread(target=lambda: (os.write(writing, data), os.close(writing)))
    writer.start()
    with os.fdopen(reading, "rb") as pipe:
        assert_corners(open_photo(pipe))
    writer.join()


def test_pipe_that_is_no_photo_or_has_no_end_is_not_read_to_its_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Endless(io.RawIOBase):
        """A pipe that repeats bytes for ever and counts them."""

        def __init__(self, start: bytes) -> None:
            self.waiting, self.count = start, 0

        def readable(self) -> bool:
            return True

        def readinto(self, buffer: Any) -> int:
            data = self.waiting[: len(buffer)] or b"\0" * len(buffer)
            self.waiting = self.waiting[len(data) :]
            buffer[: len(data)] = data
            self.count += len(data)
            return len(data)

    monkeypatch.setattr("showtell.image_formats.decode_photo.MAX_STREAM_BYTES", 5 << 20)
    for start, reason, limit in (
        (b"y\n" * 99, "not a photo", 1 << 20),
        (encoded(corners(), "JPEG"), r"image: cannot be read \(larger than 5 MB\)", 7 << 20),
    ):
        stream = Endless(start)
        with pytest.raises(PhotoError, match=reason):
            open_photo(io.BufferedReader(stream))  # type: ignore[arg-type]
        assert stream.count < limit


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="Windows has no named pipes")
def test_named_pipe_is_read_if_something_writes_to_it(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.jpg"
    os.mkfifo(pipe)
    with pytest.raises(PhotoError, match=r"pipe\.jpg: empty"):
        open_photo(pipe)
    keep_open = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    writer = os.open(pipe, os.O_WRONLY)
    os.write(writer, encoded(corners(), "PNG"))
    thread = threading.Thread(target=os.close, args=[writer])  # the reader waits for the end
    thread.start()
    assert_corners(open_photo(pipe))
    thread.join()
    os.close(keep_open)


@pytest.mark.skipif(not os.path.exists("/dev/zero"), reason="no /dev/zero")  # noqa: PTH110
def test_device_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "zero.jpg").symlink_to("/dev/zero")
    with pytest.raises(PhotoError, match=r"zero\.jpg: cannot be read \(a device, not a file\)"):
        open_photo(tmp_path / "zero.jpg")


def test_file_of_many_gigabytes_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "sparse.png").open("wb") as file:
        file.write(encoded(corners(), "PNG"))
        file.truncate(3 << 30)
    with pytest.raises(PhotoError, match=r"sparse\.png: larger than 2 GB: not a photo"):
        open_photo(tmp_path / "sparse.png")


def test_file_is_read_from_where_it_stands() -> None:
    file = io.BytesIO(b"header" + encoded(corners(), "PNG"))
    file.seek(6)
    assert_corners(open_photo(file))


def test_content_decides_the_format_and_not_the_suffix(tmp_path: Path) -> None:
    path = tmp_path / "photo.jpg"
    path.write_bytes(encoded(corners(), "WEBP", lossless=True))
    assert_corners(open_photo(path))


Image.init()  # registers what this Pillow can write


@pytest.mark.parametrize(
    ("kind", "options", "tolerance"),
    [
        ("JPEG", {"quality": 95}, 12),
        ("JPEG", {"quality": 95, "progressive": True}, 12),
        ("PNG", {}, 0),
        ("WEBP", {"lossless": True}, 0),
        ("GIF", {}, 0),
        ("BMP", {}, 0),
        ("TIFF", {}, 0),
        ("TIFF", {"compression": "tiff_lzw"}, 0),
        ("MPO", {"quality": 95}, 12),
        pytest.param(
            "AVIF",
            {"quality": 95},
            12,
            marks=pytest.mark.skipif("AVIF" not in Image.SAVE, reason="Pillow has no AVIF"),
        ),
    ],
)
def test_formats_are_read(kind: str, options: dict[str, object], tolerance: int) -> None:
    assert_corners(open_photo(encoded(corners(), kind, **options)), tolerance)


def test_heic_without_its_extra_says_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load_plugin.cache_clear()
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    path = tmp_path / "photo.heic"
    path.write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(100))
    with pytest.raises(PhotoError) as caught:
        open_photo(path)
    assert str(caught.value) == (
        f"{path}: HEIC needs the extra 'heif': pip install \".[heif]\" in a clone of showtell"
    )


def test_heic_is_read_with_its_extra() -> None:
    heif = pytest.importorskip("pillow_heif")
    buffer = io.BytesIO()
    heif.from_pillow(corners(64, 48)).save(buffer, quality=95)
    assert_corners(open_photo(buffer.getvalue()), 12)


def test_other_formats_that_pillow_knows_are_refused() -> None:
    with pytest.raises(PhotoError, match="not a photo in a format"):
        open_photo(encoded(corners(), "PPM"))
    with pytest.raises(PhotoError, match="not a photo in a format"):
        open_photo(encoded(corners(), "EPS"))


# opening: modes and orientation


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_orientation_is_applied(orientation: int, kind: str) -> None:
    photo = open_photo(with_orientation(corners(), orientation, kind))
    assert photo.size == (60, 40)
    assert_corners(photo, 30)


def test_orientation_is_applied_to_a_large_photo_decoded_small() -> None:
    data = with_orientation(corners(1600, 1200), 6)
    photo = open_photo(data, preprocessing=Preprocessing())
    assert photo.size == (800, 600)
    assert_corners(photo, 12)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
def test_orientation_only_in_xmp_does_not_turn_the_photo(kind: str) -> None:
    if kind == "AVIF" and not features.check("avif"):
        pytest.skip("this Pillow cannot write AVIF")
    data = with_xmp(
        corners(), kind, '<rdf:Description xmlns:tiff="t:" tiff:Orientation="6"></rdf:Description>'
    )
    assert_corners(open_photo(data), 30)
    image = Image.open(io.BytesIO(data))
    assert_corners(open_photo(image), 30)
    assert any("xmp" in key for key in image.info)  # the caller's image keeps its XMP


def test_nonsense_orientation_is_ignored() -> None:
    assert_corners(open_photo(with_orientation(corners(), 77)), 12)


@pytest.mark.parametrize(("mode", "kind"), [("P", "PNG"), ("RGBA", "PNG"), ("CMYK", "TIFF")])
def test_colour_modes_keep_their_colours(mode: str, kind: str) -> None:
    image = corners().quantize(8) if mode == "P" else corners().convert(mode)
    assert_corners(open_photo(encoded(image, kind)), 3)
    assert_corners(open_photo(image), 3)


@pytest.mark.parametrize("mode", ["YCbCr", "HSV", "LAB"])
def test_images_in_other_colour_spaces_become_rgb(mode: str) -> None:
    if mode == "LAB":
        assert open_photo(Image.new("LAB", (2, 2))).mode == "RGB"
    else:
        assert_corners(open_photo(corners().convert(mode)), 6)


def test_cmyk_jpeg_as_adobe_writes_it_is_not_a_negative() -> None:
    assert_corners(open_photo(encoded(corners().convert("CMYK"), "JPEG", quality=95)), 16)


@pytest.mark.parametrize("mode", ["L", "1"])
def test_grey_modes(mode: str) -> None:
    image = Image.new("L", (4, 2), 255)
    image.putpixel((0, 0), 0)
    photo = open_photo(encoded(image.convert(mode), "PNG"))
    assert photo.getpixel((0, 0)) == (0, 0, 0)
    assert photo.getpixel((3, 1)) == WHITE


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bit_grey_is_scaled_and_not_clipped(kind: str) -> None:
    values = np.linspace(0, 65535, 256).astype(np.uint16).reshape(1, 256)
    photo = np.asarray(open_photo(encoded(Image.fromarray(values), kind)))
    np.testing.assert_array_equal(photo[0, :, 0], np.arange(256))


@pytest.mark.parametrize(
    ("colour_type", "samples", "transparent", "expected"),
    [
        (0, [20000], None, (78, 78, 78)),
        (0, [20000], [20000], WHITE),
        (4, [20000, 32768], None, (166, 166, 166)),
        (2, [20000, 40000, 60000], None, (78, 156, 233)),
        (2, [20000, 40000, 60000], [20000, 40000, 60000], WHITE),
        (6, [20000, 40000, 60000, 32768], None, (166, 205, 244)),
    ],
)
def test_sixteen_bit_png_of_every_colour_type(
    colour_type: int, samples: list[int], transparent: list[int] | None, expected: tuple[int, ...]
) -> None:
    data = deep_png(colour_type, samples, transparent)
    np.testing.assert_allclose(open_photo(data).getpixel((1, 1)), expected, atol=1)


def test_dark_sixteen_bit_grey_stays_dark() -> None:
    values = np.full((8, 8), 200, np.uint16)  # of 65535
    assert np.asarray(open_photo(encoded(Image.fromarray(values), "PNG"))).max() <= 1


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.float32([[0, 0.5, 1]]), [0, 128, 255]),
        (np.float32([[0, 127.5, 255]]), [0, 128, 255]),
        (np.float32([[-10, 0, 10]]), [0, 128, 255]),
        (np.float32([[np.nan, 0.25, 1]]), [0, 64, 255]),
        (np.float32([[0, 0, 0]]), [0, 0, 0]),
        (np.int32([[0, 32768, 65535]]), [0, 128, 255]),
        (np.int32([[1_000_000, 1_500_000, 2_000_000]]), [0, 128, 255]),
        (np.int32([[70_000, 70_000, 70_000]]), [0, 0, 0]),
    ],
)
def test_deep_tiff_is_scaled_by_what_it_holds(values: np.ndarray, expected: list[int]) -> None:
    photo = np.asarray(open_photo(encoded(Image.fromarray(values), "TIFF")))
    assert photo[0, :, 0].tolist() == pytest.approx(expected, abs=1)


def test_transparency_is_flattened_on_white() -> None:
    clear = Image.new("RGBA", (4, 4), (0, 0, 0, 0))
    half = Image.new("LA", (4, 4), (0, 128))
    palette = Image.new("P", (4, 4), 0)
    palette.putpalette([10, 20, 30])
    keyed = Image.new("RGB", (4, 4), (1, 2, 3))
    for data, expected in (
        (encoded(clear, "PNG"), 255),
        (encoded(clear, "WEBP", lossless=True), 255),
        (encoded(half, "PNG"), 127),
        (encoded(palette, "PNG", transparency=0), 255),
        (encoded(keyed, "PNG", transparency=(1, 2, 3)), 255),
    ):
        assert open_photo(data).getpixel((1, 1)) == (expected,) * 3


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF"])
def test_first_frame_of_an_animation_is_the_photo(kind: str) -> None:
    lossless = {"lossless": True} if kind == "WEBP" else {}
    later = [Image.new("RGB", (60, 40), "black")] * 2
    assert_corners(
        open_photo(encoded(corners(), kind, save_all=True, append_images=later, **lossless))
    )


def test_opening_leaves_the_callers_image_alone() -> None:
    image = Image.open(io.BytesIO(with_orientation(corners(1600, 1200), 6)))
    upright = open_photo(image, preprocessing=Preprocessing())
    assert image.size == (1200, 1600)
    assert upright.size == (1600, 1200)


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (np.full((2, 3), 7, np.uint8), 7),
        (np.full((2, 3, 1), 7, np.uint8), 7),
        (np.full((2, 3, 4), 255, np.uint8), 255),
        (np.full((2, 3), 65535, np.uint16), 255),
        (np.full((2, 3, 3), 0.5), 128),
        (np.ones((2, 3), bool), 255),
        (np.full((3, 2, 3), 9, np.uint8).transpose(1, 0, 2), 9),
    ],
)
def test_arrays_of_pixels(array: np.ndarray, expected: int) -> None:
    photo = open_photo(array)
    assert (photo.mode, photo.size) == ("RGB", (3, 2))
    assert photo.getpixel((0, 0)) == (expected,) * 3


@pytest.mark.parametrize(
    ("array", "reason"),
    [
        (np.zeros((2, 3, 5), np.uint8), "shape"),
        (np.zeros((0, 3), np.uint8), "shape"),
        (np.zeros(5, np.uint8), "shape"),
        (np.zeros((2, 3), np.int64), "int64"),
        (np.full((2, 3), 200.0), "0 to 1"),
        (np.full((2, 3), np.nan), "0 to 1"),
    ],
)
def test_arrays_that_are_no_photo_are_refused(array: np.ndarray, reason: str) -> None:
    with pytest.raises(PhotoError, match=reason):
        open_photo(array)


# opening: what cannot be opened


def test_broken_photos_are_named_with_what_is_wrong(tmp_path: Path) -> None:
    for name, reason in write_broken(tmp_path).items():
        with pytest.raises(PhotoError, match=reason) as caught:
            open_photo(tmp_path / name)
        assert str(caught.value).startswith(f"{tmp_path / name}: ")
        assert "\n" not in str(caught.value)


def test_odd_photos_open(tmp_path: Path) -> None:
    for name in write_odd(tmp_path):
        assert open_photo(tmp_path / name).mode == "RGB"


def test_missing_photo_folder_and_other_things_are_refused(tmp_path: Path) -> None:
    with pytest.raises(PhotoError, match=r"gone\.jpg: no such file$"):
        open_photo(tmp_path / "gone.jpg")
    with pytest.raises(PhotoError, match="a folder, not a photo"):
        open_photo(tmp_path)
    with pytest.raises(PhotoError, match="NoneType is not a photo"):
        open_photo(None)  # type: ignore[arg-type]
    with pytest.raises(PhotoError, match="damaged"):
        open_photo("nul\0byte.jpg")
    with pytest.raises(PhotoError, match="binary"):
        open_photo(io.StringIO("text"))  # type: ignore[arg-type]


def test_errors_show_strange_names_on_one_line(tmp_path: Path) -> None:
    path = os.fsencode(tmp_path) + b"/two\nlines-\xff\x1b[31m.jpg"
    with pytest.raises(PhotoError) as caught:
        open_photo(Path(os.fsdecode(path)))
    assert str(caught.value) == f"{tmp_path}/two\\nlines-\\xff\\x1b[31m.jpg: no such file"


def test_huge_photo_is_refused_before_memory_is_taken() -> None:
    for size in ((50_000, 50_000), (20_000, 20_000), (1, 2_000_000_000)):
        with pytest.raises(PhotoError, match="too large to open safely"):
            open_photo(png_of_size(*size))


def test_huge_photo_is_refused_where_pillow_has_no_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    with pytest.raises(PhotoError, match="50000 x 50000 pixels are more than 178,956,970"):
        open_photo(png_of_size(50_000, 50_000))


def test_huge_jpeg_is_decoded_reduced() -> None:
    small_model = Preprocessing()
    for size in ((16_000, 12_500), (65_000, 5_000)):  # 200 megapixels, a panorama
        image = open_photo(jpeg_of_size(*size), preprocessing=small_model)
        assert image.width * image.height <= 200_000_000 / 16
        with pytest.raises(PhotoError, match="--max-pixels"):
            open_photo(jpeg_of_size(*size))  # in full
    progressive = jpeg_of_size(24_000, 24_000, progressive=True)
    with pytest.raises(PhotoError, match=r"take 3,492 MB to decode, more than 2,863 MB"):
        open_photo(progressive, preprocessing=small_model)


def test_max_pixels_goes_beyond_the_limit_of_pillow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    for kind in ("JPEG", "PNG", "GIF", "BMP"):
        assert_corners(open_photo(encoded(corners(), kind)), tolerance=12)


PIECES = [encoded(corners(), kind) for kind in ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")]


@settings(max_examples=150)
@given(st.sampled_from(PIECES), st.data())
@pytest.mark.filterwarnings("ignore:::PIL")  # of damaged EXIF
def test_damaged_photo_opens_or_says_so_in_one_line(piece: bytes, data: st.DataObject) -> None:
    damaged = bytearray(piece[: data.draw(st.integers(0, len(piece)))])
    for _ in range(data.draw(st.integers(0, 6))):
        if damaged:
            place = data.draw(st.integers(0, len(damaged) - 1))
            damaged[place] = data.draw(st.integers(0, 255))
    message = ""
    try:
        assert open_photo(bytes(damaged), preprocessing=Preprocessing()).mode == "RGB"
    except PhotoError as error:
        message = str(error)
    assert message.isprintable()


@pytest.mark.parametrize("kind", ["TIFF", "GIF", "BMP"])
def test_damaged_photo_without_removable_parts_is_not_read_whole(kind: str, tmp_path: Path) -> None:
    sizes = []

    class Watched(io.FileIO):
        def read(self, size: int | None = -1, /) -> bytes | None:
            sizes.append(size)
            return super().read(-1 if size is None else size)

    path = tmp_path / "damaged"
    Image.new("RGB", (600, 400), "red").save(path, kind)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with Watched(path) as file, pytest.raises(PhotoError):
        open_photo(file)  # type: ignore[arg-type]
    assert sizes
    assert not {None, -1} & set(sizes)
