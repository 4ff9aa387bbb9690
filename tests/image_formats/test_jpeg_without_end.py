from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from showtell.errors import PhotoError
from showtell.image import Preprocessing, open_photo
from support.odd_photos import corners, encoded, jpeg_of_size

SMALL = Preprocessing(height=20, width=20)


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"restart_marker_blocks": 3}])
def test_complete_scan_without_an_end_marker_is_read(mode: str, options: dict[str, object]) -> None:
    jpeg = encoded(corners(200, 120).convert(mode), "JPEG", **options)
    whole = open_photo(jpeg)
    for cut in (1, 2):
        assert open_photo(jpeg[:-cut]) == whole
        assert open_photo(jpeg[:-cut], preprocessing=SMALL).size == (100, 60)


@pytest.mark.parametrize("progressive", [False, True])
def test_truncated_scan_stays_truncated(progressive: bool) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (30, 40, 3), dtype=np.uint8)
    picture = Image.fromarray(noise).resize((400, 300))
    jpeg = encoded(picture, "JPEG", progressive=progressive)
    for length in (len(jpeg) - 30, len(jpeg) - 300, len(jpeg) * 3 // 4, len(jpeg) // 2):
        for preprocessing in (None, SMALL):
            with pytest.raises(PhotoError, match="truncated"):
                open_photo(jpeg[:length], preprocessing=preprocessing)


def test_jpeg_too_large_to_compare_stays_truncated() -> None:
    with pytest.raises(PhotoError, match="truncated"):
        open_photo(jpeg_of_size(16_000, 12_500)[:-2], preprocessing=SMALL)


@pytest.mark.shared
def test_jpeg_without_end_of_another_program_is_read(shared_dir: Path) -> None:
    path = shared_dir / "cases" / "jpeg" / "noeoi.jpg"
    if not path.exists():
        pytest.skip(f"{path} is missing")
    assert open_photo(path).mode == "RGB"
