"""The layout of the package: import contracts, light imports, one meaning per public name."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest

from support.light_install import LIGHT_PACKAGES, needs_an_extra
from support.paths import ROOT, SOURCE, TESTS

pytestmark = pytest.mark.extras

ROOT_MODULES = {
    "caption",
    "captioner",
    "doctor",
    "errors",
    "explain",
    "image",
    "pipeline",
    "vocabulary",
}
MAY_REPEAT = {"main"}  # the entry points of two processes: the command line and a server worker


def test_the_import_contracts_hold() -> None:
    contracts = subprocess.run(
        [Path(sys.executable).parent / "lint-imports", "--no-cache"],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
    )
    assert contracts.returncode == 0, contracts.stdout + contracts.stderr


def test_the_package_root_holds_at_most_ten_modules() -> None:
    modules = {path.stem for path in SOURCE.glob("*.py")} - {"__init__", "__main__"}
    assert modules <= ROOT_MODULES
    assert len(ROOT_MODULES) <= 10


def test_modules_that_need_no_extra_import_in_the_light_install() -> None:
    """One process imports them all, and can import nothing but the light install."""
    modules = []
    for path in sorted(SOURCE.rglob("*.py")):
        name = ".".join(path.relative_to(SOURCE).with_suffix("").parts).removesuffix(".__init__")
        if path.name not in ("__init__.py", "__main__.py") and not needs_an_extra(name):
            modules.append(f"showtell.{name}")
    assert len(modules) > 100
    code = f"""
import importlib, sys

class LightInstall:
    def find_spec(self, name, path=None, target=None):
        package = name.partition(".")[0]
        if package not in sys.stdlib_module_names and package not in {LIGHT_PACKAGES!r}:
            raise ModuleNotFoundError(f"{{name}} is not in the light install", name=name)

sys.meta_path.insert(0, LightInstall())
for module in {modules!r}:
    importlib.import_module(module)
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


def test_test_modules_import_nothing_from_each_other() -> None:
    names = {path.stem for path in TESTS.rglob("test_*.py")} | {"conftest"}
    for path in TESTS.rglob("*.py"):
        text = path.read_text("utf-8")
        imported = re.findall(r"^\s*(?:from|import) ([\w.]+)", text, re.MULTILINE)
        assert not {part for name in imported for part in name.split(".")} & names, path


def test_a_public_name_is_defined_in_one_module() -> None:
    modules = defaultdict(list)
    for path in sorted(SOURCE.rglob("*.py")):
        for node in ast.parse(path.read_text("utf-8")).body:
            if (name := public_name(node)) is not None:
                modules[name].append(str(path.relative_to(SOURCE)))
    repeated = {name: paths for name, paths in modules.items() if len(paths) > 1}
    assert set(repeated) == MAY_REPEAT, repeated


def public_name(node: ast.stmt) -> str | None:
    """Return the name that a class or function statement defines, unless it is private.

    The functions of click commands have none: they are named after the command, and only
    click calls them.
    """
    if not isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
        return None
    decorators = [ast.unparse(decorator) for decorator in node.decorator_list]
    is_command = any(".command(" in decorator for decorator in decorators)
    return None if node.name.startswith("_") or is_command else node.name
