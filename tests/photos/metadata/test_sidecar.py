from __future__ import annotations

from pathlib import Path

from showtell.photos.metadata.sidecar import sidecar_path
from showtell.photos.metadata.xmp import set_fields
from support.photo_library import photo


def test_sidecar_shared_by_raw_and_jpeg_belongs_to_the_raw_photo(tmp_path: Path) -> None:
    jpeg, raw = photo(tmp_path / "IMG_1.jpg", 1), photo(tmp_path / "IMG_1.cr2", 2)
    (tmp_path / "IMG_1.xmp").write_bytes(set_fields(None, {"alt": "x"}))
    assert sidecar_path(raw) == tmp_path / "IMG_1.xmp"
    assert sidecar_path(jpeg) == tmp_path / "IMG_1.jpg.xmp"
    alone = photo(tmp_path / "IMG_2.jpg", 3)
    assert sidecar_path(alone) == tmp_path / "IMG_2.jpg.xmp"
    (tmp_path / "IMG_2.xmp").write_text("")
    assert sidecar_path(alone) == tmp_path / "IMG_2.xmp"
    (tmp_path / "IMG_1.cr2.xmp").write_text("")
    assert sidecar_path(raw) == tmp_path / "IMG_1.cr2.xmp"
