"""The release: what is built is what is tried, and what is tried is what is published."""

from __future__ import annotations

import os
import re
import subprocess

import yaml

from support.paths import ROOT

SCRIPT = ROOT / ".ci" / "release"


def test_a_release_is_tried_in_fresh_environments_before_it_is_published() -> None:
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "release.yml").read_text("utf-8"))
    jobs = workflow["jobs"]
    assert any(step.get("run") == ".ci/release" for step in jobs["build"]["steps"])
    assert jobs["publish"]["needs"] == "build"
    assert "refs/tags/v" in jobs["publish"]["if"]
    assert workflow["permissions"] == {"contents": "read"}
    assert os.access(SCRIPT, os.X_OK)
    assert subprocess.run(["bash", "-n", SCRIPT], check=False).returncode == 0


def test_the_version_that_the_release_script_reads_is_the_package_s() -> None:
    from showtell import __version__

    expression = re.search(r"sed -n '([^']+)'", SCRIPT.read_text("utf-8"))
    assert expression is not None
    source = ROOT / "src" / "showtell" / "__init__.py"
    done = subprocess.run(
        ["sed", "-n", expression[1], source], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == __version__


def test_issue_forms_have_what_github_asks_of_them() -> None:
    forms = sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml"))
    forms = [form for form in forms if form.name != "config.yml"]
    assert len(forms) == 3
    for form in forms:
        data = yaml.safe_load(form.read_text("utf-8"))
        assert {"name", "description", "body"} <= set(data), form.name
        for part in data["body"]:
            assert part["type"] in ("textarea", "input")
            assert part["attributes"]["label"]
