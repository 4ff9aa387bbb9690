from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from support.odd_photos import corners
from support.paths import ROOT
from support.tiny_bundles import write_bundle


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
    assert notes.startswith("showtell: site/notes.txt: unknown format: its suffix is none of .html")
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


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return os.fspath(write_bundle(tmp_path_factory.mktemp("models") / "tiny").path)


@pytest.fixture
def photo_page(site: Path) -> Path:
    corners(40, 40).save(site / "dog.jpg")
    page = site / "index.html"
    page.write_bytes(b'<img src="/dog.jpg">\r\n<img src=gone.png>')
    return page


def test_suggestions_have_a_confidence_and_are_fixes_in_sarif(photo_page: Path, model: str) -> None:
    site = photo_page.parent
    options = ("--model", model, "--root", site)
    done = showtell_alt("suggest", photo_page, *options, "--format", "jsonl", cwd=site)
    assert (done.returncode, done.stderr) == (0, "2 findings\n")
    dog, gone = (json.loads(line) for line in done.stdout.splitlines())
    assert dog["image"] == os.fspath(site / "dog.jpg")
    assert dog["suggestion"]
    assert (gone["suggestion"], gone["reason"]) == (None, "no such file")
    done = showtell_alt("suggest", photo_page, *options, cwd=site)
    assert done.stdout.splitlines()[1].startswith(f"    {dog['suggestion']}")
    assert done.stdout.splitlines()[3] == "    no suggestion: no such file"
    done = showtell_alt("suggest", photo_page, *options, "--format", "sarif", cwd=site)
    first, second = json.loads(done.stdout)["runs"][0]["results"]
    [replacement] = first["fixes"][0]["artifactChanges"][0]["replacements"]
    assert replacement["insertedContent"]["text"] == f' alt="{dog["suggestion"]}"'
    assert replacement["deletedRegion"]["startColumn"] == 20
    assert "fixes" not in second


def test_texts_are_written_after_a_plan_and_undone(photo_page: Path, model: str) -> None:
    site, old = photo_page.parent, photo_page.read_bytes()
    options = ("--model", model, "--min-confidence", "0", "--journal", site / "undo")
    plan = "To write: 1 text into 1 document. To skip: 1 without an image to caption"
    done = showtell_alt("write", photo_page, *options, "--dry-run", cwd=site)
    assert (done.returncode, done.stderr) == (0, f"{plan}\n")
    assert photo_page.read_bytes() == old
    done = showtell_alt("write", photo_page, *options, cwd=site)
    assert done.stderr.splitlines() == [plan, "1 text written into 1 document, 0 failed"]
    text = done.stdout.splitlines()[0].partition(": ")[2]
    text = text.partition("  [")[0]
    assert photo_page.read_bytes() == old.replace(b'.jpg">', f'.jpg" alt="{text}">'.encode())
    done = showtell_alt("undo", "--journal", site / "undo", cwd=site)
    assert (done.returncode, done.stdout) == (0, "1 document restored, 0 left alone, 0 failed\n")
    assert photo_page.read_bytes() == old
    done = showtell_alt("undo", "--journal", site / "undo", cwd=site)
    assert (done.returncode, done.stderr) == (
        1,
        "showtell: nothing to undo: no run has written texts, or all are undone\n",
    )


def test_a_missing_extra_is_named(tmp_path: Path) -> None:
    (tmp_path / "page.md").write_text("![](dog.jpg)")
    code = (
        "import sys; sys.modules['markdown_it'] = None\n"
        "from showtell.cli import main; main(['alt', 'check', 'page.md'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path
    )
    assert (done.returncode, done.stderr) == (
        1,
        "showtell: reading Markdown needs the extra 'alt':"
        ' pip install ".[alt]" in a clone of showtell\n',
    )


def test_the_hook_has_the_packages_of_the_extra() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    hook = (ROOT / ".pre-commit-hooks.yaml").read_text()
    for package in project["optional-dependencies"]["alt"]:
        assert f'"{package}"' in hook
    assert "entry: showtell alt check" in hook
