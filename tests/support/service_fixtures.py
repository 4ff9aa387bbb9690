"""Fixtures that run the service, for the conftest files of tests/server and tests/client."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.running_service import RunningService, running_service
from support.tiny_bundles import CALIBRATION, write_bundle

__all__ = ["keyed_service", "service", "tiny_model", "unused_url"]


@pytest.fixture(scope="session")
def service() -> Iterator[RunningService]:
    """A service with the shipped model and default options."""
    with running_service() as running:
        yield running


@pytest.fixture(scope="session")
def keyed_service() -> Iterator[RunningService]:
    """A service with the shipped model that requires the API key `.key`."""
    with running_service(SHOWTELL_API_KEY="a-key-for-tests") as running:
        yield running


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle that captions in a millisecond, for `running_service("--model", tiny_model)`."""
    return write_bundle(tmp_path_factory.mktemp("served") / "tiny", confidence=CALIBRATION).path


@pytest.fixture
def unused_url() -> str:
    """A URL of this machine where nothing listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}"
