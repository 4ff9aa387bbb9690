from __future__ import annotations

from pathlib import Path

import pytest

from showtell.photos.metadata.container import parse_container
from showtell.photos.metadata.image_hash import hash_bytes, hash_image
from support.odd_photos import encoded
from support.photo_library import photo, photo_with_xmp, picture

FORMATS = ("JPEG", "PNG", "WEBP")


@pytest.mark.parametrize("kind", FORMATS)
def test_image_hash_depends_on_image_data_only(kind: str) -> None:
    bare = encoded(picture(1), kind, **({"lossless": True} if kind == "WEBP" else {}))
    if kind == "JPEG":
        bare = encoded(picture(1), kind, quality=80)
    hashes = {
        hash_image(data, parse_container(data))
        for data in (
            bare,
            photo_with_xmp(picture(1), kind, "one"),
            photo_with_xmp(picture(1), kind, "three"),
            bare + b"a video that a phone appends",
        )
    }
    assert len(hashes) == 1
    other = encoded(picture(2), kind)
    assert hash_image(other, parse_container(other)) not in hashes


def test_file_hash_differs_for_different_files(tmp_path: Path) -> None:
    data = photo(tmp_path / "a.png", 1).read_bytes()
    assert hash_bytes(data) != hash_bytes(data + b"\0")
