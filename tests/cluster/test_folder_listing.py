"""A folder whose photos are unknown stops the job, unless the user leaves it out."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fsspec.implementations.memory import MemoryFileSystem

from showtell.cluster.folder_listing import FolderPhotos
from showtell.cluster.inputs import open_input
from showtell.cluster.storage import Storage
from showtell.errors import DatasetError
from support.photo_collections import photo, write_folder

WAY_OUT = (
    r"/inside: the folder cannot be listed \(permission denied\): make it readable, or leave it"
    " out with --on-broken skip"
)


@pytest.fixture(params=["path", "text", "memory"])
def locked(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Path | str:
    """A folder of six photos, two of them in a subfolder that cannot be listed."""
    if request.param == "memory":
        address = f"memory://{tmp_path.name}"
        for number in range(6):
            folder = "inside/" if number % 3 == 0 else ""
            system = MemoryFileSystem()
            system.pipe_file(f"/{tmp_path.name}/{folder}{number}.png", photo(number))
        monkeypatch.setattr(MemoryFileSystem, "ls", refuse_inside(MemoryFileSystem.ls))
        return address
    folder_path = write_folder(tmp_path / "photos", 6)
    monkeypatch.setattr(os, "scandir", refuse_inside(os.scandir))
    return folder_path if request.param == "path" else str(folder_path)


def refuse_inside(list_folder: Callable[..., Any]) -> Callable[..., Any]:
    def refusing(*arguments: Any, **options: Any) -> Any:
        if any(str(argument).endswith("inside") for argument in arguments):
            raise PermissionError(13, "Permission denied")
        return list_folder(*arguments, **options)

    return refusing


def test_subfolder_that_cannot_be_listed_stops_the_job(locked: Path | str, tmp_path: Path) -> None:
    storage = Storage.of(tmp_path / "out")
    with pytest.raises(DatasetError, match=WAY_OUT):
        open_input(locked, storage)
    assert storage.job_files.names() == []


def test_subfolder_that_cannot_be_listed_is_left_out_on_request(
    locked: Path | str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    opened = open_input(locked, Storage.of(tmp_path / "out"), skip_unlistable=True)
    assert opened.photos == 4
    [message] = [record.message for record in caplog.records if record.levelno == logging.WARNING]
    assert message.startswith("left out: ")
    assert message.endswith("/inside: the folder cannot be listed (permission denied)")


def test_pipe_among_the_photos_is_left_out_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = write_folder(tmp_path / "photos", 2)
    os.mkfifo(folder / "pipe.jpg")
    assert len(list(FolderPhotos(folder))) == 2
    assert "pipe.jpg: a device or pipe, not a photo" in caplog.text
