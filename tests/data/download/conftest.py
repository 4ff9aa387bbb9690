"""Fixtures of downloads: a server that has the archives of Flickr8k in small."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from support.archive_files import make_zip
from support.dataset_downloads import flickr8k_files
from support.file_server import FileServer, serve


@pytest.fixture(scope="session")
def archives(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("archives")
    return {
        name: make_zip(folder / name, files).read_bytes()
        for name, files in flickr8k_files().items()
    }


@pytest.fixture
def server(archives: dict[str, bytes]) -> Iterator[FileServer]:
    files = {f"/{place}/{name}": data for name, data in archives.items() for place in "ab"}
    with serve(files) as running:
        yield running
