"""A service for all tests of this folder: the shipped model, behind a real port of this machine."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.running_service import RunningService, running_service
from support.tiny_bundles import CALIBRATION, write_bundle


@pytest.fixture(scope="session")
def service() -> Iterator[RunningService]:
    """A service with the shipped model and default options: `.url`, `.pid`, `.log`."""
    with running_service() as running:
        yield running


@pytest.fixture(scope="session")
def keyed_service() -> Iterator[RunningService]:
    """A service with the shipped model that asks for an API key, `.key`."""
    with running_service(SHOWTELL_API_KEY="a-key-for-tests") as running:
        yield running


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that captions in a millisecond, for `running_service("--model", tiny_model)`."""
    return write_bundle(tmp_path_factory.mktemp("served") / "tiny", confidence=CALIBRATION).path


@pytest.fixture
def no_service() -> str:
    """An address of this machine at which nothing listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}"
