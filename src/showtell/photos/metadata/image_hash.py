"""Identify a picture by a hash of its image data, whatever its file name and metadata."""

from __future__ import annotations

import hashlib

import numpy as np
from PIL import Image

from showtell.photos.metadata.container import Container

_DIGEST_SIZE = 20  # bytes: collisions are infeasible
_WHOLE_FILE = b"file"


def image_hash(data: bytes, container: Container | None, image: Image.Image | None = None) -> bytes:
    """Hash a photo's image data (BLAKE2b, 20 bytes).

    For JPEG, PNG and WebP that is the segments that a decoder needs, so the hash does not change
    when metadata is written or removed. For other formats it is the decoded pixels, `image`. With
    neither (raw photos) it is the whole file.
    """
    digest = hashlib.blake2b(digest_size=_DIGEST_SIZE)
    if container is not None:
        digest.update(container.format.encode())
        for segment in container.segments:
            if segment.kind == "image":
                digest.update(memoryview(data)[segment.start : segment.end])
    elif image is not None:
        digest.update(f"{image.mode} {image.size}".encode())
        digest.update(np.ascontiguousarray(image).data)
    else:
        digest.update(_WHOLE_FILE)
        digest.update(data)
    return digest.digest()


def file_hash(data: bytes) -> bytes:
    """Hash all bytes of a file, to detect whether it has changed."""
    return hashlib.blake2b(data, digest_size=_DIGEST_SIZE).digest()
