"""Reads the samples of TIFFs that Pillow reads wrongly or not at all.

The layout comes from `tiff_layout`. libtiff, through Pillow, only undoes the compression: it is
given the strips or tiles as an 8-bit grey TIFF whose rows are the bytes of the samples. The meaning
of the bytes (depth, byte order, predictor, planes, colour) is worked out here.
"""

from __future__ import annotations

import io
import itertools
import math
import struct
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from showtell.image_formats import tiff_layout as tiff
from showtell.image_formats.decoding_memory import refuse_too_large, refuse_too_much_memory
from showtell.image_formats.tiff_colours import image_of_samples
from showtell.image_formats.tiff_layout import TiffLayout

_BATCH_BYTES = 4_000_000  # read or decompressed at once, or one strip if that is larger
_REVERSED_BITS = np.array([int(f"{byte:08b}"[::-1], 2) for byte in range(256)], np.uint8)
_NUMPY_KINDS = {tiff.UNSIGNED: "u", tiff.UNDEFINED: "u", tiff.SIGNED: "i", tiff.FLOAT: "f"}
_WHOLE_BYTES = {"u": (8, 16, 32, 64), "i": (8, 16, 32, 64), "f": (16, 32, 64)}
_PACKED_BITS = (1, 2, 3, 4, 5, 6, 7, 9, 10, 11, 12, 13, 14, 15)
_DIFFERENCES, _FLOAT_DIFFERENCES = 2, 3  # predictors


def read_tiff(file: BinaryIO, layout: TiffLayout, *, max_pixels: int) -> Image.Image:
    """Return the picture as an 8-bit image: L, RGB, RGBA, LA, CMYK, YCbCr or LAB.

    Associated alpha is flattened on white, and any alpha of CMYK on paper. `info` has the colour
    profile, the image's EXIF the orientation.

    Raises PhotoError if the kind of TIFF is not read or too large, OSError if it is damaged.
    """
    if not _is_read(layout):
        raise layout.not_read()
    samples = _samples(file, _in_small_strips(layout), max_pixels)
    image = image_of_samples(samples, layout)
    if layout.profile is not None:
        image.info["icc_profile"] = layout.profile
    image.getexif()[274] = layout.orientation
    return image


def _is_read(layout: TiffLayout) -> bool:
    kind, bits = _NUMPY_KINDS.get(layout.sample_format or 0), layout.bits[0]
    if kind is None or len(set(layout.bits)) != 1 or layout.compression not in tiff.LOSSLESS_BYTES:
        return False
    if bits not in _WHOLE_BYTES[kind] and not (kind == "u" and bits in _PACKED_BITS):
        return False
    if not _is_known_predictor(layout, kind, bits):
        return False
    extra = layout.samples - layout.colour_samples
    if kind == "i" and extra:
        return False  # opacity with a sign has no meaning
    if layout.colour in (tiff.GREY_MIN_IS_WHITE, tiff.GREY):
        return extra in (0, 1)  # more are the bands of a measurement
    if layout.colour == tiff.RGB:
        return extra >= 0
    if kind != "u" or extra < 0:
        return False
    if layout.colour == tiff.PALETTE:
        return bits <= 16 and len(layout.colour_map) == 3 << bits
    if layout.colour == tiff.CMYK:
        return layout.ink_set == 1 and bits <= 16
    if layout.colour == tiff.YCBCR:
        return bits == 8 and layout.subsampling == (1, 1)
    return layout.colour == tiff.CIELAB and bits in (8, 16)


def _is_known_predictor(layout: TiffLayout, kind: str, bits: int) -> bool:
    if layout.predictor == _DIFFERENCES:
        return bits in (8, 16, 32, 64)
    if layout.predictor == _FLOAT_DIFFERENCES:
        return kind == "f"
    return layout.predictor == 1


def _samples(file: BinaryIO, layout: TiffLayout, max_pixels: int) -> NDArray[Any]:
    """Return the samples of the colour and the alpha: [height, width, samples]."""
    kept = min(layout.samples, layout.colour_samples + 1)
    dtype = _sample_type(layout)
    across, down = layout.chunk_grid
    _refuse_too_large(layout, kept * dtype.itemsize, kept, max_pixels)
    if len(layout.offsets) < layout.chunks:
        raise OSError("truncated: strips or tiles are missing")
    samples = np.empty((layout.height, layout.width, kept), dtype.newbyteorder("="))
    for number, chunk in _chunks(file, layout):
        plane, place = divmod(number, across * down)
        if plane >= kept:
            break
        top = place // across * layout.chunk_height
        left = place % across * layout.chunk_width
        picture = samples[top : top + layout.chunk_height, left : left + layout.chunk_width]
        values = _values(chunk, layout)[: picture.shape[0], : picture.shape[1]]
        if layout.is_planar:
            picture[:, :, plane] = values[:, :, 0]
        else:
            picture[...] = values[:, :, :kept]
    return samples


def _refuse_too_large(
    layout: TiffLayout, pixel_bytes: int, kept_samples: int, max_pixels: int
) -> None:
    size = (layout.width, layout.height)
    mode = "RGBA" if kept_samples > layout.colour_samples else "RGB"
    refuse_too_large("TIFF", mode, layout.decoded_size, max_pixels)
    # a strip or tile: compressed, decompressed, copied out of Pillow, and its samples
    chunk_copies = 2 if layout.compression == tiff.UNCOMPRESSED else 4
    chunk = chunk_copies * _row_bytes(layout) * layout.chunk_height
    # later four times 8 bits: scaled, with alpha, as bytes and as an image
    later = 4 * kept_samples * math.prod(size)
    refuse_too_much_memory(size, math.prod(size) * pixel_bytes + max(chunk, later), max_pixels)


def _in_small_strips(layout: TiffLayout) -> TiffLayout:
    """Return the layout with the one large uncompressed strip of each plane cut into small ones."""
    row_bytes = _row_bytes(layout)
    rows = max(1, _BATCH_BYTES // row_bytes)
    is_one_strip = layout.chunk_grid == (1, 1) and not layout.is_tiled
    if not is_one_strip or layout.compression != tiff.UNCOMPRESSED or rows >= layout.height:
        return layout
    starts = range(0, layout.height * row_bytes, rows * row_bytes)
    offsets = tuple(offset + start for offset in layout.offsets for start in starts)
    return replace(layout, chunk_height=rows, offsets=offsets)


def _sample_type(layout: TiffLayout) -> np.dtype[Any]:
    bits = layout.bits[0]
    size = bits // 8 if bits % 8 == 0 else 1 if bits < 8 else 2
    return np.dtype(f"{layout.byte_order}{_NUMPY_KINDS[layout.sample_format or 0]}{size}")


def _chunk_samples(layout: TiffLayout) -> int:
    """Samples of a pixel that a strip or tile holds."""
    return 1 if layout.is_planar else layout.samples


def _row_bytes(layout: TiffLayout) -> int:
    return (layout.chunk_width * _chunk_samples(layout) * layout.bits[0] + 7) // 8


def _chunk_rows(layout: TiffLayout, number: int) -> int:
    """Rows that strip or tile `number` holds; the last strip of a plane may be shorter."""
    across, down = layout.chunk_grid
    if layout.is_tiled or (number // across) % down < down - 1:
        return layout.chunk_height
    return layout.height - (down - 1) * layout.chunk_height


def _chunks(file: BinaryIO, layout: TiffLayout) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    """Yield each strip's or tile's number and bytes, uncompressed: [rows, bytes of a row]."""
    row_bytes = _row_bytes(layout)
    batch: list[int] = []
    for number in range(layout.chunks):
        rows = _chunk_rows(layout, number)
        if layout.compression == tiff.UNCOMPRESSED:
            data = _read(file, layout.offsets[number], rows * row_bytes)
            chunk = np.frombuffer(data, np.uint8).reshape(rows, row_bytes)
            yield number, _REVERSED_BITS[chunk] if layout.fill_order == 2 else chunk
            continue
        batch.append(number)
        is_full = (len(batch) + 1) * layout.chunk_height * row_bytes > _BATCH_BYTES
        # a shorter strip can only be the last one of a TIFF
        if is_full or rows < layout.chunk_height or number == layout.chunks - 1:
            yield from _decompressed(file, layout, batch)
            batch = []


def _decompressed(
    file: BinaryIO, layout: TiffLayout, batch: list[int]
) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    chunks = [_read(file, layout.offsets[i], _byte_count(file, layout, i)) for i in batch]
    rows = [_chunk_rows(layout, number) for number in batch]
    data = _as_grey_tiff(chunks, layout, sum(rows))
    with Image.open(io.BytesIO(data), formats=["TIFF"]) as image:
        image.load()
        bytes_of_rows = np.asarray(image)
    start = 0
    for number, count in zip(batch, rows, strict=True):
        yield number, bytes_of_rows[start : start + count]
        start += count


def _byte_count(file: BinaryIO, layout: TiffLayout, number: int) -> int:
    """Return the size of a strip or tile; some programs leave out that of a single one."""
    if layout.chunks == 1 and sum(layout.byte_counts) == 0:
        return file.seek(0, io.SEEK_END) - layout.offsets[0]
    return layout.byte_counts[number]


def _as_grey_tiff(chunks: list[bytes], layout: TiffLayout, rows: int) -> bytes:
    """Return a TIFF of strips whose 8-bit grey pixels are the bytes that were compressed."""
    values: dict[int, list[int]] = {
        256: [_row_bytes(layout)],
        257: [rows],
        258: [8],
        259: [layout.compression],
        262: [tiff.GREY],
        266: [layout.fill_order],
        273: [0] * len(chunks),  # offsets, known when the size of the directory is
        277: [1],
        278: [layout.chunk_height],
        279: [len(chunk) for chunk in chunks],
    }
    arrays = 8 + 2 + 12 * len(values) + 4
    start = arrays + (8 * len(chunks) if len(chunks) > 1 else 0)
    values[273] = [start, *(start + end for end in itertools.accumulate(values[279][:-1]))]
    directory, after = struct.pack("<H", len(values)), b""
    for tag, numbers in values.items():
        packed = struct.pack(f"<{len(numbers)}L", *numbers)
        directory += struct.pack("<HHL", tag, 4, len(numbers))
        directory += packed if len(numbers) == 1 else struct.pack("<L", arrays + len(after))
        after += b"" if len(numbers) == 1 else packed
    return b"".join([b"II*\0\x08\0\0\0", directory, bytes(4), after, *chunks])


def _read(file: BinaryIO, offset: int, count: int) -> bytes:
    file.seek(0, io.SEEK_END)
    if offset < 0 or count < 1 or offset + count > file.tell():
        raise OSError("truncated: strips or tiles are missing")
    file.seek(offset)
    return file.read(count)


def _values(chunk: NDArray[np.uint8], layout: TiffLayout) -> NDArray[Any]:
    """Return the samples of a strip or tile: [rows, width, samples]."""
    dtype, rows = _sample_type(layout), len(chunk)
    shape = (rows, layout.chunk_width, _chunk_samples(layout))
    if layout.bits[0] % 8:
        return _unpacked(chunk, layout.bits[0], shape, dtype)
    if layout.predictor == _FLOAT_DIFFERENCES:
        return _undo_float_differences(chunk, shape, dtype)
    values = np.ascontiguousarray(chunk).view(dtype).reshape(shape)
    if layout.predictor == _DIFFERENCES and layout.compression != tiff.UNCOMPRESSED:
        # integers, also for floats, as wrapping around is meant
        whole = values.view(f"{layout.byte_order}u{dtype.itemsize}").astype(f"u{dtype.itemsize}")
        np.cumsum(whole, axis=1, dtype=whole.dtype, out=whole)
        return whole.view(dtype.newbyteorder("="))
    return values


def _undo_float_differences(
    chunk: NDArray[np.uint8], shape: tuple[int, int, int], dtype: np.dtype[Any]
) -> NDArray[Any]:
    """Undo Adobe's floating point predictor: rows of bytes, the highest of all floats first."""
    rows, width, samples = shape
    # differences between bytes that are `samples` apart, over the whole row
    summed = np.cumsum(chunk.reshape(rows, -1, samples), axis=1, dtype=np.uint8)
    by_significance = summed.reshape(rows, dtype.itemsize, width * samples)
    values = np.ascontiguousarray(by_significance.transpose(0, 2, 1))
    return values.view(dtype.newbyteorder(">")).reshape(shape)


def _unpacked(
    chunk: NDArray[np.uint8], bits: int, shape: tuple[int, int, int], dtype: np.dtype[Any]
) -> NDArray[Any]:
    """Return samples of a number of bits that is not a whole number of bytes, highest bit first."""
    rows, width, samples = shape
    values = np.empty((rows, width * samples), dtype.newbyteorder("="))
    for row in range(rows):  # one at a time: a bit takes a byte here
        single = np.unpackbits(chunk[row])[: width * samples * bits].reshape(-1, bits)
        total: NDArray[Any] = np.zeros(width * samples, values.dtype)
        for bit in range(bits):
            total = (total << 1) | single[:, bit]
        values[row] = total
    return values.reshape(shape)
