"""Where showtell keeps its caches."""

from __future__ import annotations

from pathlib import Path

import pytest

from showtell.files.folders import cache_dir, pulled_models_dir


def test_cache_is_where_the_variable_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOWTELL_CACHE", str(tmp_path / "here"))
    assert cache_dir() == tmp_path / "here"
    assert pulled_models_dir() == tmp_path / "here" / "models"
    assert not cache_dir().exists()


def test_relative_cache_is_made_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOWTELL_CACHE", "here")
    monkeypatch.chdir(tmp_path)
    assert cache_dir() == tmp_path / "here"


def test_cache_follows_the_platform_without_the_variable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SHOWTELL_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr("sys.platform", "linux")
    assert cache_dir() == tmp_path / "showtell"
