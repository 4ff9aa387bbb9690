"""Which samples a TIFF holds and where they are, after the TIFF 6.0 specification and BigTIFF."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import BinaryIO

from showtell.errors import PhotoError
from showtell.image_formats.tiff_directory import TiffDirectory, read_directories

_MOST_PAGES = 16  # searched for one that is neither a thumbnail nor a mask
_THUMBNAIL_OR_MASK = 0b101  # of NewSubfileType
_MOST_SAMPLES = 8
_MOST_CHUNKS = 1 << 18  # strips or tiles, each of which takes some microseconds
_HIGHEST_8_BIT = 255

GREY_MIN_IS_WHITE, GREY, RGB, PALETTE, CMYK, YCBCR, CIELAB = 0, 1, 2, 3, 5, 6, 8
_COLOURS = {GREY_MIN_IS_WHITE: 1, GREY: 1, RGB: 3, PALETTE: 1, CMYK: 4, YCBCR: 3, CIELAB: 3}
_COLOUR_NAMES = {
    GREY_MIN_IS_WHITE: "grey (white is 0)",
    GREY: "grey",
    RGB: "RGB",
    PALETTE: "palette",
    4: "mask",
    CMYK: "CMYK",
    YCBCR: "YCbCr",
    CIELAB: "CIELAB",
    32803: "raw sensor",
    34892: "raw sensor",
}
UNSIGNED, SIGNED, FLOAT, UNDEFINED = 1, 2, 3, 4
_FORMAT_NAMES = {UNSIGNED: "", SIGNED: "signed ", FLOAT: "float ", 5: "complex ", 6: "complex "}
ASSOCIATED_ALPHA, UNASSOCIATED_ALPHA = 1, 2
UNCOMPRESSED, JPEG = 1, 7
# compressed bytes: the samples come out as they are stored uncompressed
LOSSLESS_BYTES = {1: "none", 5: "LZW", 8: "deflate", 32773: "PackBits", 32946: "deflate"}
LOSSLESS_BYTES |= {34925: "LZMA", 50000: "Zstandard"}
_READ_BY_PILLOW = {2: "CCITT", 3: "CCITT", 4: "CCITT", 6: "JPEG", 7: "JPEG"}
_NOT_READ = {34712: "JPEG 2000", 34887: "LERC", 50001: "WebP", 50002: "JPEG XL", 52546: "JPEG XL"}


@dataclass(frozen=True)
class TiffLayout:
    """How the samples of a TIFF's picture are stored; sizes in pixels, offsets in bytes."""

    page: int
    byte_order: str  # "<" or ">"
    is_big_tiff: bool
    width: int
    height: int
    colour: int  # the specification's PhotometricInterpretation
    bits: tuple[int, ...]  # of each sample of a pixel
    sample_format: int | None  # None: the samples of a pixel differ
    extra_samples: tuple[int, ...]
    is_planar: bool
    compression: int
    predictor: int
    fill_order: int
    orientation: int
    chunk_width: int  # of a tile, or the whole width of a strip
    chunk_height: int
    is_tiled: bool
    is_tiled_as_strips: bool  # the tiles are listed by the tags of strips, as old programs do
    offsets: tuple[int, ...]
    byte_counts: tuple[int, ...]
    subsampling: tuple[int, ...]
    ink_set: int
    colour_map: tuple[int, ...]
    profile: bytes | None

    @property
    def samples(self) -> int:
        """Number of samples of a pixel."""
        return len(self.bits)

    @property
    def colour_samples(self) -> int:
        """Number of samples that make the colour; 0 for a colour space that is not read."""
        return _COLOURS.get(self.colour, 0)

    @property
    def chunks(self) -> int:
        """Number of strips or tiles, of all planes."""
        across, down = self.chunk_grid
        return across * down * (self.samples if self.is_planar else 1)

    @property
    def decoded_size(self) -> tuple[int, int]:
        """Width and height of what is decoded: whole tiles, which may exceed the picture by far."""
        across, down = self.chunk_grid
        height = down * self.chunk_height if self.is_tiled else self.height
        return across * self.chunk_width, height

    @property
    def chunk_grid(self) -> tuple[int, int]:
        """Strips or tiles of a plane, across and down."""
        across = math.ceil(self.width / self.chunk_width)
        return across, math.ceil(self.height / self.chunk_height)

    @property
    def has_8_bit_palette(self) -> bool:
        """Return whether the palette, of 16 bits by the specification, holds 8 bits a colour."""
        return max(self.colour_map, default=_HIGHEST_8_BIT + 1) <= _HIGHEST_8_BIT

    @property
    def description(self) -> str:
        """The kind of samples in a few words, for messages."""
        bits = "/".join(str(count) for count in dict.fromkeys(self.bits))
        kind = "mixed " if self.sample_format is None else _FORMAT_NAMES.get(self.sample_format, "")
        colour = _COLOUR_NAMES.get(self.colour, f"colour space {self.colour}")
        extra = self.samples - self.colour_samples if self.colour_samples else 0
        known = LOSSLESS_BYTES | _READ_BY_PILLOW | _NOT_READ
        return (
            f"{bits}-bit {kind}{colour}"
            + (f" with {extra} more channel{'s' * (extra > 1)}" if extra > 0 else "")
            + (", planar" if self.is_planar else "")
            + f", compression {known.get(self.compression, self.compression)}"
        )

    def not_read(self) -> PhotoError:
        """Return the error of a kind of TIFF that showtell does not read."""
        return PhotoError(
            f"a kind of TIFF that is not read: {self.description};"
            " convert it to 8-bit or 16-bit RGB"
        )

    def is_read_by_pillow(self) -> bool:
        """Return whether Pillow's pixels are right; it misreads many of the other layouts."""
        if self.sample_format != UNSIGNED or len(set(self.bits)) != 1:
            return False
        if self.is_big_tiff and self.byte_order == ">":
            return False
        if self.compression not in LOSSLESS_BYTES | _READ_BY_PILLOW:
            return False
        if self.compression in LOSSLESS_BYTES and (self.fill_order != 1 or self.is_tiled_as_strips):
            return False
        bits, extra = self.bits[0], self.samples - self.colour_samples
        if len(self.extra_samples) not in (0, extra) or max(self.extra_samples, default=0) > 2:
            return False
        if self.is_planar:
            return bits == 8 and extra == 0 and self.colour in (RGB, CMYK)
        if self.colour in (GREY_MIN_IS_WHITE, GREY, PALETTE):
            depths = (1, 2, 4, 8, 16) if self.colour == GREY else (1, 2, 4, 8)
            return extra == 0 and bits in depths and not self.has_8_bit_palette
        if self.colour == RGB:
            # a fourth channel whose meaning is not stated may be alpha or padding
            is_stated = len(self.extra_samples) == extra or self.compression not in LOSSLESS_BYTES
            return (extra == 0 and bits in (8, 16)) or (extra == 1 and bits == 8 and is_stated)
        if self.colour == CMYK:
            return self.ink_set == 1 and extra == 0 and bits in (8, 16)
        if self.colour == YCBCR:
            stored_whole = self.compression != UNCOMPRESSED or self.subsampling == (1, 1)
            return bits == 8 and extra == 0 and stored_whole
        return self.colour == CIELAB and bits == 8 and extra == 0


def read_layout(file: BinaryIO) -> TiffLayout:
    """Return the layout of a TIFF's picture: the first page that is neither a thumbnail nor a mask.

    Raises PhotoError if the number of channels is not read, ValueError or OSError if the header is
    damaged.
    """
    directories = read_directories(file)
    first: TiffLayout | None = None
    for page, directory in enumerate(itertools.islice(directories, _MOST_PAGES)):
        is_picture = not directory.number(254, 0) & _THUMBNAIL_OR_MASK
        if is_picture:
            return _layout(directory, page)
        first = first or _layout(directory, page)
    if first is None:
        raise ValueError("no picture follows its header")
    return first


def _layout(directory: TiffDirectory, page: int) -> TiffLayout:
    width, height = directory.number(256), directory.number(257)
    compression = directory.number(259, UNCOMPRESSED)
    colour = directory.number(262, GREY_MIN_IS_WHITE)
    default = 3 if compression in (6, JPEG) and colour in (RGB, YCBCR) else 1
    samples = directory.number(277, default)
    if not 1 <= samples <= _MOST_SAMPLES:
        raise PhotoError(
            f"a kind of TIFF that is not read: {samples} channels; convert it to 8-bit RGB"
        )
    bits = directory.numbers(258, (1,))
    formats = set(directory.numbers(339, (UNSIGNED,))[:samples])
    is_tiled = 322 in directory.values and 323 in directory.values
    is_tiled_as_strips = is_tiled and 324 not in directory.values
    offsets_tag, counts_tag = (324, 325) if is_tiled and not is_tiled_as_strips else (273, 279)
    across = directory.number(322) if is_tiled else width
    down = directory.number(323) if is_tiled else min(directory.number(278, height), height)
    if min(width, height, across, down) < 1:
        raise ValueError("width or height is 0")
    layout = TiffLayout(
        page=page,
        byte_order=directory.byte_order,
        is_big_tiff=directory.is_big_tiff,
        width=width,
        height=height,
        colour=colour,
        bits=(bits * samples if len(bits) == 1 else bits)[:samples],
        sample_format=formats.pop() if len(formats) == 1 else None,
        extra_samples=directory.numbers(338, ()),
        is_planar=samples > 1 and directory.number(284, 1) == 2,
        compression=compression,
        predictor=directory.number(317, 1),
        fill_order=directory.number(266, 1),
        orientation=directory.number(274, 1),
        chunk_width=across,
        chunk_height=down,
        is_tiled=is_tiled,
        is_tiled_as_strips=is_tiled_as_strips,
        offsets=directory.numbers(offsets_tag, ()),
        byte_counts=directory.numbers(counts_tag, ()),
        subsampling=directory.numbers(530, (2, 2)),
        ink_set=directory.number(332, 1),
        colour_map=directory.numbers(320, ()) if colour == PALETTE else (),
        profile=directory.raw(34675),
    )
    _refuse_too_many_chunks(layout)
    return layout


def _refuse_too_many_chunks(layout: TiffLayout) -> None:
    if layout.chunks > _MOST_CHUNKS:
        raise PhotoError(
            f"a TIFF in {layout.chunks:,} strips or tiles, more than {_MOST_CHUNKS:,}:"
            " save it again with larger ones"
        )
