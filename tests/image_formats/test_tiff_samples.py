from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from showtell.errors import PhotoError
from showtell.image import open_photo
from support.odd_photos import corners
from support.plain_tiffs import packed_tiff, plain_tiff, wide_tile_tiff

tifffile = pytest.importorskip("tifffile")

HEIGHT, WIDTH = 29, 37  # no multiple of a tile or of the rows of a strip
# what is stored: the colours' name for tifffile, samples of a pixel, meaning of the extra one
LAYOUTS = [
    ("minisblack", 1, None),
    ("miniswhite", 1, None),
    ("minisblack", 2, "unassalpha"),
    ("minisblack", 2, "assocalpha"),
    ("minisblack", 2, "unspecified"),
    ("rgb", 3, None),
    ("rgb", 4, "unassalpha"),
    ("rgb", 4, "assocalpha"),
    ("rgb", 4, "unspecified"),
    ("separated", 4, None),
]
DTYPES = ["u1", "u2", "u4", "u8", "i1", "i2", "i4", "f2", "f4", "f8"]


def shares() -> np.ndarray:
    """A picture of up to four samples as shares from 0 to 1; its range is the whole one."""
    down, across = np.linspace(0, 0.5, HEIGHT), np.linspace(0, 0.5, WIDTH)
    picture = (down[:, None, None] + across[None, :, None]) * np.array([1, 0.7, 0.4, 0.9])
    picture[0, 0], picture[0, 1] = 0, 1
    return picture


def stored(values: np.ndarray, dtype: str, bits: int | None = None) -> np.ndarray:
    kind = np.dtype(dtype)
    if kind.kind == "f":
        return values.astype(kind)
    bits = bits or 8 * kind.itemsize
    if kind.kind == "u":
        highest = min(2.0**bits - 1, 2.0**bits * (1 - 2.0**-53))
        return np.minimum(np.round(values * (2.0**bits - 1)), highest).astype(kind)
    return np.round((values - 0.5) * (2.0**bits - 2)).astype(kind)


def seen(values: np.ndarray, colours: str, extra: str | None) -> np.ndarray:
    """The expected pixels, 0 to 255, of shares stored with a layout."""
    alpha = values[..., -1:]
    if colours == "miniswhite":
        values = 1 - values
    elif colours == "separated":
        values = (1 - values[..., :3]) * (1 - alpha)
    elif extra == "unassalpha":
        values = values[..., :-1] * alpha + 1 - alpha
    elif extra == "assocalpha":
        values = np.minimum(values[..., :-1] + 1 - alpha, 1)
    elif extra:
        values = values[..., :-1]
    return np.broadcast_to(values, (HEIGHT, WIDTH, 3)) * 255.0


def written(array: np.ndarray, **options: Any) -> bytes:
    buffer = io.BytesIO()
    if not options.get("tile"):
        options.setdefault("rowsperstrip", 8)
    tifffile.imwrite(buffer, array, metadata=None, **options)
    return buffer.getvalue()


def pixels(data: bytes) -> np.ndarray:
    return np.asarray(open_photo(data)).astype(np.float64)


@pytest.mark.parametrize("byte_order", ["<", ">"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("colours", "samples", "extra"), LAYOUTS)
def test_every_layout_gives_its_pixels_or_says_that_it_is_not_read(
    colours: str, samples: int, extra: str | None, dtype: str, byte_order: str
) -> None:
    values = shares()[..., :samples]
    expected = seen(values, colours, extra)
    array = stored(values, dtype)
    is_refused = (dtype[0] == "i" and extra) or (
        colours == "separated" and dtype[:2] not in ("u1", "u2")
    )
    for planes in ("contig", "separate") if samples > 1 else (None,):
        for tile in (None, (16, 16)):
            for compression, predictor in ((None, False), ("zlib", False), ("zlib", True)):
                if predictor and dtype[0] != "i" and dtype not in ("u1", "u2", "u4"):
                    continue  # beyond tifffile without its codecs
                data = written(
                    np.moveaxis(array, -1, 0) if planes == "separate" else array.squeeze(),
                    photometric=colours,
                    planarconfig=planes,
                    extrasamples=[extra] if extra else None,
                    byteorder=byte_order,
                    tile=tile,
                    compression=compression,
                    predictor=predictor,
                )
                if is_refused:
                    with pytest.raises(
                        PhotoError, match=r"a kind of TIFF that is not read: .*convert"
                    ):
                        open_photo(data)
                else:
                    np.testing.assert_allclose(pixels(data), expected, atol=2)


@pytest.mark.parametrize("byte_order", ["<", ">"])
@pytest.mark.parametrize("bits", [1, 2, 4, 6, 10, 12, 14])
@pytest.mark.parametrize("colours", ["miniswhite", "minisblack", "rgb"])
def test_samples_of_an_odd_number_of_bits_are_read(
    colours: str, bits: int, byte_order: str
) -> None:
    values = np.round(shares()[..., : 3 if colours == "rgb" else 1] * (2**bits - 1)) / (2**bits - 1)
    colour = ["miniswhite", "minisblack", "rgb"].index(colours)
    data = packed_tiff(stored(values, "u2", bits), bits, colour, byte_order)
    np.testing.assert_allclose(pixels(data), seen(values, colours, None), atol=1)


@pytest.mark.parametrize("byte_order", ["<", ">"])
@pytest.mark.parametrize("size", [2, 4, 8])
def test_predictor_of_floats_is_undone(size: int, byte_order: str) -> None:
    values = shares()[..., :3].astype(f">f{size}")
    # the bytes of a row by significance, as differences between neighbouring pixels
    rows = values.view(np.uint8).reshape(HEIGHT, WIDTH * 3, size).transpose(0, 2, 1)
    rows = rows.reshape(HEIGHT, -1, 3)
    rows = np.concatenate([rows[:, :1], np.diff(rows, axis=1)], axis=1)
    tags = {256: WIDTH, 257: HEIGHT, 258: (8 * size,) * 3, 259: 8, 262: 2, 277: 3}
    tags |= {278: HEIGHT, 317: 3, 339: (3, 3, 3)}
    data = plain_tiff(tags, zlib.compress(rows.tobytes()), byte_order)
    np.testing.assert_allclose(pixels(data), values * 255.0, atol=0.6)


@pytest.mark.parametrize("bits", [8, 16])
def test_palette_is_applied(bits: int) -> None:
    generator = np.random.default_rng(0)
    palette = generator.integers(0, 256, (3, 2**bits)).astype("u2") * 257
    indices = generator.integers(0, 2**bits, (HEIGHT, WIDTH)).astype(f"u{bits // 8}")
    data = written(indices, photometric="palette", colormap=palette)
    np.testing.assert_array_equal(pixels(data), palette[:, indices].transpose(1, 2, 0) // 257)


@pytest.mark.parametrize("bits", [4, 8, 16])
def test_palette_of_eight_bits_a_colour_is_not_black(bits: int) -> None:
    generator = np.random.default_rng(0)
    palette = generator.integers(0, 256, (3, 2**bits))
    indices = generator.integers(0, 2**bits, (HEIGHT, WIDTH, 1))
    data = packed_tiff(indices, bits, 3, extra_tags={320: tuple(palette.ravel().tolist())})
    np.testing.assert_array_equal(pixels(data), palette[:, indices[..., 0]].transpose(1, 2, 0))


def test_alpha_of_a_palette_is_applied() -> None:
    indices, alpha = np.arange(256, dtype=np.uint8).reshape(16, 16), np.tri(16, dtype=np.uint8)
    palette = np.arange(256) * np.array([[257], [0], [0]])
    tags = {320: tuple(palette.ravel().tolist()), 338: (2,)}
    data = packed_tiff(np.dstack([indices, alpha * 255]), 8, 3, extra_tags=tags)
    red = np.dstack([indices, np.zeros((16, 16, 2), np.uint8)])
    np.testing.assert_array_equal(pixels(data), np.where(alpha[..., None], red, 255))


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("kind", ["unassalpha", "assocalpha"])
def test_transparent_cmyk_shows_the_paper(bits: int, kind: str) -> None:
    inks, alpha = np.array([0.2, 0.9, 0.4, 0.1]), np.linspace(0, 1, WIDTH)[None, :, None]
    stored_inks = inks * (alpha if kind == "assocalpha" else 1)
    values = np.empty((HEIGHT, WIDTH, 5))
    values[..., :4], values[..., 4:] = stored_inks, alpha
    array = stored(values, f"u{bits // 8}")
    data = written(array, photometric="separated", extrasamples=[kind])
    seen_inks = inks * alpha
    expected = 255 * (1 - seen_inks[..., :3]) * (1 - seen_inks[..., 3:])
    np.testing.assert_allclose(pixels(data), np.broadcast_to(expected, (HEIGHT, WIDTH, 3)), atol=2)


@pytest.mark.parametrize("dtype", ["u1", "u2"])
def test_fourth_channel_that_is_zero_throughout_is_padding(dtype: str) -> None:
    values = shares()
    values[..., 3] = 0
    data = packed_tiff(stored(values, dtype), 8 * np.dtype(dtype).itemsize, 2)
    np.testing.assert_allclose(pixels(data), values[..., :3] * 255.0, atol=1)


@pytest.mark.parametrize("compression", [1, 8])
@pytest.mark.parametrize(
    ("colour", "samples", "bits"),
    [(2, 3, 16), (2, 4, 8), (5, 4, 8), (5, 4, 16), (0, 1, 8), (0, 1, 4), (6, 3, 8), (1, 1, 16)],
)
def test_bits_in_reverse_order_are_read(
    colour: int, samples: int, bits: int, compression: int
) -> None:
    array = np.random.default_rng(0).integers(1, 2**bits, (HEIGHT, WIDTH, samples))
    tags = {259: compression, 530: (1, 1)}

    def encode(strip: bytes) -> bytes:
        return strip if compression == 1 else zlib.compress(strip)

    def reverse(strip: bytes) -> bytes:
        return bytes(int(f"{byte:08b}"[::-1], 2) for byte in strip)

    usual = packed_tiff(array, bits, colour, extra_tags=tags, encode=encode)
    other = packed_tiff(
        array, bits, colour, extra_tags={**tags, 266: 2}, encode=lambda s: reverse(encode(s))
    )
    np.testing.assert_allclose(pixels(other), pixels(usual), atol=3)


@pytest.mark.parametrize("count", [None, 0])
def test_size_of_the_only_strip_may_be_missing(count: int | None) -> None:
    values = shares()[..., :1]
    array = 65535 - stored(values, "u2")
    data = packed_tiff(array, 16, 0, extra_tags={259: 8}, encode=zlib.compress)
    entry = data.index(struct.pack("<HHL", 279, 4, 1))
    changed = struct.pack("<H", 280 if count is None else 279) + data[entry + 2 : entry + 8]
    changed += struct.pack("<L", 0)
    damaged = data[:entry] + changed + data[entry + 12 :]
    np.testing.assert_allclose(pixels(damaged)[..., :1], values * 255.0, atol=1)


@pytest.mark.parametrize("dtype", ["u1", "u2"])
def test_tiles_listed_by_the_tags_of_strips_are_not_scrambled(dtype: str) -> None:
    values = shares()[..., :3]
    tile = np.zeros((32, 48, 3), dtype)
    tile[:HEIGHT, :WIDTH] = stored(values, dtype)
    tags = {256: WIDTH, 257: HEIGHT, 322: 48, 323: 32}
    data = packed_tiff(tile, 8 * np.dtype(dtype).itemsize, 2, extra_tags=tags)
    np.testing.assert_allclose(pixels(data), values * 255.0, atol=1)


def test_signed_samples_of_16_bits_use_their_positive_range() -> None:
    values = shares()[..., :3]
    data = written(np.round(values * 32767).astype("i2"), photometric="rgb")
    np.testing.assert_allclose(pixels(data), values * 255.0, atol=1)


@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_highlights_of_floats_do_not_darken_the_picture(dtype: str) -> None:
    values = shares()[..., :3]
    values[2, :5], values[3, :5] = 40, -3e38  # a lamp, and no value
    expected = np.clip(values, 0, 1) * 255.0
    np.testing.assert_allclose(
        pixels(written(values.astype(dtype), photometric="rgb")), expected, atol=1
    )


@pytest.mark.parametrize("bits", [8, 16])
def test_lab_is_converted(bits: int) -> None:
    # red, CIELAB 53.2, 80.1, 67.2
    one = np.array([53.2 * 2.55, 80, 67])
    scale = np.array([257, 256, 256]) if bits == 16 else 1
    array = np.broadcast_to(one * scale, (8, 8, 3)).astype(f"u{bits // 8}")
    data = written(array, photometric="cielab", planarconfig="contig")
    np.testing.assert_allclose(pixels(data)[4, 4], (255, 0, 0), atol=12)


@pytest.mark.parametrize("compression", ["tiff_lzw", "packbits", "tiff_adobe_deflate", "lzma"])
def test_every_lossless_compression_is_undone(compression: str) -> None:
    values = shares()[..., 0].astype(np.float32)
    buffer = io.BytesIO()
    Image.fromarray(values).save(buffer, "TIFF", compression=compression)
    np.testing.assert_allclose(pixels(buffer.getvalue())[..., 0], values * 255, atol=0.51)


@pytest.mark.parametrize("byte_order", ["<", ">"])
def test_big_tiff_is_read(byte_order: str) -> None:
    for dtype in ("u1", "u2", "f4"):
        values = shares()[..., :3]
        data = written(stored(values, dtype), photometric="rgb", bigtiff=True, byteorder=byte_order)
        np.testing.assert_allclose(pixels(data), values * 255, atol=1.5)


def test_orientation_of_any_layout_is_applied() -> None:
    turned = np.asarray(corners().transpose(Image.Transpose.ROTATE_90)) / np.float32(255)
    data = written(turned, photometric="rgb", extratags=[(274, 3, 1, 6, False)])
    np.testing.assert_array_equal(pixels(data), np.asarray(corners()))


def test_thumbnail_and_mask_before_the_picture_are_passed_over() -> None:
    buffer = io.BytesIO()
    with tifffile.TiffWriter(buffer) as file:
        small = np.zeros((5, 6, 3), np.uint8)
        file.write(small, photometric="rgb", subfiletype=1, metadata=None)
        file.write(np.zeros((40, 60), bool), subfiletype=4, metadata=None)
        file.write(np.asarray(corners()), photometric="rgb", metadata=None)
        file.write(small, photometric="rgb", metadata=None)
    np.testing.assert_array_equal(pixels(buffer.getvalue()), np.asarray(corners()))


def test_kinds_that_are_not_read_are_named() -> None:
    values = shares()
    for array, options, kind in (
        (
            stored(values, "u1"),
            {"photometric": "minisblack", "planarconfig": "contig"},
            "8-bit grey with 3 more",
        ),
        (values.astype(np.complex64)[..., 0], {"photometric": "minisblack"}, "64-bit complex grey"),
        (stored(values, "u1")[..., 0], {"photometric": "cfa"}, "8-bit raw sensor"),
        (stored(values, "f4"), {"photometric": "separated"}, "32-bit float CMYK"),
    ):
        with pytest.raises(PhotoError) as caught:
            open_photo(written(array, **options))
        message = str(caught.value)
        assert f": a kind of TIFF that is not read: {kind}" in message
        assert "convert it to 8-bit or 16-bit RGB" in message


@pytest.mark.parametrize("compression", [32771, 34712, 50001, 50002, 60_000])
def test_compressions_that_are_not_read_are_named(compression: int) -> None:
    tags = {256: 4, 257: 4, 258: (8, 8, 8), 259: compression, 262: 2, 277: 3}
    with pytest.raises(PhotoError, match="a kind of TIFF that is not read: 8-bit RGB, compression"):
        open_photo(plain_tiff(tags, bytes(48)))


def test_uncompressed_ycbcr_is_read_without_subsampling_and_refused_with_it() -> None:
    tags = {256: 60, 257: 40, 258: (8, 8, 8), 259: 1, 262: 6, 277: 3, 278: 40}
    strip = corners().convert("YCbCr").tobytes()
    photo = open_photo(plain_tiff({**tags, 530: (1, 1)}, strip))
    np.testing.assert_allclose(np.asarray(photo, float), np.asarray(corners(), float), atol=3)
    with pytest.raises(PhotoError, match="a kind of TIFF that is not read"):
        open_photo(plain_tiff({**tags, 530: (2, 2)}, strip[: 60 * 40 * 3 // 2]))


def changed(data: bytes, tag: int, value: int) -> bytes:
    """Return a little-endian TIFF with another first value of a tag that holds one number."""
    (start,) = struct.unpack_from("<L", data, 4)
    (count,) = struct.unpack_from("<H", data, start)
    for place in range(start + 2, start + 2 + 12 * count, 12):
        if struct.unpack_from("<H", data, place) == (tag,):
            return data[: place + 2] + struct.pack("<HLL", 4, 1, value) + data[place + 12 :]
    raise AssertionError(f"no tag {tag}")


@pytest.mark.parametrize(
    ("tag", "value", "reason"),
    [
        (256, 60_000, "too large to open safely"),
        (257, 60_000, "missing at the end"),
        (277, 60_000, "not read: 60000 channels"),
        (278, 2**31, "missing at the end"),
        (278, 1, "missing at the end"),
        (279, 2**31, None),
        (273, 2**31, "missing at the end"),
    ],
)
def test_hostile_headers_take_no_memory(tag: int, value: int, reason: str | None) -> None:
    data = written(shares()[..., :3].astype(np.float64), photometric="rgb", rowsperstrip=HEIGHT)
    if tag == 256:
        data = changed(data, 257, 40_000)
    elif tag == 278:
        data = changed(data, 257, 10_000)
    data = changed(data, tag, value)
    if reason is None:
        open_photo(data)
    else:
        with pytest.raises(PhotoError, match=reason):
            open_photo(data)


def test_samples_are_limited_in_bytes_and_tiles_in_size() -> None:
    data = written(np.zeros((64, 64, 3), np.float64), photometric="rgb")
    open_photo(data, max_pixels=64 * 64 * 3)
    with pytest.raises(PhotoError, match=r"64 x 64 pixels take .* too large to open safely"):
        open_photo(data, max_pixels=64 * 64)
    tiled = written(np.zeros((64, 64), np.float32), photometric="minisblack", tile=(64, 64))
    for tag in (322, 323):
        tiled = changed(tiled, tag, 2**20)
    with pytest.raises(PhotoError, match="too large to open safely"):
        open_photo(tiled)


@pytest.mark.parametrize(("colour", "bits"), [(1, 8), (0, 16)])  # read by Pillow, and not
def test_tiles_far_wider_than_the_picture_count_as_they_are_decoded(colour: int, bits: int) -> None:
    with pytest.raises(PhotoError, match="500000 x 4096 pixels are more than"):
        open_photo(wide_tile_tiff(colour, bits))


def test_tiff_in_millions_of_strips_is_refused() -> None:
    strips = (1 << 18) + 1
    tags: dict[int, int | tuple[int, ...]] = {256: 1, 257: strips, 258: 8, 262: 1, 277: 1, 278: 1}
    with pytest.raises(PhotoError, match="in 262,145 strips or tiles"):
        open_photo(plain_tiff(tags, bytes(8)))


def test_tags_that_read_the_file_again_and_again_are_refused() -> None:
    header = plain_tiff({256: 1, 257: 1, 258: 8, 262: 1, 277: 1, 278: 1}, bytes(8))
    metadata = struct.pack("<HHLL", 700, 1, 90_000, 0) * 4
    count = struct.unpack_from("<H", header, 8)[0]
    repeated = header[:8] + struct.pack("<H", count + 4) + header[10 : 10 + 12 * count] + metadata
    with pytest.raises(PhotoError, match="a directory of more bytes than the file has"):
        open_photo(repeated + bytes(100_000))


@pytest.mark.parametrize("planes", ["contig", "separate"])
def test_large_strip_is_read_in_parts(planes: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("showtell.image_formats.tiff_samples._BATCH_BYTES", 3 * WIDTH * 12)
    values = shares()[..., :3].astype(np.float32)
    array = np.moveaxis(values, -1, 0) if planes == "separate" else values
    data = written(array, photometric="rgb", planarconfig=planes, rowsperstrip=HEIGHT)
    np.testing.assert_allclose(pixels(data), values * 255, atol=0.6)


def test_strips_that_are_missing_are_not_black() -> None:
    for dtype in (np.uint8, np.float32):
        data = written(np.ones((64, 64), dtype), photometric="minisblack", rowsperstrip=64)
        with pytest.raises(PhotoError, match="truncated"):
            open_photo(changed(data, 278, 32))


def test_circle_of_directories_ends() -> None:
    data = written(np.zeros((4, 4), np.uint8), subfiletype=1)
    (start,) = struct.unpack_from("<L", data, 4)
    (count,) = struct.unpack_from("<H", data, start)
    end = start + 2 + 12 * count
    data = data[:end] + struct.pack("<L", start) + data[end + 4 :]
    assert open_photo(data).size == (4, 4)


PIECES = [
    written(shares()[..., :3].astype(np.float32), photometric="rgb", compression="zlib"),
    packed_tiff(stored(shares()[..., :1], "u2", 12), 12, 1),
    written(stored(shares()[..., 0], "u2"), photometric="miniswhite", bigtiff=True),
]


@settings(max_examples=150)
@given(st.sampled_from(PIECES), st.data())
@pytest.mark.filterwarnings("error::RuntimeWarning")
@pytest.mark.filterwarnings("ignore:::PIL")
def test_damaged_tiff_opens_or_says_so_in_one_line(piece: bytes, data: st.DataObject) -> None:
    damaged = bytearray(piece)
    for _ in range(data.draw(st.integers(1, 6))):
        place = data.draw(st.integers(0, len(damaged) - 1))
        damaged[place] = data.draw(st.integers(0, 255))
    message = ""
    try:
        assert open_photo(bytes(damaged)).mode == "RGB"
    except PhotoError as error:
        message = str(error)
    assert message.isprintable()


@pytest.mark.shared
@pytest.mark.parametrize("name", ["grey16_minwhite", "grey12", "rgb16_planar", "rgb_float"])
def test_tiffs_that_pillow_misreads_have_their_pixels(shared_dir: Path, name: str) -> None:
    path = shared_dir / "cases" / "tiff" / f"{name}.tif"
    if not path.exists():
        pytest.skip("no shared cases")
    photo = open_photo(path)
    left, right = photo.getpixel((2, 2)), photo.getpixel((photo.width - 3, 2))
    assert (left, right) == {
        "grey16_minwhite": ((200,) * 3, (120,) * 3),
        "grey12": ((204,) * 3, (119,) * 3),
    }.get(name, ((220, 40, 40), (40, 180, 60)))
