"""docs/serving.md: its commands run with a real service, and its tables match the code."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import click
import httpx
import pytest

from showtell.cli.serve import serve
from support.documentation import Block, blocks_of
from support.paths import DOCS, EXAMPLES, ROOT
from support.running_service import RunningService

PAGE = DOCS / "serving.md"
TEXT = PAGE.read_text("utf-8")
ADDRESS = "http://127.0.0.1:8000"
CURL = [block for block in blocks_of(PAGE) if block.language == "sh" and "curl" in block.text]
PYTHON = [block for block in blocks_of(PAGE) if block.language == "python"]
WITH_KEY = "$SHOWTELL_API_KEY"
needs_curl = pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    shutil.copytree(EXAMPLES, tmp_path / "examples")
    return tmp_path


def run(block: Block, url: str, folder: Path, **environment: str) -> str:
    text = block.text.replace(ADDRESS, url)
    assert url in text
    command = [sys.executable, "-c", text]
    if block.language == "sh":
        command = ["bash", "-euo", "pipefail", "-c", text]
    process = subprocess.run(
        command,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=300,
        env=os.environ | environment,
    )
    assert process.returncode == 0, f"{block.text}\n{process.stdout}\n{process.stderr}"
    return process.stdout


def block_with(text: str) -> Block:
    return next(block for block in CURL if text in block.text)


def table(heading: str) -> dict[str, list[str]]:
    """The rows of the first table below a heading, keyed by their first cell."""
    text = TEXT.partition(f"\n{heading}\n")[2]
    rows = re.search(r"^\|[^\n]+\n\|[-|]+\n((?:\|[^\n]+\n)+)", text, re.MULTILINE)
    assert rows is not None
    cells = [[cell.strip() for cell in row.strip("|").split("|")] for row in rows[1].splitlines()]
    return {row[0]: row[1:] for row in cells}


@needs_curl
@pytest.mark.parametrize(
    "block", [block for block in CURL if WITH_KEY not in block.text], ids=lambda b: b.text[:50]
)
def test_curl_commands_work(block: Block, service: RunningService, folder: Path) -> None:
    run(block, service.url, folder)


@needs_curl
def test_curl_command_with_a_key_needs_the_right_key(
    keyed_service: RunningService, folder: Path
) -> None:
    block = block_with(WITH_KEY)
    record = json.loads(
        run(block, keyed_service.url, folder, SHOWTELL_API_KEY=keyed_service.key or "")
    )
    assert record["text"]
    with pytest.raises(AssertionError, match="401"):
        run(block, keyed_service.url, folder, SHOWTELL_API_KEY="not-the-key")


@needs_curl
def test_responses_are_as_documented(service: RunningService, folder: Path) -> None:
    shown = json.loads(re.search(r"```json\n(.*?)```", TEXT, re.DOTALL)[1])
    record = json.loads(run(block_with("polar-bear.jpg http"), service.url, folder))
    assert record.keys() == shown.keys()
    # The rest of the sentence varies between machines ("in a field", "on a field").
    assert record["text"].split()[:7] == shown["text"].split()[:7]
    many = json.loads(run(block_with("-F photos"), service.url, folder))
    assert [caption["path"] for caption in many["captions"]] == ["polar-bear.jpg", "heron.jpg"]
    with_options = json.loads(run(block_with("nbest=3"), service.url, folder))
    assert len(with_options["alternatives"]) == 2
    assert with_options["words"]
    problem = json.loads(run(block_with("README.md"), service.url, folder))
    assert (problem["status"], "type" in problem) == (422, True)


@pytest.mark.parametrize("block", PYTHON, ids=lambda b: b.text[:30])
def test_python_blocks_work(block: Block, service: RunningService, folder: Path) -> None:
    output = run(block, service.url, folder)
    assert len(output.splitlines()) == 1 + len(list((folder / "examples").glob("*.jpg")))


def test_documented_paths_and_errors_match_the_api(service: RunningService) -> None:
    api = httpx.get(f"{service.url}/openapi.json", timeout=300).json()
    described = {
        f"{method.upper()} {path}" for path, methods in api["paths"].items() for method in methods
    }
    listed = {re.search(r"`(.*)`", cell)[1] for cell in table("## The API")}
    assert described <= listed
    assert listed - described <= {"GET /openapi.json", "GET /metrics"}
    statuses = api["paths"]["/v1/captions"]["post"]["responses"]
    # this service has no key and no rate limit, and no route answers 404 or 405
    assert set(table("### Errors")) - set(statuses) == {"401", "404", "405", "429"}
    assert set(statuses) - set(table("### Errors")) == {"200"}


def test_documented_defaults_match_the_options() -> None:
    options = {
        name: option
        for option in serve.params
        if isinstance(option, click.Option)
        for name in option.opts
    }
    rows = table("## Options")
    assert len(rows) > 8
    for cell, (default, _) in rows.items():
        names = re.findall(r"`(--[\w-]+)`", cell)
        for name, value in zip(names, default.split(", "), strict=True):
            if re.fullmatch(r"[\d.,]+", value):  # other defaults depend on the machine
                assert float(value.replace(",", "")) == options[name].default, name
    for name in re.findall(r"`(--[\w-]+)`", TEXT):
        assert name in options, name


def test_documented_metrics_match_the_service(service: RunningService) -> None:
    text = httpx.get(f"{service.url}/metrics", timeout=300).text
    families = set(re.findall(r"^# TYPE (showtell_\w+)", text, re.MULTILINE))
    families = {name for name in families if not name.endswith("_created")}
    listed = set(re.findall(r"`(showtell_\w+)`", "".join(table("## Metrics"))))
    assert listed <= families
    assert families - listed <= {"showtell_open_requests", "showtell_upload_bytes"}


def test_documented_exposure_of_the_unit_is_true() -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed")
    process = subprocess.run(
        [
            "systemd-analyze",
            "security",
            "--offline=true",
            "--no-pager",
            ROOT / "deploy" / "showtell.service",
        ],
        capture_output=True,
        text=True,
    )
    match = re.search(r"exposure level for \S+: ([\d.]+)", process.stdout)
    if match is None:
        pytest.skip("this systemd cannot check a unit that is not installed")
    assert float(match[1]) <= float(re.search(r"gives it ([\d.]+)", TEXT)[1])
