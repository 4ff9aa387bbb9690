"""An hour of load, and the memory of the service over this time.

    SHOWTELL_LOAD_SECONDS=300 SHOWTELL_LOAD_OUTPUT=load \\
        pytest --slow -s tests/server/test_memory_under_load.py
"""

from __future__ import annotations

import contextlib
import csv
import os
import socket
import statistics
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from support.damaged_photos import SAMPLE_PHOTOS, damaged_photo
from support.process_memory import memory_of
from support.running_service import RunningService

SECONDS = float(os.environ.get("SHOWTELL_LOAD_SECONDS", "3600"))
OUTPUT = os.environ.get("SHOWTELL_LOAD_OUTPUT")
CLIENTS = 4
SAMPLES = 120
MAX_GROWTH = 24.0  # MB from the second quarter to the last; keeping every photo takes gigabytes
TIMEOUT = 60.0  # seconds for a response


@dataclass
class Load:
    """The responses that clients got, and samples of (seconds, MB, responses so far)."""

    responses: Counter[str] = field(default_factory=Counter)
    samples: list[tuple[float, float, int]] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    ended: threading.Event = field(default_factory=threading.Event)


@pytest.mark.slow
@pytest.mark.timeout(SECONDS + 900)
def test_memory_does_not_grow_under_long_load(service: RunningService, tmp_path: Path) -> None:
    load = Load()
    clients = [
        threading.Thread(target=_client, args=(load, service.url, number))
        for number in range(CLIENTS)
    ]
    start = time.monotonic()
    for client in clients:
        client.start()
    try:
        while not load.failures and (now := time.monotonic() - start) < SECONDS:
            load.samples.append((now, memory_of(service.pid), load.responses.total()))
            load.ended.wait(SECONDS / SAMPLES)
    finally:
        load.ended.set()
        for client in clients:
            client.join()
    _show(load, Path(OUTPUT) if OUTPUT else tmp_path)
    assert load.failures == []
    memory = [megabytes for _, megabytes, _ in load.samples]
    quarter = len(memory) // 4
    early = statistics.median(memory[quarter : 2 * quarter])
    late = statistics.median(memory[-quarter:])
    assert late - early < MAX_GROWTH


def _client(load: Load, url: str, number: int) -> None:
    """Send requests of all kinds, one after the other, until the load ends."""
    photos = [path.read_bytes() for path in sorted(SAMPLE_PHOTOS.glob("*.jpg"))]
    try:
        with httpx.Client(base_url=url, timeout=TIMEOUT) as http:
            for turn in range(number, 1 << 62, CLIENTS):
                if load.ended.is_set():
                    return
                load.responses[_send_request(http, url, photos, turn)] += 1
    except Exception as error:
        load.failures.append(repr(error))
        load.ended.set()


def _send_request(http: httpx.Client, url: str, photos: list[bytes], turn: int) -> str:
    photo = photos[turn % len(photos)]
    match turn % 16:
        case 3 | 11:
            files = [("photos", (f"{turn}-{index}.jpg", photo)) for index in range(3)]
            response = http.post("/v1/captions", files=files, params={"nbest": 3})
        case 5:
            response = http.post("/v1/captions", content=damaged_photo(turn))
        case 7:
            response = http.post("/v1/captions", content=photo, params={"beam": turn % 5 + 1})
        case 9:
            response = http.post("/v1/captions", content=photo, params={"words": "true"})
        case 13:
            return _disconnect_early(url, photo)
        case 15:
            response = http.get(("/metrics", "/v1/models", "/ready", "/")[turn // 16 % 4])
        case _:
            response = http.post("/v1/captions", content=photo)
    if response.status_code == 503:  # busy
        time.sleep(0.1)
    elif response.status_code not in (200, 422):
        raise AssertionError(f"{response.request.url}: {response.status_code} {response.text}")
    return str(response.status_code)


def _disconnect_early(url: str, photo: bytes) -> str:
    """Send half of a photo, or all of it, and disconnect before the response."""
    parts = urlsplit(url)
    assert parts.hostname is not None
    head = (
        f"POST /v1/captions HTTP/1.1\r\nHost: {parts.netloc}\r\n"
        f"Content-Length: {len(photo)}\r\nContent-Type: image/jpeg\r\n\r\n"
    )
    with (
        contextlib.suppress(ConnectionError),
        socket.create_connection((parts.hostname, parts.port or 80), timeout=TIMEOUT) as connection,
    ):
        connection.sendall(head.encode() + photo[: len(photo) // (1 + len(photo) % 2)])
    return "disconnected"


def _show(load: Load, folder: Path) -> None:
    """Print the memory curve; write it as a table and, if matplotlib is installed, as a picture."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "memory.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["seconds", "megabytes", "requests"])
        writer.writerows((round(s, 1), round(m, 1), n) for s, m, n in load.samples)
    memory = [megabytes for _, megabytes, _ in load.samples]
    low, high = min(memory), max(memory)
    bars = "".join("▁▂▃▄▅▆▇█"[int(7 * (m - low) / max(high - low, 1))] for m in memory)
    seconds, last, requests = load.samples[-1]
    sys.stdout.write(
        f"\n{dict(load.responses)}, {requests / max(seconds, 1):.1f} requests per second\n"
        f"first {memory[0]:.0f} MB, then {low:.0f} to {high:.0f} MB, last {last:.0f} MB\n"
        f"{bars}\n{folder / 'memory.csv'}\n"
    )
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return
    figure = Figure(figsize=(7, 3), layout="constrained")
    axes = figure.subplots()
    axes.plot([s / 60 for s, _, _ in load.samples], memory)
    axes.set(xlabel="minutes", ylabel="MB, including workers", ylim=(0, None))
    figure.savefig(folder / "memory.png", dpi=120)
