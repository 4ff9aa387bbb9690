from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from showtell.image import Preprocessing, open_photo, prepare
from showtell.photos.metadata.image_hash import image_hash_of
from showtell.photos.reading import read_photo
from support.icc_profiles import ADOBE_GAMMA, ADOBE_RGB, cmyk_profile, rgb_profile
from support.odd_photos import corners

PROFILES = {
    "RGB": rgb_profile(ADOBE_RGB, ADOBE_GAMMA),
    "CMYK": cmyk_profile((53.2, 80.1, 67.2)),
}


@pytest.mark.parametrize("mode", ["RGB", "CMYK"])
def test_profile_changes_the_pixels_but_not_the_hash_of_the_image_data(
    mode: str, tmp_path: Path
) -> None:
    image: Image.Image = corners().convert(mode)
    plain, tagged = tmp_path / "plain.tif", tmp_path / "tagged.tif"
    image.save(plain)
    image.save(tagged, icc_profile=PROFILES[mode])
    preprocessing = Preprocessing(height=32, width=32)
    stored = read_photo(plain, preprocessing, lambda _: True)
    converted = read_photo(tagged, preprocessing, lambda _: True)
    assert image_hash_of(converted.hash) == stored.hash
    np.testing.assert_array_equal(converted.pixels, prepare(open_photo(tagged), preprocessing))
    assert np.abs(converted.pixels - stored.pixels).max() > 0.1


def test_broken_profile_is_warned_of_by_the_photos_name(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("photo.jpg", "photo.tif"):
        path = tmp_path / name
        corners().save(path, icc_profile=PROFILES["RGB"][:200])
        caplog.clear()
        read_photo(path, Preprocessing(), lambda _: True)
        (record,) = caplog.records
        assert record.getMessage() == f"{path}: the colour profile is damaged and is ignored"
