"""`showtell serve` on the command line: what it refuses to start with, and how it says so."""

from __future__ import annotations

import dataclasses
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from showtell.bundle import ENCODER
from showtell.cli.serve import serve
from showtell.server.settings import ServerSettings
from support.tiny_bundles import write_bundle


def run(*options: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "showtell", "serve", *options],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, **environment},
    )


def refusal(done: subprocess.CompletedProcess[str], status: int) -> str:
    assert done.returncode == status, done.stderr
    last = done.stderr.strip().splitlines()[-1]
    assert "Traceback" not in done.stderr
    return last


def test_every_option_is_a_setting_of_the_same_name_and_default() -> None:
    fields = {field.name: field.default for field in dataclasses.fields(ServerSettings)}
    options = dict(serve.make_context("serve", []).params)
    assert options.pop("api_key_file") is None
    assert options == fields


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.org"])
def test_it_listens_to_other_machines_only_with_a_key_or_told_so(host: str) -> None:
    assert "give an API key" in refusal(run("--host", host), 2)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "localhost", "[::1]"])
def test_on_this_machine_it_needs_no_key(host: str) -> None:
    assert ServerSettings(host=host).is_local


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--batch-delay", "-1"], "batch-delay"),
        (["--queue-size", "8"], "raise queue_size"),
        (["--max-body", "600"], "max_uploads"),
        (["--api-key", "short"], "at least 8"),
        (["--api-key", "spaces are wrong"], "at least 8"),
        (["--queue-wait", "nan"], "queue"),
        (["--port", "99999"], "port"),
    ],
)
def test_options_that_do_not_fit_are_wrong_usage(options: list[str], said: str) -> None:
    assert said in refusal(run(*options), 2)


def test_a_key_is_read_from_a_file_and_given_once(tmp_path: Path) -> None:
    key, empty = tmp_path / "key", tmp_path / "empty"
    key.write_text("tooshort"[:5] + "\n")
    empty.write_text("\n")
    assert "at least 8" in refusal(run("--api-key-file", key), 2)
    assert "empty" in refusal(run("--api-key-file", empty), 1)
    assert "no API key" in refusal(run("--api-key-file", tmp_path / "none"), 1)
    twice = run("--api-key-file", key, SHOWTELL_API_KEY="long-enough-key")
    assert "one of them" in refusal(twice, 2)


def test_what_cannot_be_listened_on_or_loaded_is_one_line(tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "tiny").path
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert f"127.0.0.1:{port}: in use" in refusal(run("-m", bundle, "--port", port), 1)
    elsewhere = run("-m", bundle, "--host", "203.0.113.9", "--no-api-key")
    assert "no address of this machine" in refusal(elsewhere, 1)
    assert "no model named 'nothing'" in refusal(run("-m", "nothing"), 1)
    (bundle / ENCODER).write_bytes(b"damaged")
    assert "changed since it was written" in refusal(run("-m", bundle), 1)


def test_a_model_that_workers_cannot_load_is_one_line(tmp_path: Path) -> None:
    from showtell.bundle import MANIFEST, Manifest, load_bundle, sha256

    bundle = write_bundle(tmp_path / "tiny").path
    (bundle / ENCODER).write_bytes(b"no network")
    text = (bundle / MANIFEST).read_text("utf-8")
    manifest = Manifest.from_json(text, bundle)
    manifest.files[ENCODER] = sha256(bundle / ENCODER)
    (bundle / MANIFEST).write_text(manifest.to_json(), "utf-8")
    assert load_bundle(bundle)
    assert "ONNX Runtime cannot load it" in refusal(run("-m", bundle, "--port", "0"), 1)


def test_without_the_extra_it_says_what_to_install(tmp_path: Path) -> None:
    (tmp_path / "fastapi.py").write_text("raise ModuleNotFoundError('no', name='fastapi')")
    done = run(PYTHONPATH=str(tmp_path))
    assert 'pip install "showtell[serve]"' in refusal(done, 1)
