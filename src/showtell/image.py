"""Turns a photo (file, bytes, image or array) into the model's input; all callers use `prepare`."""

from __future__ import annotations

import contextlib
import functools
import io
import os
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, BinaryIO, Literal, Protocol, TypeAlias, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile, JpegImagePlugin, UnidentifiedImageError

from showtell.errors import MissingExtraError, PhotoError
from showtell.files.os_errors import error_reason
from showtell.files.printable_names import printable
from showtell.files.regular_files import open_regular, read_at_most
from showtell.image_formats.colour_profile import jpeg_profile, to_srgb
from showtell.image_formats.decoding_memory import MAX_PIXELS, refuse_too_large
from showtell.image_formats.essential_parts import (
    FORMATS_WITH_PARTS,
    EssentialParts,
    essential_parts,
)
from showtell.image_formats.jpeg_scans import read_jpeg_header, refuse_too_many_scans
from showtell.image_formats.jpeg_without_end import with_end
from showtell.image_formats.png_chunks import refuse_too_many_chunks
from showtell.image_formats.sample_depth import to_8_bits

Resize = Literal["squash", "crop", "pad"]
Interpolation = Literal["bilinear", "bicubic", "nearest", "lanczos"]


@runtime_checkable
class StoredPhoto(Protocol):
    """A photo that is not a file on disk, as in a shard; its bytes are read when needed.

    The attribute `filename`, if present, is used in messages.
    """

    def read_bytes(self) -> bytes:
        """Return the encoded photo."""


class NamedPhoto(io.BytesIO):
    """An encoded photo in memory; messages use its `name`."""

    def __init__(self, data: bytes, name: str | None) -> None:
        super().__init__(data)
        self.name = name or "photo"


Photo: TypeAlias = (
    "str | os.PathLike[str] | bytes | BinaryIO | StoredPhoto | Image.Image | NDArray[Any]"
)

MAX_FILE_BYTES = 2 << 30  # larger files are not photos
MAX_STREAM_BYTES = 256 << 20  # of a photo from standard input or a pipe, which memory holds
_HEAD_BYTES = 64  # enough to recognise a format
_OPENED_AS_TEXT = "opened as text: open it in binary mode ('rb')"

_LONGEST_REASON = 160
_ORIENTATION = 0x0112  # EXIF tag
_XMP_KEYS = ("xmp", "XML:com.adobe.xmp")  # of Pillow's `info`
_ALPHA_MODES = ("RGBA", "LA", "PA", "RGBa", "La")
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_RESAMPLING = {
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "nearest": Image.Resampling.NEAREST,
    "lanczos": Image.Resampling.LANCZOS,
}
# first bytes of a file -> Pillow's name of the format; other formats are never decoded
_MAGIC = (
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"GIF87a", "GIF"),
    (b"GIF89a", "GIF"),
    (b"BM", "BMP"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
    (b"II+\0", "TIFF"),
    (b"MM\0+", "TIFF"),
)
_AVIF_BRANDS = {b"avif", b"avis"}
_HEIF_BRANDS = {b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1"}
_READABLE = "JPEG, PNG, WebP, GIF, BMP, TIFF, AVIF, HEIC"


@dataclass(frozen=True)
class Preprocessing:
    """How a photo becomes a model's input; part of the weights, and stored with them.

    `resize`: `squash` ignores the aspect ratio, `crop` scales the shorter side to
    size / `crop_fraction` and cuts out the centre, `pad` scales the longer side to size and fills
    up with the mean. `mean` and `std` are those of the RGB channels, for values from 0 to 1.
    """

    height: int = field(default=224, metadata={"ge": 1, "le": 4096})
    width: int = field(default=224, metadata={"ge": 1, "le": 4096})
    resize: Resize = "squash"
    crop_fraction: float = field(default=1.0, metadata={"ge": 0.1, "le": 1})
    interpolation: Interpolation = "bilinear"
    mean: tuple[float, float, float] = field(default=(0.5, 0.5, 0.5), metadata={"ge": 0, "le": 1})
    std: tuple[float, float, float] = field(
        default=(0.5, 0.5, 0.5), metadata={"ge": 1e-6, "le": 1000}
    )

    def to_dict(self) -> dict[str, Any]:
        """Return the settings as plain JSON data."""
        return asdict(self)


def prepare(image: Image.Image, preprocessing: Preprocessing) -> NDArray[np.float32]:
    """Return the model input of an upright RGB image: float32 [3, height, width], normalised.

    An image that is scaled down by four or more is first averaged in blocks (`reducing_gap`),
    which is several times faster and makes no difference to a network.
    """
    image = _resize(image, preprocessing)
    # (v / 255 - mean) / std as one multiplication and one subtraction
    std = np.array(preprocessing.std, np.float32)
    mean = np.array(preprocessing.mean, np.float32)
    scale = 1 / (np.float32(255) * std)
    pixels = np.asarray(image).transpose(2, 0, 1).astype(np.float32, order="C")  # (3, H, W)
    pixels *= scale[:, None, None]
    pixels -= (mean / std)[:, None, None]
    return pixels


def load_pixels(
    source: Photo,
    preprocessing: Preprocessing,
    *,
    max_pixels: int = MAX_PIXELS,
    transform: Callable[[Image.Image], Image.Image] | None = None,
) -> NDArray[np.float32]:
    """Open a photo and turn it into model input, float32 [3, height, width].

    `transform` changes the upright RGB image first. Raises PhotoError as `open_photo` does.
    """
    image = open_photo(source, preprocessing=preprocessing, max_pixels=max_pixels)
    return prepare(transform(image) if transform else image, preprocessing)


def visible_box(size: tuple[int, int], preprocessing: Preprocessing) -> tuple[float, ...]:
    """Return the part of a photo of `size` that is model input: left, top, right, bottom in pixels.

    It is the whole photo for `squash` and less for `crop`; for `pad` it exceeds the photo.
    """
    if preprocessing.resize == "squash":
        return (0.0, 0.0, float(size[0]), float(size[1]))
    across, down = preprocessing.width / size[0], preprocessing.height / size[1]
    if preprocessing.resize == "crop":
        scale = max(across, down) / preprocessing.crop_fraction
    else:
        scale = min(across, down)
    width, height = preprocessing.width / scale, preprocessing.height / scale
    left, top = (size[0] - width) / 2, (size[1] - height) / 2
    return (left, top, left + width, top + height)


def _resize(image: Image.Image, preprocessing: Preprocessing) -> Image.Image:
    width, height = preprocessing.width, preprocessing.height
    method = _RESAMPLING[preprocessing.interpolation]
    if preprocessing.resize == "crop":
        # cropping while resizing works in fractions of a pixel, so nothing is rounded
        left, top, right, bottom = visible_box(image.size, preprocessing)
        box = (max(left, 0), max(top, 0), min(right, image.width), min(bottom, image.height))
        return image.resize((width, height), method, box=box, reducing_gap=2.0)
    if preprocessing.resize == "pad":
        scale = min(width / image.width, height / image.height)
        inner = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
        mean = tuple(round(255 * value) for value in preprocessing.mean)
        canvas = Image.new("RGB", (width, height), mean)
        resized = image.resize(inner, method, reducing_gap=2.0)
        canvas.paste(resized, ((width - inner[0]) // 2, (height - inner[1]) // 2))
        return canvas
    if image.size == (width, height):
        return image
    return image.resize((width, height), method, reducing_gap=2.0)


def open_photo(
    source: Photo,
    *,
    preprocessing: Preprocessing | None = None,
    max_pixels: int = MAX_PIXELS,
    colours_as_stored: bool = False,
) -> Image.Image:
    """Read a photo as an upright sRGB image: first frame, orientation applied, alpha on white.

    `source` is a path, an encoded photo as bytes, binary file or `StoredPhoto`, a PIL image, or an
    array: [height, width] or [height, width, 1, 3 or 4], uint8, uint16, bool, or float in 0 to 1.
    With `preprocessing` a large JPEG is decoded at a fraction of its size, at least twice what
    `prepare` needs. An encoded photo of more than `max_pixels` is not decoded; a JPEG counts as it
    is decoded, reduced. Decoding takes at most `BYTES_PER_PIXEL` times `max_pixels` bytes.
    Colours are converted to sRGB by the photo's colour profile. `colours_as_stored` leaves out the
    conversion, as before this was done, and the image keeps the profile in its `info`.

    Raises PhotoError, on one line that names the photo, if it cannot be read.
    """
    name = name_of(source)
    to_rgb = functools.partial(_upright_rgb, name=name, colours_as_stored=colours_as_stored)
    how = _Decoding(preprocessing, max_pixels, to_rgb)
    try:
        if isinstance(source, Image.Image):
            return to_rgb(source, is_borrowed=True)
        if isinstance(source, np.ndarray):
            return _from_array(source)
        if isinstance(source, bytes | bytearray | memoryview):
            return _decode(io.BytesIO(source), how)
        if isinstance(source, str | os.PathLike):
            with open_regular(Path(source), or_pipe=True) as file:
                if os.fstat(file.fileno()).st_size > MAX_FILE_BYTES:
                    raise PhotoError(f"larger than {MAX_FILE_BYTES >> 30} GB: not a photo")
                return _decode(file, how)
        if isinstance(source, StoredPhoto):
            return _decode(io.BytesIO(source.read_bytes()), how)
        if hasattr(source, "read"):
            return _decode(source, how)
    except PhotoError as error:
        raise PhotoError(f"{name}: {error}") from error.__cause__
    except MissingExtraError as error:
        raise PhotoError(f"{name}: {error}") from None
    except Exception as error:  # Pillow's decoders raise nearly anything on a damaged file
        raise PhotoError(f"{name}: {_reason(source, error)}") from error
    raise PhotoError(
        f"{name}: {type(source).__name__} is not a photo: give a path, bytes, a binary file,"
        " a PIL image or an array"
    )


def open_header(data: bytes) -> Image.Image:
    """Open an encoded photo without decoding its pixels, to read its metadata.

    Raises PhotoError, MissingExtraError or any of Pillow's exceptions if it cannot be read.
    """
    kind = _format_of(data[:64])
    _load_plugin(kind)
    return Image.open(io.BytesIO(data), formats=[kind])


@dataclass(frozen=True, slots=True)
class PictureSize:
    """The format of an encoded picture, as Pillow names it, and its size in pixels.

    A TIFF in tiles counts as whole tiles, as it is decoded.
    """

    format: str
    width: int
    height: int


def picture_size(data: bytes) -> PictureSize:
    """Read the size of the picture that `open_photo` would decode, without decoding it.

    Raises PhotoError, MissingExtraError or any of Pillow's exceptions if it cannot be read.
    """
    kind = _format_of(data[:64])
    _load_plugin(kind)
    if kind == "TIFF":
        from showtell.image_formats.tiff_layout import read_layout

        layout = read_layout(io.BytesIO(data))
        return PictureSize(kind, *layout.decoded_size)
    if kind == "JPEG":
        read_jpeg_header(io.BytesIO(data))  # Pillow would take long for one of many parts
    elif kind == "PNG":
        refuse_too_many_chunks(io.BytesIO(data))
    try:
        image = _opener(kind)(io.BytesIO(data), "")
    except Exception:  # perhaps because of its metadata
        image = _opener(kind)(io.BytesIO(essential_parts(kind, data).data), "")
    with image:
        return PictureSize(kind, image.width, image.height)


def name_of(source: object) -> str:
    """Return a photo's name for messages: its path, made safe to print, or its type."""
    if isinstance(source, str | os.PathLike):
        return printable(os.fspath(source))
    if isinstance(source, bytes | bytearray | memoryview):
        return f"photo of {len(source)} bytes"
    name = getattr(source, "filename", None) or getattr(source, "name", None)
    if isinstance(name, str) and name:
        return printable(name)
    return "array" if isinstance(source, np.ndarray) else "image"


@dataclass(frozen=True)
class _Decoding:
    """How `open_photo` decodes; `to_rgb` makes the decoded image upright sRGB."""

    preprocessing: Preprocessing | None
    max_pixels: int
    to_rgb: Callable[[Image.Image], Image.Image]


def _decode(file: BinaryIO, how: _Decoding) -> Image.Image:
    if not file.seekable():  # a pipe: Pillow needs to seek
        file = _read_stream(file)
    start = file.tell()
    head: object = file.read(_HEAD_BYTES)
    if not isinstance(head, bytes):
        raise PhotoError(_OPENED_AS_TEXT)
    file.seek(start)
    if start:  # Pillow reads from position 0
        file = io.BytesIO(file.read())
    kind = _format_of(head)
    _load_plugin(kind)
    try:
        return _decode_as(kind, file, how)
    except (PhotoError, MemoryError, Image.DecompressionBombError):
        raise
    except Exception as error:
        if kind not in FORMATS_WITH_PARTS:  # reading it again would be in vain
            raise
        file.seek(0)
        return _decode_repaired(kind, file.read(), how, error)


def _decode_repaired(
    kind: str,
    data: bytes,
    how: _Decoding,
    error: Exception,
) -> Image.Image:
    """Decode a photo whose metadata or missing end caused `error`; otherwise raise it."""
    parts = essential_parts(kind, data)
    if parts != EssentialParts(data):
        try:
            file = io.BytesIO(parts.data)
            return _decode_as(kind, file, how, parts.icc_profile)
        except OSError as remaining:
            error = remaining
    if kind == "JPEG" and "truncated" in str(error):
        with contextlib.suppress(PhotoError):  # too large to compare in full
            ended = with_end(
                parts.data, lambda file: _decode_as("JPEG", file, replace(how, preprocessing=None))
            )
            if ended is not None:
                return _decode_as("JPEG", io.BytesIO(ended), how)
    raise error


def _decode_as(
    kind: str,
    file: BinaryIO,
    how: _Decoding,
    icc_profile: bytes | None = None,
) -> Image.Image:
    """Decode a file of a known format; `icc_profile` is one that the file does not contain."""
    if kind == "JPEG":
        return _decode_jpeg(file, how)
    if kind == "TIFF":
        return _decode_tiff(file, how)
    if kind == "PNG":
        refuse_too_many_chunks(file)
    file.seek(0)
    with _opener(kind)(file, "") as image:
        if icc_profile is not None:
            image.info["icc_profile"] = icc_profile
        mode = "RGBA" if "transparency" in image.info else image.mode
        refuse_too_large(kind, mode, image.size, how.max_pixels)
        return how.to_rgb(image)


def _decode_jpeg(file: BinaryIO, how: _Decoding) -> Image.Image:
    header = read_jpeg_header(file)
    if header.bits != 8:
        raise PhotoError(f"a {header.bits}-bit JPEG, which is not read: convert it to 8 bits")
    file.seek(0)
    with JpegImagePlugin.JpegImageFile(file, "") as image:
        size = image.size
        if image.info.get("icc_profile") is None:  # or its pieces are odd
            profile = jpeg_profile(data for name, data in image.applist if name == "APP2")
            if profile is not None:
                image.info["icc_profile"] = profile
        if how.preprocessing is not None:
            # twice the longer side in both directions, because the photo may be rotated
            enough = 2 * max(how.preprocessing.width, how.preprocessing.height)
            image.draft("RGB" if image.mode == "RGB" else None, (enough, enough))
        refuse_too_large(
            "JPEG",
            image.mode,
            size,
            how.max_pixels,
            reduced_size=image.size,
            multi_scan=header.multi_scan,
        )
        if header.multi_scan:
            refuse_too_many_scans(file, size, how.max_pixels)
        return how.to_rgb(image)


def _decode_tiff(file: BinaryIO, how: _Decoding) -> Image.Image:
    from showtell.image_formats.tiff_layout import read_layout
    from showtell.image_formats.tiff_samples import read_tiff

    layout = read_layout(file)
    if not layout.is_read_by_pillow():
        return how.to_rgb(read_tiff(file, layout, max_pixels=how.max_pixels))
    if len(layout.offsets) < layout.chunks:  # Pillow leaves the rest black
        raise OSError("truncated: strips or tiles are missing")
    file.seek(0)
    with _opener("TIFF")(file, "") as image:
        refuse_too_large("TIFF", image.mode, layout.decoded_size, how.max_pixels)
        image.seek(layout.page)
        return how.to_rgb(image)


def _read_stream(stream: BinaryIO) -> BinaryIO:
    """Read a pipe to its end, but none that is no photo, and at most MAX_STREAM_BYTES."""
    head: object = stream.read(_HEAD_BYTES)
    if not isinstance(head, bytes):
        raise PhotoError(_OPENED_AS_TEXT)
    _format_of(head)
    return io.BytesIO(read_at_most(stream, MAX_STREAM_BYTES, head))


def _format_of(head: bytes) -> str:
    """Return the format of a file from its first 64 bytes.

    Raises PhotoError if it is unknown.
    """
    if not head:
        raise PhotoError("empty: the file holds no bytes")
    for magic, kind in _MAGIC:
        if head.startswith(magic):
            return kind
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WEBP"
    if head[4:8] == b"ftyp":
        size = int.from_bytes(head[:4], "big")
        brands = {head[8:12], *(head[i : i + 4] for i in range(16, min(size, len(head)), 4))}
        if brands & _AVIF_BRANDS:
            return "AVIF"
        if brands & _HEIF_BRANDS:
            return "HEIF"
    raise PhotoError(f"not a photo in a format that showtell reads ({_READABLE})")


def _opener(kind: str) -> Callable[[BinaryIO, str], ImageFile.ImageFile]:
    """Return the class that opens a file; `Image.open` also refuses what `max_pixels` allows."""
    if kind == "JPEG":  # not the factory, which reads the list of further pictures
        return JpegImagePlugin.JpegImageFile
    return Image.OPEN[kind][0]


@functools.cache
def _load_plugin(kind: str) -> None:
    """Register the decoder of `kind`; otherwise Pillow would import all its plugins."""
    Image.preinit()
    if kind == "HEIF":
        try:
            import pillow_heif
        except ImportError:
            raise MissingExtraError("HEIC", "heif") from None
        pillow_heif.register_heif_opener()
    elif kind == "AVIF":
        try:
            from PIL import AvifImagePlugin
        except ImportError:  # Pillow before 11.3
            raise PhotoError("AVIF needs a newer Pillow: pip install -U pillow") from None
        if not AvifImagePlugin.SUPPORTED:
            raise PhotoError("this build of Pillow cannot read AVIF: pip install -U pillow")
    elif kind == "WEBP":
        from PIL import WebPImagePlugin  # noqa: F401
    elif kind == "TIFF":
        from PIL import TiffImagePlugin  # noqa: F401

        from showtell.image_formats.quiet_libtiff import silence_libtiff

        silence_libtiff()


def _upright_rgb(
    image: Image.Image, *, name: str, colours_as_stored: bool, is_borrowed: bool = False
) -> Image.Image:
    orientation = None
    with _hidden_xmp(image):
        image.load()
    with _hidden_xmp(image), contextlib.suppress(Exception):  # damaged EXIF: the photo is fine
        # read after load(): some formats store it after the pixels, or apply it themselves
        orientation = image.getexif().get(_ORIENTATION)
    if is_borrowed and "icc_profile" in image.info:
        image = image.copy()
    image = _rgb(image, None if colours_as_stored else name)
    method = _UPRIGHT.get(orientation) if isinstance(orientation, int) else None
    return image if method is None else image.transpose(method)


@contextlib.contextmanager
def _hidden_xmp(image: Image.Image) -> Iterator[None]:
    """Hide an image's XMP from Pillow, which would apply an orientation that is only there.

    Browsers and cameras read the orientation in EXIF only, and the one in XMP is often stale.
    """
    hidden = {key: image.info.pop(key) for key in _XMP_KEYS if key in image.info}
    try:
        yield
    finally:
        image.info.update(hidden)


def _rgb(image: Image.Image, name: str | None) -> Image.Image:
    """Return the image as RGB, its colours converted to sRGB if it has a name for warnings."""
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        image = _from_high_bit_depth(image)
    if "transparency" in image.info and image.mode not in _ALPHA_MODES:
        image = _with_alpha_channel(image)
    if name is not None and "icc_profile" in image.info:
        image = to_srgb(image, name)
    if image.mode in _ALPHA_MODES:
        with_alpha = image.convert("RGBA")
        flat = Image.new("RGB", image.size, "white")
        flat.paste(with_alpha, mask=with_alpha)
        if "icc_profile" in image.info:
            flat.info["icc_profile"] = image.info["icc_profile"]
        return flat
    return image if image.mode == "RGB" else image.convert("RGB")


def _with_alpha_channel(image: Image.Image) -> Image.Image:
    """Return the image with its transparent colour as an alpha channel."""
    transparent = image.info["transparency"]
    if isinstance(transparent, tuple) and max(transparent) > 255:
        # of a PNG with 16 bits a channel, of which Pillow keeps the upper 8
        image = image.copy()
        image.info["transparency"] = tuple(value >> 8 for value in transparent)
    return image.convert("LA" if image.mode == "L" else "RGBA")


def _from_high_bit_depth(image: Image.Image) -> Image.Image:
    """Return the image with 8 bits; Pillow's own conversion clips deeper values."""
    values = np.asarray(image)
    is_16_bit = values.dtype.itemsize == 2 or (image.mode == "I" and image.format == "PNG")
    pixels = to_8_bits(values, bits=16 if is_16_bit else None)
    transparent = image.info.get("transparency")
    if isinstance(transparent, int):
        pixels = np.where(values == transparent, np.uint8(255), pixels)
    grey = Image.fromarray(pixels)
    if "icc_profile" in image.info:
        grey.info["icc_profile"] = image.info["icc_profile"]
    return grey


def _from_array(array: NDArray[Any]) -> Image.Image:
    shape = array.shape
    if len(shape) == 3 and shape[2] == 1:
        array = array[:, :, 0]
    if array.ndim not in (2, 3) or array.size == 0 or (array.ndim == 3 and shape[2] not in (3, 4)):
        raise PhotoError(
            f"shape {list(shape)} is not a photo: give [height, width] or [height, width, 3 or 4]"
        )
    if array.dtype == np.uint16:
        array = to_8_bits(array, bits=16)
    elif array.dtype == np.bool_:
        array = array.astype(np.uint8) * np.uint8(255)
    elif array.dtype.kind == "f":
        if not (np.isfinite(array).all() and array.min() >= 0 and array.max() <= 1):
            raise PhotoError("floats outside of 0 to 1: divide by the largest value, or give uint8")
        array = to_8_bits(array * array.dtype.type(255), bits=8)
    elif array.dtype != np.uint8:
        raise PhotoError(f"unsupported dtype {array.dtype}: give uint8, uint16, bool or float")
    return _rgb(Image.fromarray(np.ascontiguousarray(array)), None)


def _reason(source: object, error: Exception) -> str:
    """Return why a photo cannot be read, in a few words."""
    if isinstance(error, FileNotFoundError):
        if isinstance(source, str | os.PathLike) and Path(source).is_symlink():
            return (
                f"a link to {printable(os.fspath(Path(source).readlink()))}, which does not exist"
            )
        return "no such file"
    if isinstance(error, IsADirectoryError):
        return "a folder, not a photo"
    if isinstance(error, PermissionError):
        return "no permission to read it"
    if isinstance(error, Image.DecompressionBombError | Image.DecompressionBombWarning):
        return "more pixels than Pillow opens in a file of this kind (PIL.Image.MAX_IMAGE_PIXELS)"
    if isinstance(error, MemoryError):
        return "not enough memory to decode it"
    if isinstance(error, UnidentifiedImageError):  # its own text shows an address in memory
        return "damaged, cannot be decoded (no image data follows its header)"
    if isinstance(error, OSError) and error.errno is not None:
        return f"cannot be read ({error_reason(error)})"
    text = " ".join(str(error).split())[:_LONGEST_REASON]
    if "truncated" in text.lower() or isinstance(error, EOFError):
        return "truncated: image data is missing at the end"
    return f"damaged, cannot be decoded ({printable(text) or type(error).__name__})"
