"""Whatever is sent, the service answers as its description says: no 500, no hang, no growth."""

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

AT_ONCE = 4  # clients
KEY = "a-key-for-the-fuzz"
LONGEST = 60.0  # seconds for an answer; more is a hang
GROWTH = 48.0  # MB that memory may differ after thousands of photos, none of which is kept


@pytest.fixture(scope="module")
def patient_service() -> Iterator[RunningService]:
    """A service that lets wait, as a machine that tests anything else meanwhile may have to."""
    options = ("--queue-wait", "300", "--photo-timeout", "120")
    with running_service(*options, SHOWTELL_API_KEY=KEY) as running:
        yield running


def _fuzz(service: RunningService, examples: int) -> None:
    """Send what the service's own description allows, and what it does not, and check each answer.

    Schemathesis' command: its plugin reaches into pytest, and not every pytest lets it.
    """
    command = [
        "schemathesis",
        "run",
        f"{service.url}/openapi.json",
        "--no-color",
        "--seed=1",
        f"--max-examples={examples}",
        f"--request-timeout={LONGEST:g}",
        "--continue-on-failure",
        # any bytes are a valid body by the description, and most are no photo
        "--exclude-checks=positive_data_acceptance",
        # with the key, so that it is also tried without and with a wrong one
        f"--header=Authorization: Bearer {service.key}",
    ]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    with tempfile.TemporaryDirectory() as folder:  # it reads settings from the folder it is in
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, env=os.environ | {"PATH": path}
        )
    assert done.returncode == 0, done.stdout + done.stderr
    sys.stdout.write(done.stdout[done.stdout.rfind("SUMMARY") :])


def test_each_operation_holds_to_its_description(patient_service: RunningService) -> None:
    _fuzz(patient_service, 10)


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_each_operation_holds_to_its_description_for_long(patient_service: RunningService) -> None:
    _fuzz(patient_service, 500)


def test_three_hundred_damaged_photos_are_answered(patient_service: RunningService) -> None:
    _upload_all(patient_service, 300)


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_ten_thousand_damaged_photos_are_answered(patient_service: RunningService) -> None:
    _upload_all(patient_service, 10_000)


def _upload_all(service: RunningService, count: int) -> None:
    """Upload so many damaged photos: each is answered, and none stays in memory."""
    key = {"Authorization": f"Bearer {service.key}"}
    logged = len(service.log)
    with httpx.Client(base_url=service.url, headers=key, timeout=LONGEST) as http:
        first = count // 5  # after which memory is what it takes to decode the worst of them
        answers = _upload(http, range(first))
        before = memory_of(service.pid)
        answers += _upload(http, range(first, count))
        after = memory_of(service.pid)
        assert http.get("/ready").status_code == 200
    figures = f"{count} photos: {dict(answers)}, {before:.0f} MB, then {after:.0f} MB"
    sys.stdout.write(f"\n{figures}\n")
    assert answers.keys() == {"captioned", "unreadable"}
    assert after - before < GROWTH
    assert service.log[logged:] == []


def _upload(http: httpx.Client, numbers: Iterable[int]) -> Counter[str]:
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return Counter(pool.map(lambda number: _upload_one(http, number), numbers))


def _upload_one(http: httpx.Client, number: int) -> str:
    """Upload one damaged photo, raw or as a form beside a text, and check the answer's form."""
    photo = damaged_photo(number)
    if number % 3:
        response = http.post("/v1/captions", content=photo, headers=_OCTETS)
    else:
        files = {"photos": (f"{number}.jpg", photo)}
        response = http.post("/v1/captions", files=files)
    what = f"damaged photo {number}: {response.status_code} {response.text[:500]}"
    answer = json.loads(response.text)
    if number % 3 == 0:
        assert response.status_code == 200, what
        [answer] = answer["captions"]
        assert answer["path"] == f"{number}.jpg", what
        error = answer["error"]
    elif response.status_code == 200:
        error = answer["error"]
    else:
        assert response.status_code == 422, what
        assert response.headers["content-type"] == "application/problem+json", what
        error = answer["detail"]
    if error is None:
        assert answer["text"], what
        return "captioned"
    assert "\n" not in error, what
    assert "/" not in error.replace("I/O", ""), what  # no path of the machine
    return "unreadable"


_OCTETS = {"Content-Type": "application/octet-stream"}
