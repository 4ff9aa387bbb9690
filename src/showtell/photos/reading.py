"""Read one photo for the catalogue: its hash, what it says of itself, and the model's input."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image, ImageOps

from showtell.decoding.beam_search import Floats
from showtell.errors import PhotoError, ShowtellError
from showtell.files.printable_names import printable
from showtell.image import Preprocessing, open_photo, prepare
from showtell.photos.metadata import raw_preview
from showtell.photos.metadata.container import Layout, read_layout
from showtell.photos.metadata.exif import Facts, exif_of_tiff, read_facts
from showtell.photos.metadata.image_hash import image_hash

LARGEST = 2 << 30  # bytes; it is read whole
_ORIENTATION = 0x0112
_TURNED = (5, 6, 7, 8)


@dataclass(frozen=True, slots=True)
class Reading:
    """What reading a photo found; `pixels` are None where they were not asked for.

    `size` is the upright width and height in pixels. `error` says why a raw photo, which is known
    all the same, has no pixels.
    """

    hash: bytes
    file_size: int
    mtime_ns: int
    facts: Facts = field(default_factory=Facts)
    size: tuple[int, int] | None = None
    pixels: Floats | None = field(default=None, repr=False)
    error: str | None = None


def read_whole(path: Path) -> tuple[bytes, os.stat_result]:
    """Read a file that keeps still meanwhile, with its status.

    Raises PhotoError where it cannot be read or changes again and again.
    """
    shown = printable(os.fspath(path))
    try:
        for _ in range(3):
            with path.open("rb") as file:
                before = os.fstat(file.fileno())
                if before.st_size > LARGEST:
                    raise PhotoError(f"{shown}: larger than {LARGEST >> 30} GB: no photo")
                data = file.read(before.st_size + 1)  # what grows has no end
                after = os.fstat(file.fileno())
            if _stamp(before) == _stamp(after) == _stamp(path.stat()) and (
                len(data) == after.st_size
            ):
                return data, after
    except OSError as error:
        raise PhotoError(f"{shown}: cannot be read ({_why(error)})") from error
    raise PhotoError(f"{shown}: changes while it is read: scan again when it is finished")


def read_photo(
    path: Path, preprocessing: Preprocessing, wanted: Callable[[bytes], bool]
) -> Reading:
    """Read a photo; `wanted` says by its hash whether it is to be captioned.

    Raises PhotoError, one line that names the photo, where it cannot be.
    """
    data, status = read_whole(path)
    try:
        return _understood(path, data, status, preprocessing, wanted)
    except ShowtellError as error:
        text = str(error)
        shown = printable(os.fspath(path))
        if text.startswith(shown):
            raise
        # a message about bytes: say which photo it was
        raise PhotoError(
            f"{shown}: {text.removeprefix(f'photo of {len(data)} bytes: ')}"
        ) from error
    except MemoryError:
        raise PhotoError(f"{printable(os.fspath(path))}: not enough memory to open it") from None


def _understood(
    path: Path,
    data: bytes,
    status: os.stat_result,
    preprocessing: Preprocessing,
    wanted: Callable[[bytes], bool],
) -> Reading:
    if raw_preview.is_raw(path.name):
        return _raw(path, data, status, preprocessing, wanted)
    image = None
    layout = _layout(data)
    if layout is None:
        image = open_photo(data)
    found = image_hash(data, layout, image)
    facts = read_facts(_exif(data, layout))
    pixels = None
    if wanted(found):
        if image is None:
            image = open_photo(data, preprocessing=preprocessing)
        pixels = prepare(image, preprocessing)
    size = _size(layout, image, facts)
    return Reading(found, status.st_size, status.st_mtime_ns, facts, size, pixels)


def _raw(
    path: Path,
    data: bytes,
    status: os.stat_result,
    preprocessing: Preprocessing,
    wanted: Callable[[bytes], bool],
) -> Reading:
    """Read a raw photo: known by all of its bytes, captioned from its preview."""
    found = image_hash(data, None)
    facts = read_facts(exif_of_tiff(data))
    pixels = error = None
    if wanted(found):
        try:
            pixels = prepare(raw_image(data, facts.orientation), preprocessing)
        except PhotoError as reason:
            error = f"{printable(os.fspath(path))}: {reason}"
    return Reading(found, status.st_size, status.st_mtime_ns, facts, None, pixels, error)


def raw_image(data: bytes, orientation: int = 1) -> Image.Image:
    """Return a raw photo's preview, upright; of a plain TIFF under a raw name its picture.

    Raises PhotoError where it has none.
    """
    try:
        image = open_photo(raw_preview.preview(data))
    except PhotoError:
        if exif_of_tiff(data) is None:
            raise
        try:
            return open_photo(data)
        except PhotoError:
            raise PhotoError(raw_preview.NO_PREVIEW) from None
    image.getexif()[_ORIENTATION] = orientation
    return ImageOps.exif_transpose(image)


def _layout(data: bytes) -> Layout | None:
    """Take the photo apart; a damaged one that decodes all the same is known by its pixels."""
    try:
        return read_layout(data)
    except PhotoError:
        return None


def _exif(data: bytes, layout: Layout | None) -> bytes | Image.Exif | None:
    if layout is not None:
        return next(layout.payloads("exif", data), None)
    # open_photo has decoded it: the format is one that showtell reads, its plugin loaded
    with Image.open(io.BytesIO(data)) as image:
        return image.getexif()


def _size(layout: Layout | None, image: Image.Image | None, facts: Facts) -> tuple[int, int] | None:
    if layout is not None and layout.size is not None:
        width, height = layout.size
        return (height, width) if facts.orientation in _TURNED else (width, height)
    return None if image is None else image.size


def _stamp(status: os.stat_result) -> tuple[int, int, int]:
    return status.st_size, status.st_mtime_ns, status.st_ino


def _why(error: OSError) -> str:
    return (
        "no such file"
        if isinstance(error, FileNotFoundError)
        else (error.strerror or str(error)).lower()
    )
