"""Hash a photo's image data, so that its file name and metadata do not matter."""

from __future__ import annotations

import hashlib

import numpy as np
from PIL import Image

from showtell.photos.metadata.container import Container

_DIGEST_SIZE = 20  # bytes: collisions are infeasible
_WHOLE_FILE_PREFIX = b"file"


def hash_image(data: bytes, container: Container | None, image: Image.Image | None = None) -> bytes:
    """Hash a photo's image data (BLAKE2b, 20 bytes).

    For JPEG, PNG and WebP, it covers the segments that a decoder needs, so it does not change when
    metadata is written or removed. For other formats, it covers the decoded pixels, `image`. With
    neither (raw photos), it covers the whole file.
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
        digest.update(_WHOLE_FILE_PREFIX)
        digest.update(data)
    return digest.digest()


def hash_bytes(data: bytes) -> bytes:
    """Hash all bytes of a file (BLAKE2b, 20 bytes), to detect whether it has changed."""
    return hashlib.blake2b(data, digest_size=_DIGEST_SIZE).digest()
