from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from showtell import Captioner
from showtell.photos.catalogue.database import Catalogue
from showtell.photos.catalogue.search import search_photos
from support.paths import EXAMPLES
from support.photo_library import record_of, scan_fully


@pytest.fixture(scope="module")
def general() -> Captioner:
    return Captioner.load("general", threads=1)


def test_a_scan_stores_the_models_keywords_and_recaption_fills_those_of_older_captions(
    tmp_path: Path, catalogue: Catalogue, general: Captioner
) -> None:
    library = tmp_path / "library"
    library.mkdir()
    names = ("polar-bear.jpg", "panda.jpg")
    photos = [Path(shutil.copy(EXAMPLES / name, library)) for name in names]
    scan_fully(catalogue, library, general)
    for path in photos:
        keywords = record_of(catalogue, path).keywords
        [caption] = general.caption([path])
        assert [item.word for item in keywords] == [item.word for item in caption.keywords]
        assert [item.probability for item in keywords] == pytest.approx(
            [item.probability for item in caption.keywords], abs=1e-6
        )
    assert [item.path for item in search_photos(catalogue, "snow", limit=1)] == photos[:1]
    before = [record_of(catalogue, path) for path in photos]
    with catalogue.transaction():  # as if an older version had captioned them
        catalogue.execute("UPDATE captions SET keywords = NULL")
        catalogue.execute("DELETE FROM search_keywords")
        catalogue.execute("DELETE FROM keywords")
    assert scan_fully(catalogue, library, general).unchanged == 2
    assert record_of(catalogue, photos[0]).keywords == ()
    assert scan_fully(catalogue, library, general, recaption=True).captioned == 2
    assert [record_of(catalogue, path) for path in photos] == before
    assert scan_fully(catalogue, library, general, recaption=True).captioned == 0
