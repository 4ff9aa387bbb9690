"""Which picture a file holds: a hash of its image data, whatever its name and metadata say."""

from __future__ import annotations

import hashlib

import numpy as np
from PIL import Image

from showtell.photos.metadata.container import Layout

SIZE = 20  # bytes; nobody finds two pictures of one such hash
_WHOLE_FILE = b"file"


def image_hash(data: bytes, layout: Layout | None, image: Image.Image | None = None) -> bytes:
    """Hash a photo's image data (BLAKE2b).

    Of a JPEG, PNG or WebP these are the parts that a decoder needs, so that the hash is the same
    whatever metadata is written or removed. Of any other format they are the decoded pixels,
    `image`; where there are none (raw photos), all of the file.
    """
    digest = hashlib.blake2b(digest_size=SIZE)
    if layout is not None:
        digest.update(layout.format.encode())
        for part in layout.parts:
            if part.kind == "image":
                digest.update(memoryview(data)[part.start : part.end])
    elif image is not None:
        digest.update(f"{image.mode} {image.size}".encode())
        digest.update(np.ascontiguousarray(image).data)
    else:
        digest.update(_WHOLE_FILE)
        digest.update(data)
    return digest.digest()


def file_hash(data: bytes) -> bytes:
    """Hash a file byte by byte: whether it is still as it was written."""
    return hashlib.blake2b(data, digest_size=SIZE).digest()
