"""A new environment with only the extra `serve`, like the container image, serves a photo."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from support.paths import ROOT, SAMPLE_PHOTOS

EXAMPLE = SAMPLE_PHOTOS / "horses.jpg"
CLIENT_SCRIPT = """
import importlib.util, json, sys
from showtell.client import Client
with Client(sys.argv[1]) as client:
    print(json.dumps({
        "text": client.caption(sys.argv[2]).text, "ready": client.ready(),
        "heavy": [name for name in ("torch", "timm", "pytest") if importlib.util.find_spec(name)],
    }))
"""


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_environment_with_only_the_serve_extra_serves_a_photo(tmp_path: Path) -> None:
    source, environment = tmp_path / "source", tmp_path / "environment"
    _copy_files_of_the_image(source)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", environment], check=True)
    subprocess.run(
        [
            sys.executable,
            "-m",
            "pip",
            "--python",
            environment,
            "install",
            "--quiet",
            "--disable-pip-version-check",
            f"{source}[serve]",
        ],
        check=True,
        timeout=1200,
    )
    programs = environment / ("Scripts" if os.name == "nt" else "bin")
    variables = {"PATH": os.environ["PATH"], "HOME": str(tmp_path / "home")}
    with subprocess.Popen(
        [programs / "showtell", "serve", "--port", "0"],
        cwd=tmp_path,
        env=variables,
        stderr=subprocess.PIPE,
        text=True,
    ) as service:
        try:
            assert service.stderr is not None
            line = service.stderr.readline()
            assert line.startswith("Listening on http://"), line + service.stderr.read()
            url = line.removeprefix("Listening on ").strip()
            process = subprocess.run(
                [programs / "python", "-c", CLIENT_SCRIPT, url, EXAMPLE],
                cwd=tmp_path,
                env=variables,
                capture_output=True,
                text=True,
                check=False,
            )
        finally:
            service.terminate()
    assert process.returncode == 0, process.stderr
    answer = json.loads(process.stdout)
    assert len(answer["text"].split()) > 2
    assert (answer["ready"], answer["heavy"]) == (True, [])
    assert service.returncode == 0


def _copy_files_of_the_image(target: Path) -> None:
    """Copy the files that `Dockerfile.dockerignore` lets through."""
    ignore = (ROOT / "deploy" / "Dockerfile.dockerignore").read_text("utf-8").splitlines()
    target.mkdir()
    for name in (line[1:] for line in ignore if line.startswith("!")):
        path = ROOT / name
        if path.is_dir():
            shutil.copytree(path, target / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(path, target / name)
