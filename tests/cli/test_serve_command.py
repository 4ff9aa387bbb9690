"""`showtell serve` on the command line: its settings, and its errors at the start."""

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
        timeout=300,
        env={**os.environ, **environment},
    )


def last_error(process: subprocess.CompletedProcess[str], status: int) -> str:
    """Check the exit status, and that there is no traceback; return the last line of stderr."""
    assert process.returncode == status, process.stderr
    assert "Traceback" not in process.stderr
    return process.stderr.strip().splitlines()[-1]


def test_every_option_is_a_setting_of_the_same_name_and_default() -> None:
    fields = {field.name: field.default for field in dataclasses.fields(ServerSettings)}
    options = dict(serve.make_context("serve", []).params)
    assert options.pop("api_key_file") is None
    assert options.pop("language") is None  # becomes the setting `model`
    assert options == fields


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.org"])
def test_other_machines_are_served_only_with_a_key_or_explicit_consent(host: str) -> None:
    assert "set an API key" in last_error(run("--host", host), 2)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "localhost", "[::1]"])
def test_loopback_addresses_need_no_key(host: str) -> None:
    assert ServerSettings(host=host).is_local


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--batch-delay", "-1"], "--batch-delay"),
        (["--queue-size", "8"], "--max-photos 32 is more than --queue-size 8: raise --queue-size"),
        (["--max-body", "600"], "--max-uploads"),
        (["--host", "0.0.0.0"], "--api-key-file), or --no-api-key"),
        (["--allowed-host", "http://photos.example.org"], "--allowed-host"),
        (["--allowed-host", "photos.example.org:8443"], "without http:// and port"),
        (["--trusted-proxy", "localhost"], "must be an IP address or a network, such as 127.0.0.1"),
        (["--trusted-proxy", "10.0.0.0/33"], "--trusted-proxy 10.0.0.0/33"),
        (["--trusted-proxy", "10.0.0.1/8"], "--trusted-proxy 10.0.0.1/8"),
        (["--root-path", "captions"], "--root-path"),
        (["--root-path", "/captions/"], "--root-path"),
        (["--root-path", "/a/../b"], "--root-path"),
        (["--root-path", "/v1/captions"], "--root-path"),
        (["--api-key", "short"], "at least 8"),
        (["--api-key", "spaces are wrong"], "at least 8"),
        (["--queue-wait", "nan"], "--queue-wait"),
        (["--port", "99999"], "--port"),
    ],
)
def test_invalid_options_are_usage_errors(options: list[str], message: str) -> None:
    assert message in last_error(run(*options), 2)


def test_proxies_are_addresses_or_networks() -> None:
    proxies = ("127.0.0.1", "::1", "172.16.0.0/12", "fd00::/8", "*")
    assert ServerSettings(trusted_proxies=proxies).trusted_proxies == proxies


def test_defaults_in_the_help_are_plain_numbers() -> None:
    text = " ".join(serve.get_help(serve.make_context("serve", [])).split())
    assert "--max-pixels N Maximum pixels" in text
    assert "[default: 50000000; x>=1]" in text
    assert "[default: 400000000; x>=1]" in text


def test_key_comes_from_a_file_or_the_environment_but_not_both(tmp_path: Path) -> None:
    key, empty = tmp_path / "key", tmp_path / "empty"
    key.write_text("tooshort"[:5] + "\n")
    empty.write_text("\n")
    assert "at least 8" in last_error(run("--api-key-file", key), 2)
    assert "empty" in last_error(run("--api-key-file", empty), 1)
    assert "cannot read an API key" in last_error(run("--api-key-file", tmp_path / "none"), 1)
    assert "cannot read an API key" in last_error(run("--api-key-file", os.devnull), 1)
    twice = run("--api-key-file", key, SHOWTELL_API_KEY="long-enough-key")
    assert "not both" in last_error(twice, 2)


def test_unusable_address_or_model_gives_a_one_line_error(tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "tiny").path
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert f"127.0.0.1:{port}: already in use" in last_error(
            run("-m", bundle, "--port", port), 1
        )
    foreign_address = run("-m", bundle, "--host", "203.0.113.9", "--no-api-key")
    assert "not an address of this machine" in last_error(foreign_address, 1)
    assert "no model named 'nothing'" in last_error(run("-m", "nothing"), 1)
    (bundle / ENCODER).write_bytes(b"damaged")
    assert "changed since it was written" in last_error(run("-m", bundle), 1)


def test_model_that_workers_cannot_load_gives_a_one_line_error(tmp_path: Path) -> None:
    from showtell.bundle import MANIFEST, Manifest, load_bundle, sha256

    bundle = write_bundle(tmp_path / "tiny").path
    (bundle / ENCODER).write_bytes(b"no network")
    text = (bundle / MANIFEST).read_text("utf-8")
    manifest = Manifest.from_json(text, bundle)
    manifest.files[ENCODER] = sha256(bundle / ENCODER)
    (bundle / MANIFEST).write_text(manifest.to_json(), "utf-8")
    assert load_bundle(bundle)
    assert "not an ONNX file" in last_error(run("-m", bundle, "--port", "0"), 1)


def test_missing_extra_is_named(tmp_path: Path) -> None:
    (tmp_path / "fastapi.py").write_text("raise ModuleNotFoundError('no', name='fastapi')")
    process = run(PYTHONPATH=str(tmp_path))
    assert 'pip install ".[serve]"' in last_error(process, 1)
