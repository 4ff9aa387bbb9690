"""The files in `deploy/` pass their linters and match the command line and the docs."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from showtell.cli.serve import serve
from showtell.server.settings import MEGABYTE, ServerSettings
from showtell.server.worker_memory import NETWORK_BYTES, PHOTO_BYTES_PER_PIXEL, worker_bytes
from support.paths import ROOT
from support.running_service import RunningService

DEPLOY = ROOT / "deploy"
DOCS = ROOT / "docs" / "serving.md"
DOCKERFILE = DEPLOY / "Dockerfile"
COMPOSE = DEPLOY / "compose.yaml"
UNIT = DEPLOY / "showtell.service"
MAX_EXPOSURE = 15  # of 100, by `systemd-analyze security`; a unit without hardening has 96
needs_systemd = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed"
)


def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        command,
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=300,
        env=os.environ | {"PATH": path},
    )


def instructions(stage: int | None = None) -> list[tuple[str, str]]:
    """The instructions of the Dockerfile, or of one stage, as pairs of keyword and arguments."""
    text = re.sub(r"^#.*\n", "", DOCKERFILE.read_text("utf-8"), flags=re.MULTILINE)
    pairs = [tuple(line.split(None, 1)) for line in text.replace("\\\n", " ").splitlines() if line]
    stages: list[list[tuple[str, str]]] = []
    for word, rest in pairs:
        if word == "FROM":
            stages.append([])
        stages[-1].append((word, rest))
    return stages[stage] if stage is not None else [pair for each in stages for pair in each]


def parse_serve_command(arguments: list[str]) -> click.Context:
    """Parse a `showtell serve` command line as the command itself does."""
    assert arguments[0] == "serve"
    return serve.make_context("showtell serve", arguments[1:])


def test_dockerfile_passes_hadolint() -> None:
    process = run("hadolint", "--no-color", DOCKERFILE)
    assert (process.returncode, process.stdout + process.stderr) == (0, "")


def test_image_runs_as_an_unprivileged_user_and_has_a_health_check() -> None:
    final = instructions(-1)
    words = [word for word, _ in final]
    user = dict(final)["USER"]
    assert re.fullmatch(r"[1-9]\d{3,}:[1-9]\d{3,}", user)
    assert words.index("USER") > max(index for index, word in enumerate(words) if word == "RUN")
    assert "/health" in dict(final)["HEALTHCHECK"]
    assert "pip" not in " ".join(rest for word, rest in final if word != "LABEL")


def test_image_is_built_from_files_of_the_repository() -> None:
    copied = [
        shlex.split(rest)[:-1]
        for word, rest in instructions()
        if word == "COPY" and "--from" not in rest
    ]
    sources = {source for sources in copied for source in sources}
    ignore = (DEPLOY / "Dockerfile.dockerignore").read_text("utf-8").splitlines()
    assert "*" in ignore
    assert sources == {line[1:] for line in ignore if line.startswith("!")}
    for source in sources:
        assert (ROOT / source).exists(), source
    # the build backend needs these
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    files = {name.removesuffix("/*") for name in project["license-files"]}
    assert {"README.md", *files, "pyproject.toml", "src"} <= sources
    extras = re.findall(r'"\.\[([\w,]+)\]"', DOCKERFILE.read_text("utf-8"))
    assert extras
    assert set(extras[0].split(",")) <= set(project["optional-dependencies"])


def test_command_of_the_image_is_valid() -> None:
    final = dict(instructions(-1))
    assert yaml.safe_load(final["ENTRYPOINT"]) == ["showtell"]
    context = parse_serve_command(yaml.safe_load(final["CMD"]))
    assert context.params["host"] == "0.0.0.0"
    assert str(context.params["port"]) == final["EXPOSE"]


def test_health_check_of_the_image_detects_a_dead_service(
    service: RunningService, unused_url: str
) -> None:
    words = yaml.safe_load(dict(instructions(-1))["HEALTHCHECK"].partition("CMD ")[2])
    assert words[0] == "python"
    script = words[2]
    for url, code in ((service.url, 0), (unused_url, 1)):
        process = run(sys.executable, "-c", script.replace("http://127.0.0.1:8000", url))
        assert process.returncode == code, process.stderr


def test_compose_file_is_valid() -> None:
    process = run("check-jsonschema", "--builtin-schema", "vendor.compose-spec", COMPOSE)
    assert process.returncode == 0, process.stdout + process.stderr


def test_compose_file_is_hardened_and_its_command_valid() -> None:
    compose = yaml.safe_load(COMPOSE.read_text("utf-8"))
    service = compose["services"]["showtell"]
    assert (COMPOSE.parent / service["build"]["context"]).resolve() == ROOT
    assert (ROOT / service["build"]["dockerfile"]).is_file()
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert all(port.startswith("127.0.0.1:") for port in service["ports"])
    params = parse_serve_command(service["command"]).params
    assert str(params["api_key_file"]) == "/run/secrets/api-key"
    assert set(service["secrets"]) == set(compose["secrets"])
    [network] = compose["networks"]["default"]["ipam"]["config"]
    assert params["trusted_proxies"] == (network["gateway"],)
    assert int(service["stop_grace_period"].removesuffix("s")) > params["shutdown_timeout"]


def unit_values() -> dict[str, list[str]]:
    values: dict[str, list[str]] = {}
    for line in UNIT.read_text("utf-8").splitlines():
        if line and line[0] not in "#[":
            key, _, value = line.partition("=")
            values.setdefault(key, []).append(value)
    return values


def test_command_of_the_unit_is_valid() -> None:
    [command] = unit_values()["ExecStart"]
    program, *arguments = shlex.split(command)
    assert program.endswith("/bin/showtell")
    params = parse_serve_command(arguments).params
    assert params["host"] == "127.0.0.1"
    [seconds] = unit_values()["TimeoutStopSec"]
    assert int(seconds) > params["shutdown_timeout"]


def bytes_needed(params: dict[str, Any]) -> int:
    """The memory that a service may take, as the docs compute it."""
    megabytes = 250 + params["max_uploads"]
    return megabytes * MEGABYTE + params["workers"] * worker_bytes(params["max_pixels"])


def documented_commands() -> list[str]:
    """The `serve` commands of docs/serving.md in a container and under systemd."""
    text = DOCS.read_text("utf-8").partition("## In a container")[2].replace("\\\n", " ")
    return [f"serve{rest}" for rest in re.findall(r"showtell serve(.*)", text)]


def test_documented_commands_have_the_workers_of_their_memory_limit() -> None:
    commands = documented_commands()
    assert len(commands) == 3
    for command in commands:
        assert parse_serve_command(shlex.split(command)).params["workers"] == 2, command
    assert "--memory 3g" in DOCS.read_text("utf-8")


def test_commands_behind_a_proxy_allow_its_host_name_and_trust_it() -> None:
    compose = yaml.safe_load(COMPOSE.read_text("utf-8"))["services"]["showtell"]
    behind_proxy = [shlex.split(command) for command in documented_commands()]
    behind_proxy = [words for words in behind_proxy if "--api-key-file" not in words]
    assert len(behind_proxy) == 2
    for arguments in (compose["command"], *behind_proxy):
        params = parse_serve_command(arguments).params
        assert params["allowed_hosts"] == ("captions.example.org",)
        settings = ServerSettings(
            host=params["host"], trusted_proxies=params["trusted_proxies"], no_api_key=True
        )
        assert settings.trusted_proxies


def test_key_of_the_container_is_in_a_folder_that_git_ignores() -> None:
    key = yaml.safe_load(COMPOSE.read_text("utf-8"))["secrets"]["api-key"]["file"]
    folder = f"deploy/{Path(key).parent}"
    assert f"{folder}/\n" in (ROOT / ".gitignore").read_text("utf-8")
    assert f"mkdir -m 700 {folder} " in DOCS.read_text("utf-8")


def test_memory_limits_suffice_for_the_workers() -> None:
    compose = yaml.safe_load(COMPOSE.read_text("utf-8"))["services"]["showtell"]
    needed = bytes_needed(parse_serve_command(compose["command"]).params)
    assert needed <= int(compose["mem_limit"].removesuffix("g")) << 30
    [command] = unit_values()["ExecStart"]
    needed = bytes_needed(parse_serve_command(shlex.split(command)[1:]).params)
    [limit] = unit_values()["MemoryMax"]
    assert needed <= int(limit.removesuffix("G")) << 30


def test_documented_memory_of_a_worker_is_its_limit() -> None:
    text = DOCS.read_text("utf-8")
    max_pixels = serve.make_context("serve", []).params["max_pixels"]
    assert f"| {NETWORK_BYTES // MEGABYTE} MB, and {PHOTO_BYTES_PER_PIXEL} bytes for each" in text
    assert f"{worker_bytes(max_pixels) / 1e9:g} GB by default" in text


@needs_systemd
def test_systemd_accepts_the_unit(tmp_path: Path) -> None:
    program = Path(sys.executable).with_name("showtell")
    copy = tmp_path / UNIT.name
    copy.write_text(
        UNIT.read_text("utf-8").replace("/opt/showtell/bin/showtell", str(program)), "utf-8"
    )
    process = run("systemd-analyze", "verify", "--man=no", copy)
    assert (process.returncode, process.stdout + process.stderr) == (0, "")


@needs_systemd
def test_unit_is_hardened() -> None:
    process = run(
        "systemd-analyze",
        "security",
        "--offline=true",
        "--no-pager",
        f"--threshold={MAX_EXPOSURE}",
        UNIT,
    )
    if "unrecognized option" in process.stderr:
        pytest.skip("this systemd cannot check a unit that is not installed")
    assert process.returncode == 0, process.stdout


def test_captioner_works_without_writable_executable_memory() -> None:
    """The unit forbids it (MemoryDenyWriteExecute), which breaks libraries that compile code."""
    script = """
import ctypes, sys
libc = ctypes.CDLL(None)
if not hasattr(libc, "prctl") or libc.prctl(65, 1, 0, 0, 0):  # PR_SET_MDWE, Linux 6.3
    sys.exit(77)
from showtell import Captioner
print(Captioner.load(threads=1).caption("examples/polar-bear.jpg").text)
"""
    process = run(sys.executable, "-c", script)
    if process.returncode == 77:
        pytest.skip("this kernel does not support PR_SET_MDWE")
    assert process.returncode == 0, process.stderr
    assert len(process.stdout.split()) > 2
