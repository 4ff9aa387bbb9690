"""Overload, slow and vanishing clients, shutdown, and privacy of uploads."""

from __future__ import annotations

import contextlib
import io
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
from PIL import Image

from support.running_service import RunningService, child_processes, example_photos, running_service

PHOTO = example_photos()[0].read_bytes()


def metrics_of(service: RunningService) -> dict[str, float]:
    """The service's metrics by name and labels."""
    text = httpx.get(f"{service.url}/metrics", timeout=300).text
    return {
        name: float(value) for name, value in re.findall(r"^([^#\s]\S*) (\S+)$", text, re.MULTILINE)
    }


def post(service: RunningService, query: str = "") -> httpx.Response:
    return httpx.post(f"{service.url}/v1/captions{query}", content=PHOTO, timeout=300)


def post_until_accepted(service: RunningService) -> httpx.Response:
    """Post a photo, again while the service is busy."""
    deadline = time.monotonic() + 300
    while (response := post(service)).status_code == 503:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return response


def head(length: int) -> bytes:
    return (
        f"POST /v1/captions HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n"
    ).encode()


def wait_until_refusing_connections(service: RunningService) -> None:
    """Wait until the service has received a signal and accepts no more connections."""
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", service.port), timeout=300).close()
        except ConnectionError:
            return
        time.sleep(0.02)
    pytest.fail("the service still listens")


def wait_for_metric(service: RunningService, name: str, minimum: float) -> None:
    deadline = time.monotonic() + 300
    while metrics_of(service)[name] < minimum:
        assert time.monotonic() < deadline, name
        time.sleep(0.02)


def test_waiting_requests_are_batched_and_counted(tiny_model: Path) -> None:
    with running_service(
        "--model", tiny_model, "--workers", "1", "--batch-delay", "0.3"
    ) as service:
        with ThreadPoolExecutor(6) as pool:
            responses = list(pool.map(lambda _: post(service), range(6)))
        assert len({response.text for response in responses}) == 1
        metrics = metrics_of(service)
        assert metrics["showtell_batch_photos_sum"] == 6
        assert metrics["showtell_batch_photos_count"] <= 3
        assert metrics['showtell_photos_total{outcome="captioned"}'] == 6
        answered = 'showtell_requests_total{method="POST",route="/v1/captions",status="200"}'
        assert metrics[answered] == 6
        assert metrics['showtell_request_seconds_count{route="/v1/captions"}'] == 6
        assert metrics["showtell_queue_seconds_count"] == 6
        assert metrics["showtell_queue_photos"] == 0
        assert metrics["showtell_workers"] == 1
        httpx.get(f"{service.url}/unknown-path", timeout=300)
        assert not [name for name in metrics_of(service) if "unknown-path" in name]


def test_full_queue_refuses_requests_at_once_and_loses_none(
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
            responses = list(pool.map(lambda _: post(service, "?beam=16&nbest=16"), range(200)))
        statuses = Counter(response.status_code for response in responses)
        assert set(statuses) == {200, 503}
        refused = [response for response in responses if response.status_code == 503]
        assert {response.json()["type"] for response in refused} == {"urn:showtell:queue-full"}
        assert all(1 <= int(response.headers["retry-after"]) <= 60 for response in refused)
        assert metrics_of(service)["showtell_refused_requests_total"] == len(refused)
        assert post(service).status_code == 200


def test_request_is_refused_when_its_queue_wait_is_over(tiny_model: Path) -> None:
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
            responses = list(pool.map(lambda _: post(service, "?beam=16&nbest=16"), range(100)))
        assert {response.status_code for response in responses} == {200, 503}
        assert post_until_accepted(service).status_code == 200


def test_several_clients_with_large_photos_are_answered_with_the_default_settings(
    service: RunningService,
) -> None:
    buffer = io.BytesIO()
    Image.open(io.BytesIO(PHOTO)).resize((4000, 3000)).save(buffer, "JPEG")
    form = [("photos", (f"{index}.jpg", buffer.getvalue())) for index in range(2)]

    def send(_: int) -> int:
        return httpx.post(f"{service.url}/v1/captions", files=form, timeout=300).status_code

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(send, range(8))) == [200] * 8


def test_slow_and_vanishing_clients_do_not_block_others(tiny_model: Path) -> None:
    with running_service("--model", tiny_model, "--workers", "1", "--queue-size", "32") as service:
        idle = []
        for sent in (b"", b"POST /v1/cap", head(1000), head(1000) + b"\xff\xd8"):
            for _ in range(50):
                client = socket.create_connection(("127.0.0.1", service.port), timeout=300)
                client.sendall(sent)
                idle.append(client)
        wait_for_metric(service, "showtell_open_requests", 100)
        assert post(service).status_code == 200
        assert httpx.get(f"{service.url}/ready", timeout=300).status_code == 200
        for _ in range(100):  # each sends a photo and disconnects before the response
            with socket.create_connection(("127.0.0.1", service.port), timeout=300) as client:
                client.sendall(head(len(PHOTO)) + PHOTO)
        assert post_until_accepted(service).status_code == 200
        for client in idle:
            client.close()
        deadline = time.monotonic() + 300
        while (metrics := metrics_of(service))["showtell_open_requests"] > 1:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert metrics["showtell_upload_bytes"] == 0
        assert metrics["showtell_queue_photos"] == 0
        assert "Traceback" not in "".join(service.log)


def test_idle_connections_are_closed_and_active_ones_are_not(
    tiny_model: Path,
) -> None:
    with running_service(
        "--model", tiny_model, "--workers", "1", "--upload-timeout", "5"
    ) as service:
        silent, stalled = (
            socket.create_connection(("127.0.0.1", service.port), timeout=300) for _ in range(2)
        )
        with silent, stalled, httpx.Client(base_url=service.url, timeout=300) as active:
            stalled.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert stalled.recv(4096).startswith(b"HTTP/1.1 200 ")
            stalled.sendall(b"GET /hea")  # the rest never arrives
            for client in (silent, stalled):
                with contextlib.suppress(ConnectionResetError):
                    while client.recv(4096):
                        pass
            for _ in range(20):
                assert active.get("/health").status_code == 200


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_stops_the_service_after_all_accepted_requests(
    tiny_model: Path, number: signal.Signals
) -> None:
    with running_service("--model", tiny_model, "--workers", "1") as service:
        [fork_server] = child_processes(service.pid)
        processes = [fork_server, *child_processes(fork_server)]
        with (
            socket.create_connection(("127.0.0.1", service.port), timeout=300) as slow,
            socket.create_connection(("127.0.0.1", service.port), timeout=300),
            ThreadPoolExecutor(8) as pool,
        ):
            slow.sendall(head(len(PHOTO)) + PHOTO[:100])
            waiting = [pool.submit(post, service, "?beam=16&nbest=16") for _ in range(8)]
            wait_for_metric(service, "showtell_queue_seconds_count", 8)  # all accepted
            for pid in (*processes, service.pid):  # Ctrl-C and systemd signal all processes
                os.kill(pid, number)
            slow.sendall(PHOTO[100:])
            response = b"".join(iter(lambda: slow.recv(4096), b""))
            assert response.startswith(b"HTTP/1.1 200 ")
            assert [request.result().status_code for request in waiting] == [200] * 8
        assert service.process.wait(60) == 0
    assert service.log[-1] == "Stopped\n"
    assert "Traceback" not in "".join(service.log)


def test_idle_service_refuses_connections_and_closes_the_open_ones_at_shutdown(
    tiny_model: Path,
) -> None:
    with (
        running_service("--model", tiny_model, "--workers", "1") as service,
        socket.create_connection(("127.0.0.1", service.port), timeout=300) as probe,
    ):
        probe.sendall(b"GET /ready HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert probe.recv(4096).startswith(b"HTTP/1.1 200 ")
        service.process.send_signal(signal.SIGTERM)
        wait_until_refusing_connections(service)
        while probe.recv(4096):
            pass
        assert service.process.wait(60) == 0
    assert service.log[-2:] == ["Stopping: finishing 0 requests\n", "Stopped\n"]


def test_second_ctrl_c_stops_the_service_at_once(tiny_model: Path) -> None:
    with running_service(
        "--model", tiny_model, "--workers", "1", "--shutdown-timeout", "3600"
    ) as service:
        with socket.create_connection(("127.0.0.1", service.port), timeout=300) as slow:
            slow.sendall(head(1000))
            wait_for_metric(service, "showtell_open_requests", 2)
            service.process.send_signal(signal.SIGINT)
            wait_until_refusing_connections(service)
            assert service.stop(signal.SIGINT) == 0
        assert "Traceback" not in "".join(service.log)


def test_stalled_upload_does_not_block_the_shutdown(tiny_model: Path) -> None:
    with (
        running_service(
            "--model", tiny_model, "--workers", "1", "--shutdown-timeout", "1"
        ) as service,
        socket.create_connection(("127.0.0.1", service.port), timeout=300) as slow,
    ):
        slow.sendall(head(1000) + b"\xff\xd8")
        wait_for_metric(service, "showtell_open_requests", 2)
        service.process.send_signal(signal.SIGTERM)
        response = b"".join(iter(lambda: slow.recv(4096), b""))
        assert response.startswith(b"HTTP/1.1 503 ")
        assert service.stop() == 0
    assert "Stopping: finishing 1 request\n" in service.log
    assert "Traceback" not in "".join(service.log)


def test_uploads_reach_neither_disk_nor_log(tiny_model: Path, tmp_path: Path) -> None:
    with running_service(
        "--model", tiny_model, "--workers", "1", "--access-log", TMPDIR=str(tmp_path)
    ) as service:
        large = PHOTO + bytes(8_000_000)
        files: set[Path] = set()
        stop = threading.Event()

        def watch() -> None:
            while not stop.is_set():
                files.update(tmp_path.rglob("*"))
                for pid in (service.pid, *child_processes(service.pid)):
                    for link in Path(f"/proc/{pid}/fd").iterdir():
                        try:
                            target = link.readlink()
                        except OSError:
                            continue
                        if target.is_relative_to(tmp_path):
                            files.add(target)

        watcher = threading.Thread(target=watch)
        watcher.start()
        form = [("photos", ("my-secret-holiday.jpg", large))] * 3
        response = httpx.post(f"{service.url}/v1/captions", files=form, timeout=300)
        stop.set()
        watcher.join()
        assert [caption["error"] for caption in response.json()["captions"]] == [None] * 3
        assert not files
    [line] = [line for line in service.log if "POST" in line]
    assert re.fullmatch(
        r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}[+-]\d\d:\d\d 127\.0\.0\.1"
        r' "POST /v1/captions HTTP/1\.1" 200 \d+\.\d{3} s\n',
        line,
    )
    assert not [line for line in service.log if "secret" in line]
