from __future__ import annotations

import pytest

from showtell.photos.binary_patch import apply_patch, make_patch
from support.odd_photos import encoded
from support.photo_library import photo_with_xmp, picture

FORMATS = ("JPEG", "PNG", "WEBP")


@pytest.mark.parametrize("kind", FORMATS)
def test_patch_restores_the_old_file_and_is_small(kind: str) -> None:
    old = photo_with_xmp(picture(5, (600, 400)), kind, "old words")
    new = photo_with_xmp(picture(5, (600, 400)), kind, "new words, and more of them") + b"tail"
    patch = make_patch(old, new)
    assert apply_patch(patch, new) == old
    assert len(patch) < 700 < len(old)
    bare = encoded(picture(5, (600, 400)), kind)
    assert apply_patch(make_patch(bare, new), new) == bare
