"""Hash a photo's image data, so that its file name and metadata do not matter."""

from __future__ import annotations

import hashlib

import numpy as np
from PIL import Image

from showtell.photos.metadata.container import Container

HASH_SIZE = 20  # bytes: collisions are infeasible
_PROFILE_DIGEST_SIZE = 4  # only tells the profiles of the same image data apart
_WHOLE_FILE_PREFIX = b"file"


def hash_image(data: bytes, container: Container | None, image: Image.Image | None = None) -> bytes:
    """Hash a photo's image data (BLAKE2b, 20 bytes).

    For JPEG, PNG and WebP, it covers the segments that a decoder needs, so it does not change when
    metadata is written or removed. For other formats, it covers the decoded pixels, `image`. With
    neither (raw photos), it covers the whole file.
    """
    digest = hashlib.blake2b(digest_size=HASH_SIZE)
    if container is not None:
        digest.update(container.format.encode())
        for segment in container.segments:
            if segment.kind == "image":
                digest.update(memoryview(data)[segment.start : segment.end])
    elif image is not None:
        digest.update(f"{image.mode} {image.size}".encode())
        digest.update(np.ascontiguousarray(image).data)
    else:
        digest.update(_WHOLE_FILE_PREFIX)
        digest.update(data)
    return digest.digest()


def add_appearance(image_hash: bytes, orientation: int, profile: bytes) -> bytes:
    """Return an image hash that also tells how the image data is shown.

    It is the image hash itself for an upright photo without a colour profile, and else begins with
    it: the same image data, turned by EXIF, is another picture to a model.
    """
    if orientation == 1 and not profile:
        return image_hash
    digest = hashlib.blake2b(profile, digest_size=_PROFILE_DIGEST_SIZE).digest()
    return image_hash + bytes([orientation]) + (digest if profile else b"")


def image_hash_of(appearance: bytes) -> bytes:
    """Return the hash of the image data alone from a result of `add_appearance`."""
    return appearance[:HASH_SIZE]


def hash_bytes(data: bytes) -> bytes:
    """Hash all bytes of a file (BLAKE2b, 20 bytes), to detect whether it has changed."""
    return hashlib.blake2b(data, digest_size=HASH_SIZE).digest()
