"""`showtell train`: the message for a missing extra, and only for that."""

from __future__ import annotations

import sys

import pytest
from click.testing import CliRunner

from showtell.cli.train import train
from showtell.errors import MissingExtraError

ARGUMENTS = ["flickr8k", "--data", "data", "--output", "run"]


def hide_module(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Make a module look as if it were not installed, and training as if it were not imported."""
    for loaded in list(sys.modules):
        if loaded.startswith("showtell.training"):
            monkeypatch.delitem(sys.modules, loaded)
    monkeypatch.delitem(sys.modules, "showtell.data.feature_cache", raising=False)

    class Hider:
        def find_spec(self, module: str, *_: object) -> None:
            if module == name:
                raise ModuleNotFoundError(f"No module named '{name}'", name=name)

    monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setattr(sys, "meta_path", [Hider(), *sys.meta_path])


def test_a_missing_package_of_the_extra_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    hide_module(monkeypatch, "yaml")
    error = CliRunner().invoke(train, ARGUMENTS).exception
    assert isinstance(error, MissingExtraError)
    assert error.extra == "train"


@pytest.mark.extras
def test_another_missing_module_is_not_blamed_on_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    hide_module(monkeypatch, "showtell.training.interrupts")
    error = CliRunner().invoke(train, ARGUMENTS).exception
    assert isinstance(error, ModuleNotFoundError)
    hide_module(monkeypatch, "difflib")  # not of the extra
    error = CliRunner().invoke(train, ARGUMENTS).exception
    assert isinstance(error, ModuleNotFoundError)
    assert error.name == "difflib"
