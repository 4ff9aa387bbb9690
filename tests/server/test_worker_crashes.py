"""Photos that crash or hang workers, and workers that are killed: the service keeps working."""

from __future__ import annotations

import os
import re
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from support.crashing_photos import CRASH, GARBAGE, HANG, OUT_OF_MEMORY, crashing_environment
from support.running_service import RunningService, child_processes, example_photos, running_service


@pytest.fixture(scope="module")
def crashing_service(
    tmp_path_factory: pytest.TempPathFactory, tiny_model: Path
) -> Iterator[RunningService]:
    """A service whose workers crash or hang on the photos of `support.crashing_photos`."""
    environment = crashing_environment(tmp_path_factory.mktemp("start"))
    with running_service(
        "--model", tiny_model, "--workers", "2", "--photo-timeout", "5", **environment
    ) as service:
        yield service


def send(service: RunningService, *photos: bytes) -> httpx.Response:
    form = [("photos", (f"{index}.jpg", photo)) for index, photo in enumerate(photos)]
    return httpx.post(f"{service.url}/v1/captions", files=form, timeout=300)


def worker_deaths(service: RunningService) -> float:
    text = httpx.get(f"{service.url}/metrics", timeout=300).text
    match = re.search(r"^showtell_worker_deaths_total (\S+)", text, re.MULTILINE)
    assert match is not None
    return float(match[1])


@pytest.mark.parametrize("photo", [CRASH, OUT_OF_MEMORY, GARBAGE])
def test_photo_that_crashes_its_worker_gets_an_error_and_the_others_captions(
    crashing_service: RunningService, photo: bytes
) -> None:
    before = worker_deaths(crashing_service)
    good = [path.read_bytes() for path in example_photos()[:4]]
    response = send(crashing_service, *good[:2], photo, *good[2:])
    assert response.status_code == 200
    captions = response.json()["captions"]
    assert [caption["error"] is None for caption in captions] == [True, True, False, True, True]
    assert captions[2]["path"] == "2.jpg"
    assert captions[2]["error"].startswith("2.jpg: the worker process crashed")
    assert worker_deaths(crashing_service) == before + 2  # once in the batch, once alone


def test_single_crashing_photo_gets_422_and_the_service_stays_ready(
    crashing_service: RunningService,
) -> None:
    response = httpx.post(f"{crashing_service.url}/v1/captions", content=CRASH, timeout=300)
    assert response.status_code == 422
    assert response.headers["content-type"] == "application/problem+json"
    assert "crashed" in response.json()["detail"]
    assert send(crashing_service, example_photos()[0].read_bytes()).json()["captions"][0]["text"]
    assert httpx.get(f"{crashing_service.url}/ready", timeout=300).status_code == 200


def test_photo_that_hangs_its_worker_gets_an_error_after_the_timeout(
    crashing_service: RunningService,
) -> None:
    responses: list[httpx.Response] = []
    request = threading.Thread(target=lambda: responses.append(send(crashing_service, HANG)))
    request.start()
    assert send(crashing_service, example_photos()[0].read_bytes()).json()["captions"][0]["text"]
    request.join()
    [caption] = responses[0].json()["captions"]
    assert caption["error"] == "0.jpg: captioning took more than 5 seconds"


def test_workers_and_fork_server_killed_while_idle_are_replaced(
    crashing_service: RunningService,
) -> None:
    [fork_server] = child_processes(crashing_service.pid)
    workers = child_processes(fork_server)
    assert len(workers) == 2
    for pid in (fork_server, *workers):
        os.kill(pid, signal.SIGKILL)
    photo = example_photos()[0].read_bytes()
    assert all(send(crashing_service, photo).json()["captions"][0]["text"] for _ in range(4))
    [fork_server] = child_processes(crashing_service.pid)
    assert not set(workers) & set(child_processes(fork_server))


def test_workers_exit_when_the_service_is_killed(tiny_model: Path) -> None:
    with running_service("--model", tiny_model, "--workers", "2") as service:
        [fork_server] = child_processes(service.pid)
        processes = [fork_server, *child_processes(fork_server)]
        assert len(processes) == 3
        service.process.kill()
        service.process.wait()
        deadline = time.monotonic() + 300
        while (
            survivors := [pid for pid in processes if is_running(pid)]
        ) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not survivors


def is_running(pid: int) -> bool:
    try:
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False


def test_multi_threaded_workers_are_separate_processes(tiny_model: Path) -> None:
    with running_service("--model", tiny_model, "--workers", "2", "--threads", "2") as service:
        assert len(child_processes(service.pid)) == 2
        photo = example_photos()[0].read_bytes()
        for pid in child_processes(service.pid):
            os.kill(pid, signal.SIGKILL)
            assert send(service, photo).json()["captions"][0]["text"]
