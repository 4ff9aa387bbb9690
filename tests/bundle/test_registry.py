"""Finding a model: by name, by folder, by environment, and saying what is wrong when not."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from showtell.bundle import registry
from showtell.bundle.registry import DEFAULT_MODEL, find_bundle, installed_models, remove_model
from showtell.cli.model_option import resolve_model
from showtell.errors import BundleError
from showtell.files.folders import pulled_models_dir
from support.dummy_bundles import write_dummy_bundle


@pytest.fixture(autouse=True)
def shelves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package with one shipped model and a cache with one pulled model."""
    monkeypatch.setenv("SHOWTELL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(registry, "shipped_models_dir", lambda: tmp_path / "shipped")
    write_dummy_bundle(tmp_path / "shipped" / DEFAULT_MODEL)
    write_dummy_bundle(tmp_path / "cache" / "models" / "birds")
    return tmp_path


def test_the_default_is_the_shipped_model_of_that_name(shelves: Path) -> None:
    assert find_bundle() == shelves / "shipped" / DEFAULT_MODEL


def test_variable_overrides_the_default(shelves: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOWTELL_MODEL", "birds")
    assert find_bundle() == shelves / "cache" / "models" / "birds"
    assert find_bundle(DEFAULT_MODEL) == shelves / "shipped" / DEFAULT_MODEL


def test_error_of_the_variable_names_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOWTELL_MODEL", "bird")
    with pytest.raises(BundleError, match=r"'bird'.*\$SHOWTELL_MODEL"):
        find_bundle()


@pytest.mark.parametrize("kind", [str, Path])
def test_bundle_folder_is_itself(shelves: Path, kind: type) -> None:
    folder = write_dummy_bundle(shelves / "mine")
    assert find_bundle(kind(folder)) == folder


def test_known_name_wins_over_a_folder_of_that_name_and_a_path_does_not(
    shelves: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_dummy_bundle(shelves / "here" / "birds")
    monkeypatch.chdir(shelves / "here")
    assert find_bundle("birds") == shelves / "cache" / "models" / "birds"
    assert find_bundle("./birds") == Path("birds")
    assert find_bundle(Path("birds")) == Path("birds")


def test_unknown_name_lists_the_known_ones_and_the_nearest() -> None:
    with pytest.raises(BundleError, match=r"'genera': did you mean general\? .*general, birds"):
        find_bundle("genera")


def test_name_near_nothing_gets_no_guess() -> None:
    with pytest.raises(BundleError, match="name is empty: give a folder, or one of general"):
        find_bundle("")
    with pytest.raises(BundleError, match="no model named 'zzz': installed: general, birds"):
        find_bundle("zzz")


def test_folder_that_is_no_model_says_what_it_lacks(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(BundleError, match=r"empty: .*no manifest\.json.*no run\.json"):
        find_bundle(tmp_path / "empty")


def test_path_that_does_not_exist_is_no_name(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="no such folder"):
        find_bundle(str(tmp_path / "gone"))


def test_file_is_no_model(tmp_path: Path) -> None:
    (tmp_path / "model.zip").write_bytes(b"")
    with pytest.raises(BundleError, match="a file, not a model"):
        find_bundle(tmp_path / "model.zip")


@pytest.mark.parametrize("name", ["../cache/models/birds/../birds", "..", "", "a/b", "birds\0"])
def test_name_never_reaches_out_of_the_shelves(
    shelves: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    (shelves / "elsewhere").mkdir()
    monkeypatch.chdir(shelves / "elsewhere")
    if name.startswith("../cache"):  # an honest relative path
        assert find_bundle(name).samefile(shelves / "cache" / "models" / "birds")
        return
    with pytest.raises(BundleError):
        find_bundle(name)


def test_run_folder_is_refused_and_exported_by_commands(
    shelves: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = shelves / "run"
    run.mkdir()
    (run / "run.json").write_text("{}")
    with pytest.raises(BundleError, match=r"a training run.*export it first with `showtell export"):
        find_bundle(run)
    exported = type(sys)("showtell.export")
    exported.cached_bundle = lambda path: path / "exported"
    monkeypatch.setitem(sys.modules, "showtell.export", exported)
    assert resolve_model(str(run)) == str(run / "exported")
    assert resolve_model("birds") == "birds"
    assert resolve_model(None) is None
    monkeypatch.setenv("SHOWTELL_MODEL", str(run))
    assert resolve_model(None) == str(run / "exported")


def test_missing_shipped_model_says_how_to_get_it_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "shipped_models_dir", lambda: tmp_path / "nowhere")
    with pytest.raises(BundleError, match="install showtell again"):
        find_bundle()


def test_installed_models_are_the_shipped_then_the_pulled(shelves: Path) -> None:
    write_dummy_bundle(pulled_models_dir() / DEFAULT_MODEL)  # hidden by the shipped one
    (pulled_models_dir() / ".pulled.xyz").mkdir()
    (pulled_models_dir() / "half").mkdir()
    assert [(model.name, model.shipped) for model in installed_models()] == [
        (DEFAULT_MODEL, True),
        ("birds", False),
    ]


def test_only_pulled_models_are_removed(shelves: Path) -> None:
    remove_model("birds")
    assert [model.name for model in installed_models()] == [DEFAULT_MODEL]
    assert list(pulled_models_dir().iterdir()) == []
    with pytest.raises(BundleError, match="ships with showtell"):
        remove_model(DEFAULT_MODEL)
    with pytest.raises(BundleError, match="no model named 'birds'"):
        remove_model("birds")
    assert find_bundle().is_dir()


def test_finding_a_model_loads_nothing_of_the_network() -> None:
    code = (
        "import sys, showtell.bundle.registry as m\n"
        "try: m.find_bundle('general')\n"
        "except Exception: pass\n"
        "heavy = {'urllib.request', 'http.client', 'tarfile', 'zipfile', 'ssl', 'torch'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_pipe_in_place_of_the_origin_does_not_block_the_list_of_models() -> None:
    write_dummy_bundle(pulled_models_dir() / "mine")
    os.mkfifo(pulled_models_dir() / "mine" / registry.ORIGIN)
    [mine] = [model for model in installed_models() if model.name == "mine"]
    assert registry.origin(mine) is None
