"""Converts a photo's colours to sRGB by the colour profile (ICC) that it carries."""

from __future__ import annotations

import functools
import io
import logging
from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from PIL import ImageCms

logger = logging.getLogger(__name__)

_DAMAGED = "%s: the colour profile is damaged and is ignored"
_MOST_BYTES = 4 << 20  # the largest profiles of printing presses have about 3 MB
_CACHED_PROFILES = 8
# Profiles of sRGB differ this much among themselves (of 255); Display P3 differs by over 20.
_SAME_COLOURS = 3
_JPEG_PIECE = b"ICC_PROFILE\0"  # followed by the piece's number and the number of pieces
# colour space in the profile's header -> the modes of images that it describes
_MODES = {b"RGB ": ("RGB", "RGBA"), b"GRAY": ("L", "LA"), b"CMYK": ("CMYK",)}


def to_srgb(image: Image.Image, name: str) -> Image.Image:
    """Return the image in sRGB if it has a colour profile of other colours, without the profile.

    RGB and RGBA images are changed in place, which saves memory. Images that have no profile or one
    of sRGB are returned as they are. A profile that is damaged, too large or of a kind of colours
    that the image does not have is ignored; for the first two, the log has a warning that starts
    with `name`.
    """
    profile = image.info.get("icc_profile")
    if not isinstance(profile, bytes):
        if "icc_profile" in image.info:  # which Pillow does not read
            logger.warning(_DAMAGED, name)
        return image
    if not profile:
        return image
    if len(profile) > _MOST_BYTES:
        logger.warning(
            "%s: the colour profile of %s bytes is too large and is ignored",
            name,
            f"{len(profile):,}",
        )
        return image
    prepared = _in_the_mode_of(profile, image)
    if prepared is None:
        return image
    try:
        transform = _transform(profile, prepared.mode.replace("LA", "L"))
        converted = None if transform is None else _applied(transform, prepared)
    except Exception as error:  # lcms and Pillow raise several kinds
        logger.warning(_DAMAGED, name)
        logger.debug("colour profile: %s", error)
        return image
    return image if converted is None else converted


def jpeg_profile(segments: Iterable[bytes]) -> bytes | None:
    """Return the profile in a JPEG's APP2 segments (ICC.1:2022, B.4), or None if there is none.

    Repeated pieces count once. The number of pieces that each states is ignored, as some programs
    write it wrong. A profile that lacks a piece is shorter than its header says.
    """
    pieces = {segment for segment in segments if segment.startswith(_JPEG_PIECE)}
    start = len(_JPEG_PIECE) + 2
    return b"".join(piece[start:] for piece in sorted(pieces)) if pieces else None


def describes_rgb(image: Image.Image) -> bool:
    """Return whether the image has no colour profile, or one of RGB colours."""
    profile = image.info.get("icc_profile")
    return not profile or profile[16:20] == b"RGB "


def _in_the_mode_of(profile: bytes, image: Image.Image) -> Image.Image | None:
    """Return the image in a mode that the profile can describe, or None if there is none."""
    modes = _MODES.get(profile[16:20])
    if modes is None:
        # the header has to name a colour space: the profile is damaged, which the transform says
        return image if image.mode in ("L", "LA", "RGB", "RGBA", "CMYK") else None
    if image.mode in modes:
        return image
    if modes[0] == "RGB" and image.mode in ("1", "L", "LA", "P", "PA", "RGBX", "YCbCr"):
        return image.convert("RGBA" if image.mode in ("LA", "PA") else "RGB")
    return image.convert("L") if modes[0] == "L" and image.mode == "1" else None


@functools.lru_cache(_CACHED_PROFILES)
def _transform(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """Return the conversion to sRGB of images in `mode`, or None if it changes nothing visible."""
    from PIL import ImageCms

    if len(profile) < int.from_bytes(profile[:4], "big"):
        raise ValueError("cut off")
    transform = ImageCms.buildTransform(
        ImageCms.ImageCmsProfile(io.BytesIO(profile)),
        ImageCms.createProfile("sRGB"),
        mode,
        mode if mode == "RGBA" else "RGB",
        renderingIntent=ImageCms.Intent.PERCEPTUAL,
        # one transform serves several threads
        flags=ImageCms.Flags.NOCACHE,
    )
    if mode == "CMYK":
        return transform
    probe = _probe(mode)
    difference = np.asarray(transform.apply(probe), np.int16) - np.asarray(
        probe.convert(transform.output_mode)
    )
    return None if np.abs(difference).max() <= _SAME_COLOURS else transform


def _probe(mode: str) -> Image.Image:
    """Return an image with all greys, or with colours from the whole cube of RGB."""
    if mode == "L":
        return Image.fromarray(np.arange(256, dtype=np.uint8)[None])
    steps = np.arange(0, 256, 15, dtype=np.uint8)
    cube = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), axis=-1)
    return Image.fromarray(cube.reshape(len(steps), -1, 3)).convert(mode)


def _applied(transform: ImageCms.ImageCmsTransform, image: Image.Image) -> Image.Image:
    if image.mode == "LA":
        grey, alpha = image.split()
        converted = transform.apply(grey)
        converted.putalpha(alpha)
    elif image.mode in ("RGB", "RGBA"):
        converted = image.copy() if image.readonly else image
        transform.apply_in_place(converted)
    else:
        converted = transform.apply(image)
    del converted.info["icc_profile"]
    return converted
