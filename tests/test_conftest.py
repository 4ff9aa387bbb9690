"""The rules of the test run hold: nothing leaves this machine, no cache outside the run."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from showtell.folders import cache_dir


def test_a_connection_that_leaves_this_machine_is_refused() -> None:
    with pytest.raises(ConnectionRefusedError, match="this machine only"):
        socket.create_connection(("192.0.2.1", 80), timeout=1)


def test_a_connection_to_this_machine_works() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_connection(server.getsockname(), timeout=5) as client,
    ):
        assert client.getpeername() == server.getsockname()


def test_caches_are_the_test_runs_own() -> None:
    assert Path(os.environ["SHOWTELL_CACHE"]) == cache_dir()
    assert Path.home() not in cache_dir().parents or "pytest" in str(cache_dir())
