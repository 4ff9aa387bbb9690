"""More than it can do, clients that leave or dawdle, and an end that finishes what was accepted."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from support.running_service import RunningService, child_processes, example_photos, running_service

PHOTO = example_photos()[0].read_bytes()


def figures(service: RunningService) -> dict[str, float]:
    """What the service tells Prometheus, by name and labels."""
    text = httpx.get(f"{service.url}/metrics", timeout=60).text
    return {
        name: float(value) for name, value in re.findall(r"^([^#\s]\S*) (\S+)$", text, re.MULTILINE)
    }


def post(service: RunningService, query: str = "") -> httpx.Response:
    return httpx.post(f"{service.url}/v1/captions{query}", content=PHOTO, timeout=60)


def answer_in_the_end(service: RunningService) -> httpx.Response:
    """Ask again while the service is busy, as a client does that was told to."""
    deadline = time.monotonic() + 60
    while (answer := post(service)).status_code == 503:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return answer


def head(length: int) -> bytes:
    return (
        f"POST /v1/captions HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n"
    ).encode()


def wait_until_deaf(service: RunningService) -> None:
    """Wait until it takes no more connections, as it does once a signal has arrived."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", service.port), timeout=30).close()
        except ConnectionError:
            return
        time.sleep(0.02)
    pytest.fail("it still listens")


def wait_for(service: RunningService, name: str, least: float) -> None:
    deadline = time.monotonic() + 60
    while figures(service)[name] < least:
        assert time.monotonic() < deadline, name
        time.sleep(0.02)


def test_requests_that_wait_are_batched_and_counted(tiny_model: Path) -> None:
    with running_service("--model", tiny_model, "--workers", "1", "--batch-delay", "0.3") as one:
        with ThreadPoolExecutor(6) as pool:
            answers = list(pool.map(lambda _: post(one), range(6)))
        assert len({answer.text for answer in answers}) == 1
        found = figures(one)
        assert found["showtell_batch_photos_sum"] == 6
        assert found["showtell_batch_photos_count"] <= 3
        assert found['showtell_photos_total{outcome="captioned"}'] == 6
        done = 'showtell_requests_total{method="POST",route="/v1/captions",status="200"}'
        assert found[done] == 6
        assert found['showtell_request_seconds_count{route="/v1/captions"}'] == 6
        assert found["showtell_queue_seconds_count"] == 6
        assert found["showtell_queue_photos"] == 0
        assert found["showtell_workers"] == 1
        httpx.get(f"{one.url}/a-name-of-its-own")
        assert not [name for name in figures(one) if "a-name-of-its-own" in name]


def test_past_the_queue_every_request_is_refused_at_once_and_none_is_lost(
    tiny_model: Path,
) -> None:
    with running_service(
        "--model",
        tiny_model,
        "--workers",
        "1",
        "--batch-size",
        "1",
        "--queue-size",
        "2",
        "--max-photos",
        "2",
    ) as service:
        with ThreadPoolExecutor(24) as pool:
            answers = list(pool.map(lambda _: post(service, "?beam=16&nbest=16"), range(200)))
        statuses = Counter(answer.status_code for answer in answers)
        assert set(statuses) == {200, 503}
        refused = [answer for answer in answers if answer.status_code == 503]
        assert {answer.json()["type"] for answer in refused} == {"urn:showtell:queue-full"}
        assert all(1 <= int(answer.headers["retry-after"]) <= 60 for answer in refused)
        assert figures(service)["showtell_refused_requests_total"] == len(refused)
        assert post(service).status_code == 200


def test_a_request_waits_no_longer_than_it_was_told(tiny_model: Path) -> None:
    with running_service(
        "--model",
        tiny_model,
        "--workers",
        "1",
        "--batch-size",
        "1",
        "--queue-wait",
        "0.01",
        "--queue-size",
        "64",
    ) as service:
        with ThreadPoolExecutor(24) as pool:
            answers = list(pool.map(lambda _: post(service, "?beam=16&nbest=16"), range(100)))
        assert {answer.status_code for answer in answers} == {200, 503}
        assert answer_in_the_end(service).status_code == 200


def test_clients_that_dawdle_or_leave_hold_nothing_up(tiny_model: Path) -> None:
    with running_service("--model", tiny_model, "--workers", "1", "--queue-size", "32") as service:
        idle = []
        for sent in (b"", b"POST /v1/cap", head(1000), head(1000) + b"\xff\xd8"):
            for _ in range(50):
                client = socket.create_connection(("127.0.0.1", service.port), timeout=30)
                client.sendall(sent)
                idle.append(client)
        wait_for(service, "showtell_open_requests", 100)
        assert post(service).status_code == 200
        assert httpx.get(f"{service.url}/ready").status_code == 200
        for _ in range(100):  # each asks and leaves before there is an answer
            with socket.create_connection(("127.0.0.1", service.port), timeout=30) as client:
                client.sendall(head(len(PHOTO)) + PHOTO)
        assert answer_in_the_end(service).status_code == 200
        for client in idle:
            client.close()
        deadline = time.monotonic() + 60
        while (found := figures(service))["showtell_open_requests"] > 1:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert found["showtell_upload_bytes"] == 0
        assert found["showtell_queue_photos"] == 0
        assert "Traceback" not in "".join(service.log)


def test_a_connection_that_asks_for_nothing_is_ended_and_one_in_use_is_not(
    tiny_model: Path,
) -> None:
    with running_service("--model", tiny_model, "--workers", "1", "--upload-timeout", "1") as one:
        silent, halting = (
            socket.create_connection(("127.0.0.1", one.port), timeout=30) for _ in range(2)
        )
        with silent, halting, httpx.Client(base_url=one.url, timeout=30) as busy:
            halting.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert halting.recv(4096).startswith(b"HTTP/1.1 200 ")
            halting.sendall(b"GET /hea")  # and never the rest
            for client in (silent, halting):
                with contextlib.suppress(ConnectionResetError):
                    while client.recv(4096):
                        pass
            for _ in range(20):
                assert busy.get("/health").status_code == 200


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_once_what_was_accepted_is_answered(
    tiny_model: Path, number: signal.Signals
) -> None:
    with running_service("--model", tiny_model, "--workers", "1") as service:
        [template] = child_processes(service.pid)
        family = [template, *child_processes(template)]
        with (
            socket.create_connection(("127.0.0.1", service.port), timeout=60) as slow,
            socket.create_connection(("127.0.0.1", service.port), timeout=60),
            ThreadPoolExecutor(8) as pool,
        ):
            slow.sendall(head(len(PHOTO)) + PHOTO[:100])
            waiting = [pool.submit(post, service, "?beam=16&nbest=16") for _ in range(8)]
            wait_for(service, "showtell_queue_seconds_count", 8)  # none still at the door
            for pid in (*family, service.pid):  # as Ctrl-C and systemd send it: to all of them
                os.kill(pid, number)
            slow.sendall(PHOTO[100:])
            answer = b"".join(iter(lambda: slow.recv(4096), b""))
            assert answer.startswith(b"HTTP/1.1 200 ")
            assert [one.result().status_code for one in waiting] == [200] * 8
        assert service.process.wait(60) == 0
        assert "Traceback" not in "".join(service.log)


def test_a_second_ctrl_c_ends_it_at_once(tiny_model: Path) -> None:
    with running_service("--model", tiny_model, "--workers", "1") as service:
        with socket.create_connection(("127.0.0.1", service.port), timeout=60) as slow:
            slow.sendall(head(1000))
            wait_for(service, "showtell_open_requests", 2)
            service.process.send_signal(signal.SIGINT)
            wait_until_deaf(service)
            assert service.stop(signal.SIGINT, timeout=20) == 0
        assert "Traceback" not in "".join(service.log)


def test_a_client_that_never_ends_does_not_keep_it_from_ending(tiny_model: Path) -> None:
    with (
        running_service("--model", tiny_model, "--workers", "1", "--shutdown-timeout", "1") as one,
        socket.create_connection(("127.0.0.1", one.port), timeout=60) as slow,
    ):
        slow.sendall(head(1000) + b"\xff\xd8")
        wait_for(one, "showtell_open_requests", 2)
        one.process.send_signal(signal.SIGTERM)
        answer = b"".join(iter(lambda: slow.recv(4096), b""))
        assert answer.startswith(b"HTTP/1.1 503 ")
        assert one.stop() == 0
        assert "Traceback" not in "".join(one.log)


def test_photos_are_on_no_disk_and_in_no_log(tiny_model: Path, tmp_path: Path) -> None:
    with running_service(
        "--model", tiny_model, "--workers", "1", "--access-log", TMPDIR=str(tmp_path)
    ) as service:
        large = PHOTO + bytes(8_000_000)
        seen: set[Path] = set()
        stop = threading.Event()

        def watch() -> None:
            while not stop.is_set():
                seen.update(tmp_path.rglob("*"))
                for pid in (service.pid, *child_processes(service.pid)):
                    for link in Path(f"/proc/{pid}/fd").iterdir():
                        try:
                            target = link.readlink()
                        except OSError:
                            continue
                        if target.is_relative_to(tmp_path):
                            seen.add(target)

        watching = threading.Thread(target=watch)
        watching.start()
        form = [("photos", ("my-secret-holiday.jpg", large))] * 3
        answer = httpx.post(f"{service.url}/v1/captions", files=form, timeout=60)
        stop.set()
        watching.join()
        assert [caption["error"] for caption in answer.json()["captions"]] == [None] * 3
        assert not seen
    assert any("POST /v1/captions" in line for line in service.log)
    assert not [line for line in service.log if "secret" in line]
