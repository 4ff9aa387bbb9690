"""What the light install (`pip install showtell`, without extras) can import."""

from __future__ import annotations

import ast
import sys
from functools import cache
from pathlib import Path

from support.paths import TESTS

# Top-level packages of the light install, beside the standard library.
LIGHT_PACKAGES = {
    "click",
    "filelock",
    "flatbuffers",
    "google",
    "numpy",
    "onnxruntime",
    "packaging",
    "PIL",
    "platformdirs",
    "showtell",
    "tqdm",
}
# Modules of showtell that import a package of an extra.
NEED_AN_EXTRA = (
    "alt.markdown_images",
    "alt.notebook_images",
    "alt.rst_images",
    "bundle.onnx_weights",
    "client",
    "cluster.job",
    "cluster.ray_cluster",
    "export",
    "nets",
    "server",
    "training",
)
# Test folders of parts that work with an extra only.
FOLDERS_OF_EXTRAS = ("client", "cluster", "export", "nets", "scoring", "server", "training")
# Packages in .ci/light-requirements.txt.
TEST_PACKAGES = {"hypothesis", "onnx", "psutil", "pytest", "yaml"}


def needs_an_extra(module: str) -> bool:
    """Return whether a module of showtell, such as `showtell.nets.encoder`, needs an extra."""
    name = module.removeprefix("showtell.")
    return any(name == prefix or name.startswith(f"{prefix}.") for prefix in NEED_AN_EXTRA)


def runs_in_the_light_install(path: Path) -> bool:
    """Return whether a test module or conftest, with its support, imports only the light install.

    Imports inside functions do not count.
    """
    if path.is_relative_to(TESTS) and path.relative_to(TESTS).parts[0] in FOLDERS_OF_EXTRAS:
        return False
    return all(_is_light(module) for module in _imported_modules(path))


@cache
def _imported_modules(path: Path) -> frozenset[str]:
    modules = set()
    for node in ast.parse(path.read_text("utf-8")).body:
        if isinstance(node, ast.Import):
            modules.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            modules.update([node.module, *(f"{node.module}.{alias.name}" for alias in node.names)])
    for module in list(modules):
        support = TESTS.joinpath(*module.split(".")).with_suffix(".py")
        if module.startswith("support.") and support.is_file():
            modules.update(_imported_modules(support))
    return frozenset(modules)


def _is_light(module: str) -> bool:
    package = module.partition(".")[0]
    if package == "showtell":
        return not needs_an_extra(module)
    allowed = LIGHT_PACKAGES | TEST_PACKAGES | {"support"}
    return package in sys.stdlib_module_names or package in allowed
