"""Turns a photo (file, bytes, image or array) into the model's input; all callers use `prepare`."""

from __future__ import annotations

import functools
import io
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Literal, Protocol, TypeAlias, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from showtell.errors import MissingExtraError, PhotoError
from showtell.files.printable_names import printable
from showtell.files.regular_files import open_regular
from showtell.image_formats.array_photo import image_from_array
from showtell.image_formats.decode_photo import DecodeSettings, decode_photo
from showtell.image_formats.decoding_memory import MAX_PIXELS
from showtell.image_formats.read_errors import read_error_reason
from showtell.image_formats.upright_rgb import upright_rgb

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
    str | os.PathLike[str] | bytes | BinaryIO | StoredPhoto | Image.Image | NDArray[Any]
)

MAX_FILE_BYTES = 2 << 30  # larger files are not photos

_RESAMPLING = {
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "nearest": Image.Resampling.NEAREST,
    "lanczos": Image.Resampling.LANCZOS,
}


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
    to_rgb = functools.partial(upright_rgb, name=name, colours_as_stored=colours_as_stored)
    # twice the longer side in both directions, because the photo may be rotated
    enough = 2 * max(preprocessing.width, preprocessing.height) if preprocessing else None
    settings = DecodeSettings(max_pixels, to_rgb, least_side=enough)
    try:
        if isinstance(source, Image.Image):
            return to_rgb(source, is_borrowed=True)
        if isinstance(source, np.ndarray):
            return image_from_array(source)
        if isinstance(source, bytes | bytearray | memoryview):
            return decode_photo(io.BytesIO(source), settings)
        if isinstance(source, str | os.PathLike):
            with open_regular(Path(source), or_pipe=True) as file:
                if os.fstat(file.fileno()).st_size > MAX_FILE_BYTES:
                    raise PhotoError(f"larger than {MAX_FILE_BYTES >> 30} GB: not a photo")
                return decode_photo(file, settings)
        if isinstance(source, StoredPhoto):
            return decode_photo(io.BytesIO(source.read_bytes()), settings)
        if hasattr(source, "read"):
            return decode_photo(source, settings)
    except PhotoError as error:
        raise PhotoError(f"{name}: {error}") from error.__cause__
    except MissingExtraError as error:
        raise PhotoError(f"{name}: {error}") from None
    except Exception as error:  # Pillow's decoders raise nearly anything on a damaged file
        raise PhotoError(f"{name}: {read_error_reason(source, error)}") from error
    raise PhotoError(
        f"{name}: {type(source).__name__} is not a photo: give a path, bytes, a binary file,"
        " a PIL image or an array"
    )


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
