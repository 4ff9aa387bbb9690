from __future__ import annotations

import subprocess
import sys
from types import SimpleNamespace

import pytest

from showtell.files.peak_memory import peak_memory

MIB = 2**20


def test_peak_memory_is_in_bytes_and_keeps_what_was_freed() -> None:
    code = (
        "from showtell.files.peak_memory import peak_memory\n"
        "block = b'x' * (400 << 20)\n"
        "del block\n"
        "print(peak_memory())\n"
    )
    output = subprocess.check_output([sys.executable, "-c", code], text=True)
    assert 400 * MIB < int(output) < 600 * MIB


@pytest.mark.skipif(sys.platform != "linux", reason="other systems count a process by itself")
def test_peak_memory_of_a_large_parent_is_not_counted() -> None:
    parent = (
        "import subprocess, sys\n"
        "block = b'x' * (400 << 20)\n"
        "code = 'from showtell.files.peak_memory import peak_memory; print(peak_memory())'\n"
        "print(subprocess.check_output([sys.executable, '-c', code], text=True))\n"
    )
    output = subprocess.check_output([sys.executable, "-c", parent], text=True)
    assert int(output) < 200 * MIB


@pytest.mark.skipif(sys.platform == "win32", reason="resource is a module of POSIX")
@pytest.mark.parametrize(("platform", "expected"), [("freebsd", 300 * MIB), ("darwin", 300 * 1024)])
def test_unit_of_the_system_is_converted_to_bytes(
    monkeypatch: pytest.MonkeyPatch, platform: str, expected: int
) -> None:
    import resource

    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr(resource, "getrusage", lambda who: SimpleNamespace(ru_maxrss=300 * 1024))
    assert peak_memory() == expected
