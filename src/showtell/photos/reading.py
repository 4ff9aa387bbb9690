"""Read one photo for the catalogue: its hash, EXIF values, size and the model's input."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from PIL import Image, ImageOps

from showtell.decoding.beam_search import Floats
from showtell.errors import PhotoError, ShowtellError
from showtell.files.os_errors import error_reason
from showtell.files.printable_names import printable
from showtell.files.regular_files import open_regular, read_regular
from showtell.image import MAX_FILE_BYTES, NamedPhoto, Preprocessing, open_photo, prepare
from showtell.image_formats.colour_profile import describes_rgb, to_srgb
from showtell.image_formats.decoding_memory import MAX_PIXELS
from showtell.image_formats.upright_rgb import ORIENTATION_TAG, TO_UPRIGHT
from showtell.photos.catalogue.file_status import FileStatus
from showtell.photos.metadata.blocks import MetadataBlocks, find_blocks
from showtell.photos.metadata.container import Container, parse_container
from showtell.photos.metadata.date_taken import date_taken
from showtell.photos.metadata.exif import ExifInfo, exif_of_raw, read_exif
from showtell.photos.metadata.image_hash import add_appearance, hash_image
from showtell.photos.metadata.raw_preview import NO_PREVIEW, extract_preview, remaining_orientation
from showtell.photos.metadata.sidecar import MAX_SIDECAR_BYTES, sidecar_paths
from showtell.photos.photo_names import is_raw_name

_QUARTER_TURNS = (5, 6, 7, 8)
# orientation -> how to get from the upright image to the stored one; only quarter turns differ
_TURNED_BACK = TO_UPRIGHT | {6: TO_UPRIGHT[8], 8: TO_UPRIGHT[6]}


@dataclass(frozen=True, slots=True)
class PhotoContent:
    """What a photo contains; `pixels` is None if the photo is not to be captioned.

    `hash` is of the image data and how it is shown. `size` is the upright width and height in
    pixels. `error` says why a raw photo, which is catalogued nevertheless, has no pixels.
    """

    hash: bytes
    status: FileStatus
    exif: ExifInfo = field(default_factory=ExifInfo)
    size: tuple[int, int] | None = None
    pixels: Floats | None = field(default=None, repr=False)  # (3, height, width)
    error: str | None = None


def read_stable_file(path: Path) -> tuple[bytes, os.stat_result]:
    """Return a file's bytes and status, consistent with each other.

    Raises PhotoError if it cannot be read, or changes during each of three attempts.
    """
    display_path = printable(os.fspath(path))
    try:
        for _ in range(3):
            with open_regular(path) as file:
                before = os.fstat(file.fileno())
                if before.st_size > MAX_FILE_BYTES:
                    raise PhotoError(
                        f"{display_path}: larger than {MAX_FILE_BYTES >> 30} GB: not a photo"
                    )
                data = file.read(before.st_size + 1)  # a growing file might never end
                after = os.fstat(file.fileno())
            if _stamp(before) == _stamp(after) == _stamp(path.stat()) and (
                len(data) == after.st_size
            ):
                return data, after
    except OSError as error:
        raise PhotoError(f"{display_path}: cannot be read ({error_reason(error)})") from error
    raise PhotoError(
        f"{display_path}: another program is changing it: scan again when it has finished"
    )


def read_photo(
    path: Path,
    preprocessing: Preprocessing,
    needs_caption: Callable[[bytes], bool],
    *,
    max_pixels: int = MAX_PIXELS,
) -> PhotoContent:
    """Read a photo; `needs_caption` decides by its hash whether to prepare its pixels.

    Raises PhotoError, with one line that names the photo, if it cannot be read, or has more than
    `max_pixels` pixels (see `open_photo`).
    """
    data, status = read_stable_file(path)
    try:
        if is_raw_name(path.name):
            return _read_raw(path, data, status, preprocessing, needs_caption, max_pixels)
        return _read_image(path, data, status, preprocessing, needs_caption, max_pixels)
    except ShowtellError as error:
        text = str(error)
        display_path = printable(os.fspath(path))
        if text.startswith(display_path):
            raise
        # the message is about bytes: name the photo instead
        raise PhotoError(
            f"{display_path}: {text.removeprefix(f'photo of {len(data)} bytes: ')}"
        ) from error
    except MemoryError:
        raise PhotoError(f"{printable(os.fspath(path))}: not enough memory to open it") from None


def _read_image(
    path: Path,
    data: bytes,
    status: os.stat_result,
    preprocessing: Preprocessing,
    needs_caption: Callable[[bytes], bool],
    max_pixels: int,
) -> PhotoContent:
    image = pixels = None
    container = _container(data)
    if container is None:
        # the hash covers the pixels of the file, whatever its colour profile
        photo = NamedPhoto(data, os.fspath(path))
        image = open_photo(photo, max_pixels=max_pixels, colours_as_stored=True)
    exif = _read_exif(path, find_blocks(data, container, is_raw=False))
    digest = _picture_hash(data, container, image, exif.orientation)
    if needs_caption(digest):
        if image is not None and describes_rgb(image):
            image = to_srgb(image, printable(os.fspath(path)))
        else:
            photo = NamedPhoto(data, os.fspath(path))
            image = open_photo(photo, preprocessing=preprocessing, max_pixels=max_pixels)
        pixels = prepare(image, preprocessing)
    size = _upright_size(container, image, exif)
    return PhotoContent(digest, FileStatus.of(status), exif, size, pixels)


def _read_raw(
    path: Path,
    data: bytes,
    status: os.stat_result,
    preprocessing: Preprocessing,
    needs_caption: Callable[[bytes], bool],
    max_pixels: int,
) -> PhotoContent:
    """Read a raw photo: its hash covers all of its bytes, its pixels are those of its preview."""
    digest = hash_image(data, None)
    exif = _read_exif(path, find_blocks(data, None, is_raw=True))
    pixels = message = None
    if needs_caption(digest):
        try:
            pixels = prepare(
                open_raw(data, preprocessing=preprocessing, max_pixels=max_pixels), preprocessing
            )
        except PhotoError as error:
            message = f"{printable(os.fspath(path))}: {error}"
    return PhotoContent(digest, FileStatus.of(status), exif, None, pixels, message)


def open_raw(
    data: bytes,
    *,
    preprocessing: Preprocessing | None = None,
    max_pixels: int = MAX_PIXELS,
) -> Image.Image:
    """Return a raw photo's preview, upright, or its picture if it is really a plain TIFF.

    The arguments are those of `open_photo`. Raises PhotoError if it has neither.
    """
    try:
        preview = extract_preview(data)
        image = open_photo(preview, preprocessing=preprocessing, max_pixels=max_pixels)
    except PhotoError:
        try:
            return open_photo(data, max_pixels=max_pixels)
        except PhotoError:
            raise PhotoError(NO_PREVIEW) from None
    raw_orientation = read_exif(exif_of_raw(data)).orientation
    image.getexif()[ORIENTATION_TAG] = remaining_orientation(preview, raw_orientation)
    return ImageOps.exif_transpose(image)


def _container(data: bytes) -> Container | None:
    """Parse the container; None if it is damaged, as the photo may decode all the same."""
    try:
        return parse_container(data)
    except PhotoError:
        return None


def _read_exif(path: Path, blocks: MetadataBlocks) -> ExifInfo:
    """Read a photo's EXIF, and find the date in its other metadata and its sidecars too."""
    sidecars = []
    with contextlib.suppress(OSError):  # the date of an unreadable sidecar is unknown
        for sidecar in sidecar_paths(path):
            sidecars.append(read_regular(sidecar, MAX_SIDECAR_BYTES))
    return replace(read_exif(blocks.exif), taken=date_taken(blocks, sidecars))


def _picture_hash(
    data: bytes, container: Container | None, image: Image.Image | None, orientation: int
) -> bytes:
    """Hash the image data and how it is shown."""
    if container is not None:
        profile = b"".join(container.payloads("icc", data))
        return add_appearance(hash_image(data, container), orientation, profile)
    assert image is not None
    turned_back = _TURNED_BACK.get(orientation)
    stored = image if turned_back is None else image.transpose(turned_back)
    profile = image.info.get("icc_profile") or b""
    return add_appearance(hash_image(data, None, stored), orientation, profile)


def _upright_size(
    container: Container | None, image: Image.Image | None, exif: ExifInfo
) -> tuple[int, int] | None:
    if container is not None and container.size is not None:
        width, height = container.size
        return (height, width) if exif.orientation in _QUARTER_TURNS else (width, height)
    return None if image is None else image.size


def _stamp(status: os.stat_result) -> tuple[int, int, int]:
    return status.st_size, status.st_mtime_ns, status.st_ino
