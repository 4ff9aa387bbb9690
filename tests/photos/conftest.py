from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from showtell import Captioner
from showtell.photos.catalogue.database import Catalogue
from support.tiny_bundles import CALIBRATION, write_bundle


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a bundle of a few kilobytes."""
    folder = tmp_path_factory.mktemp("models") / "tiny"
    sure = replace(CALIBRATION, intercept=9.0)  # captions are written, not left out as guesses
    return write_bundle(folder, confidence=sure).path


@pytest.fixture(scope="session")
def captioner(model: Path) -> Captioner:
    return Captioner.load(model, threads=1)


@pytest.fixture
def catalogue(tmp_path: Path) -> Iterator[Catalogue]:
    """A new catalogue, which must be intact after each test."""
    with Catalogue(tmp_path / "data" / "photos.sqlite", create=True) as opened:
        yield opened
        assert opened.is_intact()
