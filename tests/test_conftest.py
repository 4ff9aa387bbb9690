"""The rules of a test run: no connection leaves this machine, no cache outside the run."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from showtell.files.folders import cache_dir
from support.paths import TESTS


def test_a_connection_that_leaves_this_machine_is_refused() -> None:
    with pytest.raises(ConnectionRefusedError, match="this machine only"):
        socket.create_connection(("192.0.2.1", 80), timeout=1)


def test_a_connection_to_this_machine_works() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_connection(server.getsockname(), timeout=5) as client,
    ):
        assert client.getpeername() == server.getsockname()


def test_caches_are_private_to_the_test_run() -> None:
    assert Path(os.environ["SHOWTELL_CACHE"]) == cache_dir()
    assert Path.home() not in cache_dir().parents or "pytest" in str(cache_dir())


@pytest.mark.parametrize(
    ("options", "shared", "ran"),
    [
        ([], True, {"quick", "needs_shared"}),
        ([], False, {"quick"}),
        (["--slow"], True, {"quick", "needs_shared", "takes_long"}),
        (["-m", "slow"], True, {"takes_long"}),
    ],
)
def test_slow_tests_run_on_request_and_shared_ones_if_the_folder_exists(
    tmp_path: Path, options: list[str], shared: bool, ran: set[str]
) -> None:
    tests = tmp_path / "project" / "tests"
    (tests / "support").mkdir(parents=True)
    for name in (
        "conftest.py",
        "support/__init__.py",
        "support/light_install.py",
        "support/paths.py",
    ):
        shutil.copy(TESTS / name, tests / name)
    (tests / "test_it.py").write_text(
        "import pytest\n"
        "def test_quick(): print('ran quick')\n"
        "@pytest.mark.slow\ndef test_long(): print('ran takes_long')\n"
        "@pytest.mark.shared\ndef test_shared(shared_dir): print('ran needs_shared', shared_dir)\n"
    )
    (tests.parent / "pytest.ini").write_text(
        "[pytest]\npythonpath = tests\nmarkers =\n    slow: x\n    shared: x\n"
    )
    folder = tmp_path / "shared"
    if shared:
        folder.mkdir()
    inherited = os.environ.items()
    unset = ("SHOWTELL_SHARED", "PYTEST_ADDOPTS")
    environment = {name: value for name, value in inherited if name not in unset}
    result = subprocess.run(
        [sys.executable, "-m", "pytest", "-s", "-rs", "-p", "no:cacheprovider", *options],
        cwd=tests.parent,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert set(re.findall(r"ran (\w+)", result.stdout)) == ran
    assert (f"{folder} does not exist" in result.stdout) == (not shared)
