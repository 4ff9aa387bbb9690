"""An hour of load, and the curve of the memory that the service takes meanwhile.

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

from support.damaged_photos import EXAMPLES, damaged_photo
from support.process_memory import memory_of
from support.running_service import RunningService

SECONDS = float(os.environ.get("SHOWTELL_LOAD_SECONDS", "3600"))
OUTPUT = os.environ.get("SHOWTELL_LOAD_OUTPUT")
CLIENTS = 4
SAMPLES = 120
GROWTH = 24.0  # MB from the second quarter to the last; a kept photo of each request is gigabytes
LONGEST = 60.0  # seconds for an answer


@dataclass
class Load:
    """What the clients saw, and the memory at each moment: seconds, MB, answers until then."""

    answers: Counter[str] = field(default_factory=Counter)
    curve: list[tuple[float, float, int]] = field(default_factory=list)
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
            load.curve.append((now, memory_of(service.pid), load.answers.total()))
            load.ended.wait(SECONDS / SAMPLES)
    finally:
        load.ended.set()
        for client in clients:
            client.join()
    _show(load, Path(OUTPUT) if OUTPUT else tmp_path)
    assert load.failures == []
    memory = [megabytes for _, megabytes, _ in load.curve]
    quarter = len(memory) // 4
    early = statistics.median(memory[quarter : 2 * quarter])
    late = statistics.median(memory[-quarter:])
    assert late - early < GROWTH


def _client(load: Load, url: str, number: int) -> None:
    """Send one request after the other until the load ends, of all the kinds there are."""
    photos = [path.read_bytes() for path in sorted(EXAMPLES.glob("*.jpg"))]
    try:
        with httpx.Client(base_url=url, timeout=LONGEST) as http:
            for turn in range(number, 1 << 62, CLIENTS):
                if load.ended.is_set():
                    return
                load.answers[_one(http, url, photos, turn)] += 1
    except Exception as error:
        load.failures.append(repr(error))
        load.ended.set()


def _one(http: httpx.Client, url: str, photos: list[bytes], turn: int) -> str:
    photo = photos[turn % len(photos)]
    match turn % 16:
        case 3 | 11:
            files = [("photos", (f"{turn}-{place}.jpg", photo)) for place in range(3)]
            response = http.post("/v1/captions", files=files, params={"nbest": 3})
        case 5:
            response = http.post("/v1/captions", content=damaged_photo(turn))
        case 7:
            response = http.post("/v1/captions", content=photo, params={"beam": turn % 5 + 1})
        case 9:
            response = http.post("/v1/captions", content=photo, params={"words": "true"})
        case 13:
            return _leave_in_the_middle(url, photo)
        case 15:
            response = http.get(("/metrics", "/v1/models", "/ready", "/")[turn // 16 % 4])
        case _:
            response = http.post("/v1/captions", content=photo)
    if response.status_code == 503:  # it may say so: then it is busy
        time.sleep(0.1)
    elif response.status_code not in (200, 422):
        raise AssertionError(f"{response.request.url}: {response.status_code} {response.text}")
    return str(response.status_code)


def _leave_in_the_middle(url: str, photo: bytes) -> str:
    """Send half of a photo, or all of it, and be gone before the answer."""
    parts = urlsplit(url)
    assert parts.hostname is not None
    head = (
        f"POST /v1/captions HTTP/1.1\r\nHost: {parts.netloc}\r\n"
        f"Content-Length: {len(photo)}\r\nContent-Type: image/jpeg\r\n\r\n"
    )
    with (
        contextlib.suppress(ConnectionError),
        socket.create_connection((parts.hostname, parts.port or 80), timeout=LONGEST) as connection,
    ):
        connection.sendall(head.encode() + photo[: len(photo) // (1 + len(photo) % 2)])
    return "left"


def _show(load: Load, folder: Path) -> None:
    """Print the curve, and leave it as a table and, where matplotlib is, as a picture."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "memory.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["seconds", "megabytes", "requests"])
        writer.writerows((round(s, 1), round(m, 1), n) for s, m, n in load.curve)
    memory = [megabytes for _, megabytes, _ in load.curve]
    least, most = min(memory), max(memory)
    bars = "".join("▁▂▃▄▅▆▇█"[int(7 * (m - least) / max(most - least, 1))] for m in memory)
    seconds, last, requests = load.curve[-1]
    sys.stdout.write(
        f"\n{dict(load.answers)}, {requests / max(seconds, 1):.1f} requests a second\n"
        f"{memory[0]:.0f} MB, then {least:.0f} to {most:.0f} MB, at the end {last:.0f} MB\n"
        f"{bars}\n{folder / 'memory.csv'}\n"
    )
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return
    figure = Figure(figsize=(7, 3), layout="constrained")
    axes = figure.subplots()
    axes.plot([s / 60 for s, _, _ in load.curve], memory)
    axes.set(xlabel="minutes", ylabel="MB, workers included", ylim=(0, None))
    figure.savefig(folder / "memory.png", dpi=120)
