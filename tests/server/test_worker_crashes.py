"""Workers die of photos, of the kernel, of time: the service goes on, and so do other photos."""

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

from support.crashing_photos import CRASH, HANG, MEMORY, NONSENSE, deadly
from support.running_service import RunningService, examples, processes_of, running_service


@pytest.fixture(scope="module")
def harsh(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Iterator[RunningService]:
    environment = deadly(tmp_path_factory.mktemp("start"))
    with running_service(
        "--model", tiny_model, "--workers", "2", "--photo-timeout", "2", **environment
    ) as service:
        yield service


def send(service: RunningService, *photos: bytes) -> httpx.Response:
    form = [("photos", (f"{place}.jpg", photo)) for place, photo in enumerate(photos)]
    return httpx.post(f"{service.url}/v1/captions", files=form, timeout=60)


def deaths(service: RunningService) -> float:
    text = httpx.get(f"{service.url}/metrics").text
    found = re.search(r"^showtell_worker_deaths_total (\S+)", text, re.MULTILINE)
    assert found is not None
    return float(found[1])


@pytest.mark.parametrize("poison", [CRASH, MEMORY, NONSENSE])
def test_a_photo_that_kills_its_worker_is_an_error_and_the_others_are_captioned(
    harsh: RunningService, poison: bytes
) -> None:
    before = deaths(harsh)
    good = [path.read_bytes() for path in examples()[:4]]
    answer = send(harsh, *good[:2], poison, *good[2:])
    assert answer.status_code == 200
    captions = answer.json()["captions"]
    assert [caption["error"] is None for caption in captions] == [True, True, False, True, True]
    assert captions[2]["path"] == "2.jpg"
    assert captions[2]["error"].startswith("2.jpg: the process that read it died")
    assert deaths(harsh) == before + 2  # with the batch, and alone


def test_a_deadly_photo_alone_is_422_and_the_service_stays_ready(harsh: RunningService) -> None:
    answer = httpx.post(f"{harsh.url}/v1/captions", content=CRASH, timeout=60)
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert "died" in answer.json()["detail"]
    assert send(harsh, examples()[0].read_bytes()).json()["captions"][0]["text"]
    assert httpx.get(f"{harsh.url}/ready").status_code == 200


def test_a_photo_that_hangs_its_worker_is_an_error_after_its_time(harsh: RunningService) -> None:
    answers: list[httpx.Response] = []
    hanging = threading.Thread(target=lambda: answers.append(send(harsh, HANG)))
    hanging.start()
    assert send(harsh, examples()[0].read_bytes()).json()["captions"][0]["text"]
    hanging.join()
    [caption] = answers[0].json()["captions"]
    assert caption["error"] == "0.jpg: it took more than 2 seconds"


def test_workers_and_their_template_killed_while_idle_are_replaced(harsh: RunningService) -> None:
    [template] = processes_of(harsh.pid)
    workers = processes_of(template)
    assert len(workers) == 2
    for pid in (template, *workers):
        os.kill(pid, signal.SIGKILL)
    photo = examples()[0].read_bytes()
    assert all(send(harsh, photo).json()["captions"][0]["text"] for _ in range(4))
    [template] = processes_of(harsh.pid)
    assert workers not in processes_of(template)


def test_workers_end_with_the_service_however_it_ends(tiny_model: Path) -> None:
    with running_service("--model", tiny_model, "--workers", "2") as service:
        [template] = processes_of(service.pid)
        family = [template, *processes_of(template)]
        assert len(family) == 3
        service.process.kill()
        service.process.wait()
        deadline = time.monotonic() + 30
        while (left := [pid for pid in family if is_running(pid)]) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not left


def is_running(pid: int) -> bool:
    try:
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False


def test_workers_with_threads_of_their_own_are_processes_of_their_own(tiny_model: Path) -> None:
    with running_service("--model", tiny_model, "--workers", "2", "--threads", "2") as service:
        assert len(processes_of(service.pid)) == 2
        photo = examples()[0].read_bytes()
        for pid in processes_of(service.pid):
            os.kill(pid, signal.SIGKILL)
            assert send(service, photo).json()["captions"][0]["text"]
