"""Fuzzing: the service follows its API description for any input, and does not hang or grow."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from support.damaged_photos import damaged_photo
from support.process_memory import memory_of
from support.running_service import RunningService, running_service

CLIENTS = 4
BINARY = {"Content-Type": "application/octet-stream"}
KEY = "a-key-for-the-fuzz"
TIMEOUT = 60.0  # seconds for a response; longer is a hang
MAX_GROWTH = 48.0  # MB


@pytest.fixture(scope="module")
def patient_service() -> Iterator[RunningService]:
    """A service with long timeouts, for machines that run other tests at the same time."""
    options = ("--queue-wait", "300", "--photo-timeout", "120")
    with running_service(*options, SHOWTELL_API_KEY=KEY) as running:
        yield running


def _fuzz(service: RunningService, examples: int) -> None:
    """Send valid and invalid requests according to the API description; check each response.

    This runs the command of Schemathesis, because its pytest plugin does not support every pytest.
    """
    command = [
        "schemathesis",
        "run",
        f"{service.url}/openapi.json",
        "--no-color",
        "--seed=1",
        f"--max-examples={examples}",
        f"--request-timeout={TIMEOUT:g}",
        "--continue-on-failure",
        # the description allows any bytes as a body, and most are not a photo
        "--exclude-checks=positive_data_acceptance",
        # with a key, Schemathesis also tries no key and a wrong key
        f"--header=Authorization: Bearer {service.key}",
    ]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    with tempfile.TemporaryDirectory() as folder:  # it reads settings from its working folder
        process = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, env=os.environ | {"PATH": path}
        )
    assert process.returncode == 0, process.stdout + process.stderr
    sys.stdout.write(process.stdout[process.stdout.rfind("SUMMARY") :])


def test_every_operation_follows_its_description(patient_service: RunningService) -> None:
    _fuzz(patient_service, 10)


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_every_operation_follows_its_description_with_many_examples(
    patient_service: RunningService,
) -> None:
    _fuzz(patient_service, 500)


def test_damaged_photos_get_responses(patient_service: RunningService) -> None:
    _upload_all(patient_service, 300)


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_many_damaged_photos_get_responses(patient_service: RunningService) -> None:
    _upload_all(patient_service, 10_000)


def _upload_all(service: RunningService, count: int) -> None:
    """Upload damaged photos; check that each gets a response and that none stays in memory."""
    key = {"Authorization": f"Bearer {service.key}"}
    log_length = len(service.log)
    with httpx.Client(base_url=service.url, headers=key, timeout=TIMEOUT) as http:
        first = count // 5  # enough photos to reach the peak of decoding
        outcomes = _upload(http, range(first))
        before = memory_of(service.pid)
        outcomes += _upload(http, range(first, count))
        after = memory_of(service.pid)
        assert http.get("/ready").status_code == 200
    summary = f"{count} photos: {dict(outcomes)}, {before:.0f} MB, then {after:.0f} MB"
    sys.stdout.write(f"\n{summary}\n")
    assert outcomes.keys() == {"captioned", "unreadable"}
    assert after - before < MAX_GROWTH
    assert service.log[log_length:] == []


def _upload(http: httpx.Client, numbers: Iterable[int]) -> Counter[str]:
    with ThreadPoolExecutor(CLIENTS) as pool:
        return Counter(pool.map(lambda number: _upload_one(http, number), numbers))


def _upload_one(http: httpx.Client, number: int) -> str:
    """Upload one damaged photo, raw or in a form, and check the response."""
    photo = damaged_photo(number)
    if number % 3:
        response = http.post("/v1/captions", content=photo, headers=BINARY)
    else:
        files = {"photos": (f"{number}.jpg", photo)}
        response = http.post("/v1/captions", files=files)
    context = f"damaged photo {number}: {response.status_code} {response.text[:500]}"
    record = json.loads(response.text)
    if number % 3 == 0:
        assert response.status_code == 200, context
        [record] = record["captions"]
        assert record["path"] == f"{number}.jpg", context
        error = record["error"]
    elif response.status_code == 200:
        error = record["error"]
    else:
        assert response.status_code == 422, context
        assert response.headers["content-type"] == "application/problem+json", context
        error = record["detail"]
    if error is None:
        assert record["text"], context
        return "captioned"
    assert "\n" not in error, context
    assert "/" not in error.replace("I/O", ""), context  # no path of this machine
    return "unreadable"
