"""Rules for every test: which ones run, caches of their own, no network beyond this machine."""

from __future__ import annotations

import ipaddress
import os
import signal
import socket
from pathlib import Path
from typing import Any

import pytest

from support.paths import ROOT


def shared_folder() -> Path:
    """The folder of Flickr8k and encoder weights: $SHOWTELL_SHARED, or `shared` beside the root."""
    chosen = os.environ.get("SHOWTELL_SHARED")
    return Path(chosen) if chosen else ROOT.parent / "shared"


def pytest_configure(config: pytest.Config) -> None:
    # A shell that starts a job in the background has it ignore Ctrl-C, and so would every
    # process that a test starts and interrupts.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--slow", action="store_true", help="run the tests marked slow too")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    folder = shared_folder()
    if not folder.is_dir():
        absent = pytest.mark.skip(reason=f"{folder} is not there (or set SHOWTELL_SHARED)")
        for item in items:
            if item.get_closest_marker("shared"):
                item.add_marker(absent)
    # A person's own -m, whatever it says of slow, is taken as it is.
    if config.getoption("--slow") or "slow" in (config.getoption("-m") or ""):
        return
    slow = [item for item in items if item.get_closest_marker("slow")]
    if slow:
        config.hook.pytest_deselected(items=slow)
        items[:] = [item for item in items if not item.get_closest_marker("slow")]


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """The shared folder; only for tests marked `shared`, which are skipped where it is absent."""
    return shared_folder()


@pytest.fixture(scope="session", autouse=True)
def _own_folders(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Keep every cache and setting of the tests out of the home of whoever runs them.

    Environment variables, so that the processes that tests start are kept out too.
    """
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SHOWTELL_CACHE", str(home / "cache" / "showtell"))
        patch.delenv("SHOWTELL_MODEL", raising=False)
        for name in ("CACHE", "CONFIG", "DATA", "STATE"):
            patch.setenv(f"XDG_{name}_HOME", str(home / name.lower()))
        patch.setenv("HF_HOME", str(home / "hub"))
        patch.setenv("no_proxy", "*")  # servers of tests are on this machine
        patch.setenv("HF_HUB_OFFLINE", "1")  # timm and torch processes reach for the hub by it
        yield


def _is_loopback(address: object) -> bool:
    if not isinstance(address, tuple):  # a Unix socket
        return True
    host = str(address[0])
    if host in ("", "localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


@pytest.fixture(scope="session", autouse=True)
def _no_network() -> Any:
    """Refuse every connection that leaves this machine: a test that needs one is a wrong test."""
    connect, connect_ex = socket.socket.connect, socket.socket.connect_ex

    def guard(real: Any) -> Any:
        def guarded(self: socket.socket, address: Any, *rest: Any) -> Any:
            if not _is_loopback(address):
                raise ConnectionRefusedError(f"tests reach this machine only, not {address}")
            return real(self, address, *rest)

        return guarded

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", guard(connect))
        patch.setattr(socket.socket, "connect_ex", guard(connect_ex))
        yield
