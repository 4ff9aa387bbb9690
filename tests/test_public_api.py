"""The public API: what `showtell` and its documented folders offer, and how fast it imports."""

from __future__ import annotations

import importlib
import pkgutil
import re
import subprocess
import sys
from types import ModuleType

import pytest

import showtell
from support.paths import ROOT

PUBLIC = [
    "Alternative",
    "BundleError",
    "Caption",
    "Captioner",
    "CatalogueError",
    "DatasetError",
    "DocumentError",
    "ExportError",
    "Keyword",
    "MetadataError",
    "MissingExtraError",
    "Photo",
    "PhotoError",
    "RecipeError",
    "ShowtellError",
    "Strategy",
    "TrainingError",
    "Word",
    "__version__",
]
# folders whose names are documented, with the names that they export
FOLDERS = ["showtell.bundle", "showtell.client", "showtell.data", "showtell.export"]
DOCUMENTED = re.findall(
    r"^\.\. auto(?:class|function|exception):: (\S+)$",
    (ROOT / "docs" / "python.md").read_text("utf-8"),
    re.MULTILINE,
)


def load(module: str) -> ModuleType:
    try:
        return importlib.import_module(module)
    except (ImportError, showtell.MissingExtraError) as error:
        pytest.skip(f"{module} needs an extra: {error}")


def test_the_package_exports_these_names_and_no_others() -> None:
    assert showtell.__all__ == PUBLIC
    for name in PUBLIC:
        assert getattr(showtell, name) is not None
    modules = {module.name for module in pkgutil.iter_modules(showtell.__path__)}
    helpers = {"TYPE_CHECKING", "Any", "annotations", "importlib", "os"}
    public = {name for name in vars(showtell) if not name.startswith("_")}
    assert public - modules - helpers <= set(PUBLIC)


def test_every_public_error_is_one_of_showtells() -> None:
    for name in PUBLIC:
        if name.endswith("Error"):
            assert issubclass(getattr(showtell, name), showtell.ShowtellError)


@pytest.mark.parametrize("folder", FOLDERS)
def test_documented_folders_list_their_names(folder: str) -> None:
    module = load(folder)
    assert module.__all__ == sorted(module.__all__, key=lambda name: (not name.isupper(), name))
    for name in module.__all__:
        assert hasattr(module, name), name


@pytest.mark.parametrize("name", DOCUMENTED)
def test_documented_names_exist_and_are_public(name: str) -> None:
    path, _, attribute = name.rpartition(".")
    module = load(path)
    assert hasattr(module, attribute)
    assert not any(part.startswith("_") for part in name.split("."))
    assert attribute in getattr(module, "__all__", [attribute])


def test_importing_showtell_is_instant() -> None:
    code = (
        "import sys, showtell; heavy = {'numpy', 'PIL', 'onnxruntime', 'click', 'torch'};"
        "print(sorted(heavy & set(sys.modules)));"
        "showtell.Captioner; print('torch' in sys.modules, 'onnxruntime' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[:2] == ["[]", "False False"]
