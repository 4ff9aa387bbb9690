"""Where showtell keeps its caches."""

from __future__ import annotations

from pathlib import Path

import pytest

from showtell.files.folders import NoHomeError, cache_dir, catalogue_file, pulled_models_dir


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


@pytest.mark.parametrize("folder", ["~/.cache/showtell", None])
def test_user_without_a_home_gets_no_folder_in_the_current_one(
    monkeypatch: pytest.MonkeyPatch, folder: str | None
) -> None:
    """Without a home some versions of platformdirs raise, and others return a relative path."""

    def platform_folder(*_: object, **__: object) -> Path:
        if folder is None:
            raise RuntimeError("could not determine the home directory")
        return Path(folder)

    monkeypatch.delenv("SHOWTELL_CACHE")
    monkeypatch.setattr("platformdirs.user_cache_path", platform_folder)
    monkeypatch.setattr("platformdirs.user_data_path", platform_folder)
    with pytest.raises(NoHomeError, match="set HOME or SHOWTELL_CACHE"):
        cache_dir()
    with pytest.raises(NoHomeError, match="--catalogue"):
        catalogue_file()
