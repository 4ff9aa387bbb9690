"""Rules for every test: which tests run, private cache folders, no network beyond this machine."""

from __future__ import annotations

import ipaddress
import os
import signal
import socket
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from support.light_install import runs_in_the_light_install
from support.paths import ROOT

# How long an example takes depends on what else the machine does.
settings.register_profile("showtell", deadline=None)
settings.load_profile("showtell")


def shared_folder() -> Path:
    """The folder of Flickr8k and encoder weights: $SHOWTELL_SHARED, or `shared` beside the root."""
    configured = os.environ.get("SHOWTELL_SHARED")
    return Path(configured) if configured else ROOT.parent / "shared"


def pytest_configure(config: pytest.Config) -> None:
    # A shell makes background jobs ignore Ctrl-C. Processes that tests start, and interrupt,
    # would inherit that.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--slow", action="store_true", help="run the tests marked slow too")
    parser.addoption("--light", action="store_true", help="run only tests that need no extra")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """With --light, ignore test modules, and folders whose conftest, that import an extra."""
    if not config.getoption("--light"):
        return None
    path = collection_path / "conftest.py" if collection_path.is_dir() else collection_path
    return (path.suffix == ".py" and path.is_file() and not runs_in_the_light_install(path)) or None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    folder = shared_folder()
    if not folder.is_dir():
        absent = pytest.mark.skip(reason=f"{folder} does not exist (or set SHOWTELL_SHARED)")
        for item in items:
            if item.get_closest_marker("shared"):
                item.add_marker(absent)
    if config.getoption("--light"):
        deselect("extras", config, items)
    # An explicit -m expression that mentions slow decides about slow tests itself.
    if not config.getoption("--slow") and "slow" not in (config.getoption("-m") or ""):
        deselect("slow", config, items)


def deselect(marker: str, config: pytest.Config, items: list[pytest.Item]) -> None:
    deselected = [item for item in items if item.get_closest_marker(marker)]
    if deselected:
        config.hook.pytest_deselected(items=deselected)
        items[:] = [item for item in items if item not in deselected]


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """The shared folder; only for tests marked `shared`, which are skipped where it is absent."""
    return shared_folder()


@pytest.fixture(scope="session", autouse=True)
def _private_folders(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Keep caches and settings of the tests out of the user's home folder.

    Environment variables do this, so that it also holds for processes that tests start.
    """
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SHOWTELL_CACHE", str(home / "cache" / "showtell"))
        patch.delenv("SHOWTELL_MODEL", raising=False)
        for name in ("CACHE", "CONFIG", "DATA", "STATE"):
            patch.setenv(f"XDG_{name}_HOME", str(home / name.lower()))
        patch.setenv("HF_HOME", str(home / "hub"))
        patch.setenv("no_proxy", "*")  # test servers run on this machine
        patch.setenv("HF_HUB_OFFLINE", "1")  # for timm, in this and other processes
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
