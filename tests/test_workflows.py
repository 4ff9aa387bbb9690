"""The files of CI and GitHub are valid, and agree with pyproject.toml."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from showtell import __version__
from support.light_install import TEST_PACKAGES
from support.paths import ROOT, SOURCE

pytestmark = pytest.mark.extras

CI = ROOT / ".ci"
GITHUB = ROOT / ".github"
FORMS = sorted(
    form for form in (GITHUB / "ISSUE_TEMPLATE").glob("*.yml") if form.name != "config.yml"
)


def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]


def workflow(name: str) -> dict[str, Any]:
    return yaml.safe_load((GITHUB / "workflows" / name).read_text("utf-8"))


def requirements_of(*extras: str) -> dict[str, Requirement]:
    """Return what the given extras, or without any the light install, require, by name."""
    optional = project()["optional-dependencies"]
    lines = [line for extra in extras for line in optional[extra]] or project()["dependencies"]
    requirements = [Requirement(line) for line in lines]
    return {canonicalize_name(item.name): item for item in requirements}


def constraints() -> dict[str, str]:
    lines = (CI / "constraints.txt").read_text("utf-8").splitlines()
    pairs = [line.split("==") for line in lines if not line.startswith("#")]
    return {canonicalize_name(name): version for name, version in pairs}


@pytest.mark.parametrize(
    ("schema", "files"),
    [
        ("github-workflows", sorted((GITHUB / "workflows").glob("*.yml"))),
        ("github-issue-forms", FORMS),
        ("github-issue-config", [GITHUB / "ISSUE_TEMPLATE" / "config.yml"]),
        ("dependabot", [GITHUB / "dependabot.yml"]),
        ("citation-file-format", [ROOT / "CITATION.cff"]),
    ],
)
def test_files_of_github_are_valid(schema: str, files: list[Path]) -> None:
    assert files
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", f"vendor.{schema}"]
    check = subprocess.run([*command, *files], capture_output=True, text=True)
    assert check.returncode == 0, check.stdout + check.stderr


@pytest.mark.parametrize("script", ["run", "lowest", "release"])
def test_ci_scripts_are_executable_and_parse(script: str) -> None:
    assert os.access(CI / script, os.X_OK)
    assert subprocess.run(["bash", "-n", CI / script], check=False).returncode == 0


def test_a_pull_request_is_linted_before_anything_else_runs() -> None:
    jobs = workflow("ci.yml")["jobs"]
    commands = [step.get("run", "") for step in jobs["lint"]["steps"]]
    for command in ("ruff check", "ruff format --check", "codespell", "mypy", "lint-imports"):
        assert command in commands
        assert command in (CI / "run").read_text("utf-8")
    assert {job.get("needs") for name, job in jobs.items() if name != "lint"} == {"lint"}


def test_pull_requests_are_tested_on_every_supported_python_and_system() -> None:
    jobs = workflow("ci.yml")["jobs"]
    prefix = "Programming Language :: Python :: "
    classifiers = [text.removeprefix(prefix) for text in project()["classifiers"]]
    supported = [text for text in classifiers if re.fullmatch(r"3\.\d+", text)]
    assert jobs["newest"]["strategy"]["matrix"]["python"] == supported
    assert jobs["light"]["strategy"]["matrix"]["system"] == ["macos-latest", "windows-latest"]
    assert any(step.get("run") == ".ci/lowest" for step in jobs["lowest"]["steps"])
    assert any(step.get("run") == ".ci/run" for step in jobs["pinned"]["steps"])


def test_constraints_satisfy_the_requirements_and_leave_pytorch_out() -> None:
    pinned = constraints()
    assert not [name for name in pinned if re.match("torch|triton|nvidia|cuda", name)]
    extras = [extra for extra in project()["optional-dependencies"] if extra != "all"]
    required = requirements_of() | requirements_of(*extras)
    for name, requirement in required.items():
        if name != "torch":
            assert requirement.specifier.contains(pinned[name]), requirement


def test_pre_commit_runs_the_versions_of_the_constraints() -> None:
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text("utf-8"))
    versions = {repo["repo"].rpartition("/")[2]: repo["rev"] for repo in config["repos"]}
    pinned = constraints()
    assert versions == {
        "ruff-pre-commit": f"v{pinned['ruff']}",
        "codespell": f"v{pinned['codespell']}",
    }


def test_the_tools_of_the_light_tests_are_required_as_extras_require_them() -> None:
    lines = (CI / "light-requirements.txt").read_text("utf-8").splitlines()
    tools = [Requirement(line) for line in lines if not line.startswith("#")]
    required = requirements_of("train", "dev")
    assert [str(tool) for tool in tools] == [str(required[tool.name.lower()]) for tool in tools]


def test_the_packages_of_the_light_tests_are_those_that_are_installed() -> None:
    lines = (CI / "light-requirements.txt").read_text("utf-8").splitlines()
    names = {Requirement(line).name.lower() for line in lines if not line.startswith("#")}
    assert names - {"pytest-timeout", "pytest-xdist"} == {
        name.replace("yaml", "pyyaml") for name in TEST_PACKAGES
    }


def test_a_release_is_installed_and_tried_before_it_is_published() -> None:
    release = workflow("release.yml")
    jobs = release["jobs"]
    assert any(step.get("run") == ".ci/release" for step in jobs["build"]["steps"])
    assert jobs["publish"]["needs"] == "build"
    assert "refs/tags/v" in jobs["publish"]["if"]
    assert release["permissions"] == {"contents": "read"}


def test_the_release_script_reads_the_version_of_the_package() -> None:
    expression = re.search(r"sed -n '([^']+)'", (CI / "release").read_text("utf-8"))
    assert expression is not None
    command = ["sed", "-n", expression[1], SOURCE / "__init__.py"]
    sed = subprocess.run(command, capture_output=True, text=True, check=True)
    assert sed.stdout.strip() == __version__


def test_the_citation_names_the_version_of_the_package() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))
    assert citation["version"] == __version__
    assert citation["repository-code"] == project()["urls"]["Repository"]
