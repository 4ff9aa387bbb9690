from __future__ import annotations

from pathlib import Path

import pytest

from showtell import Captioner
from showtell.errors import CatalogueError
from showtell.photos.catalogue.database import Catalogue
from showtell.photos.similar import find_similar
from support.photo_library import library, photo, scan_fully


def test_similar_photos_are_ranked_by_their_features(
    tmp_path: Path, catalogue: Catalogue, captioner: Captioner
) -> None:
    photos = library(tmp_path / "lib", 30)
    photo(tmp_path / "lib" / "000" / "z.png", 3)  # the third picture in another format
    scan_fully(catalogue, tmp_path / "lib", captioner)

    def fail_to_load() -> Captioner:
        raise AssertionError("the features are in the catalogue")

    ranked = list(find_similar(catalogue, photos[3], load_captioner=fail_to_load))
    assert len(ranked) == 30
    assert ranked[0].path.name == "z.png"
    similarities = [item.similarity for item in ranked]
    assert similarities == sorted(similarities, key=lambda value: -(value or 0))
    pooled = [captioner.features(path).pooled for path in photos]
    for item in ranked[1:5]:
        one, other = pooled[3], pooled[int(item.path.stem)]
        assert one is not None
        assert other is not None
        cosine = float(one @ other / ((one @ one) * (other @ other)) ** 0.5)
        assert item.similarity == pytest.approx(cosine, abs=0.02)
    outside = photo(tmp_path / "elsewhere.png", 3)
    assert next(
        find_similar(catalogue, outside, load_captioner=lambda: captioner)
    ).similarity == pytest.approx(1, abs=0.001)


def test_search_for_similar_photos_without_features_gives_a_hint(
    tmp_path: Path, catalogue: Catalogue, captioner: Captioner
) -> None:
    with pytest.raises(CatalogueError, match="scan --recaption"):
        list(
            find_similar(catalogue, photo(tmp_path / "a.jpg", 1), load_captioner=lambda: captioner)
        )
