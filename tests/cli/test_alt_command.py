from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest


def showtell_alt(*arguments: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "showtell", "alt", *map(os.fspath, arguments)],  # type: ignore[arg-type]
        capture_output=True,
        text=True,
        timeout=300,
        cwd=cwd,
    )


@pytest.fixture
def site(tmp_path: Path) -> Path:
    folder = tmp_path / "site"
    (folder / "sub").mkdir(parents=True)
    (folder / "index.html").write_text('<p>é<img src="dog.jpg">\n<img src=a.png alt="A cat">')
    (folder / "sub" / "page.html").write_text('<a href="x,y"><img src="100%.png" alt=""></a>')
    (folder / "notes.txt").write_text("<img src=a.png>")
    return folder


def test_findings_have_path_line_column_and_rule(site: Path) -> None:
    done = showtell_alt("check", "site", cwd=site.parent)
    assert done.returncode == 1
    assert done.stdout.splitlines() == [
        "site/index.html:1:5: missing-alt: image without alternative text (dog.jpg)",
        "site/sub/page.html:1:15: linked-image: the link to x,y has no text but that of this"
        " image (100%.png)",
    ]
    assert done.stderr == "2 findings in 3 images of 2 documents\n"


def test_documents_without_findings_exit_with_0(site: Path) -> None:
    rules = ("--ignore", "linked-image", "--ignore", "missing-alt")
    done = showtell_alt("check", "site", *rules, cwd=site.parent)
    assert (done.returncode, done.stdout) == (0, "")
    done = showtell_alt("check", "site", "--exclude", "sub", "--exclude", "index*", cwd=site.parent)
    assert (done.returncode, done.stderr) == (0, "0 findings in 0 images of 0 documents\n")


def test_formats_for_programs(site: Path) -> None:
    done = showtell_alt("check", "site", "--format", "github", cwd=site.parent)
    assert done.stdout.splitlines() == [
        "::error file=site/index.html,line=1,col=5,title=missing-alt::image without alternative"
        " text",
        "::error file=site/sub/page.html,line=1,col=15,title=linked-image::the link to x,y has no"
        " text but that of this image",
    ]
    showtell_alt("check", "site", "--output", "found.jsonl", cwd=site.parent)
    records = [json.loads(line) for line in (site.parent / "found.jsonl").read_text().splitlines()]
    assert records[0] == {
        "path": "site/index.html",
        "line": 1,
        "column": 5,
        "rule": "missing-alt",
        "level": "error",
        "message": "image without alternative text",
        "source": "dog.jpg",
        "alt": None,
    }


def test_sarif_names_rules_and_regions(site: Path) -> None:
    showtell_alt("check", "site", "--output", "found.sarif", cwd=site.parent)
    log = json.loads((site.parent / "found.sarif").read_text())
    assert log["version"] == "2.1.0"
    [run] = log["runs"]
    first, second = run["results"]
    rule = run["tool"]["driver"]["rules"][first["ruleIndex"]]
    assert rule["id"] == first["ruleId"] == "missing-alt"
    assert rule["helpUri"].startswith("https://")
    location = second["locations"][0]["physicalLocation"]
    assert location["artifactLocation"]["uri"] == "site/sub/page.html"
    assert location["region"] == {
        "startLine": 1,
        "startColumn": 15,
        "endLine": 1,
        "endColumn": 42,
    }


def test_unreadable_documents_and_other_files_are_named(site: Path) -> None:
    (site / "binary.html").write_bytes(b"\0\0")
    done = showtell_alt("check", "site/binary.html", "site/notes.txt", cwd=site.parent)
    assert done.returncode == 1
    binary, notes, summary = done.stderr.splitlines()
    assert binary == "showtell: site/binary.html: a binary file, not a text"
    assert notes.startswith("showtell: site/notes.txt: not a document: .html .htm")
    assert summary == "0 findings in 0 images of 0 documents"


def test_check_loads_no_model(site: Path) -> None:
    code = (
        "import sys; from showtell.cli import main\n"
        "try: main(['alt', 'check', 'site'])\n"
        "finally: print({'onnxruntime', 'showtell.bundle'}.intersection(sys.modules) or 'none')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=site.parent
    )
    assert done.stdout.splitlines()[-1] == "none"


def test_wrong_usage_exits_with_2(site: Path) -> None:
    assert showtell_alt("check", cwd=site).returncode == 2
    assert showtell_alt("check", "gone", cwd=site).returncode == 2
    assert showtell_alt("check", ".", "--ignore", "no-rule", cwd=site).returncode == 2
