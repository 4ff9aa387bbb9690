"""Measure the service: throughput relative to the captioner alone, latency, and overload.

    python benchmarks/serve.py
    python benchmarks/serve.py --seconds 5 --rounds 3 --workers 2 --batch-size 8

Unknown options go to `showtell serve`. The load comes from a separate process over loopback. For a
fair comparison, the captioner alone captions the same photos while the load tool sends the same
number of requests per second to a dummy server. Machines differ and are rarely idle, so the ratios
count, and both sides take turns. On a shared machine, rely on the ratio of CPU time.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any
from urllib.parse import urlsplit

ROOT = Path(__file__).resolve().parents[1]
TIMEOUT = 10.0  # seconds after which a request counts as hung
DUMMY_RESPONSE = b"HTTP/1.1 200 OK\r\ncontent-length: 170\r\n\r\n" + b" " * 170


# The load tool: `serve.py load`, a separate process


@dataclass
class Tally:
    """The outcomes of the requests, and their latencies since the time each was due."""

    statuses: Counter[str] = field(default_factory=Counter)
    latencies: list[float] = field(default_factory=list)  # seconds, of captions only
    longest: float = 0.0  # seconds, of all requests

    def add(self, status: str, seconds: float) -> None:
        self.statuses[status] += 1
        self.longest = max(self.longest, seconds)
        if status == "200":
            self.latencies.append(seconds)


class Connection(asyncio.Protocol):
    """A keep-alive connection that sends a request and waits for the whole response."""

    def __init__(self) -> None:
        self.status: asyncio.Future[str] | None = None
        self.received = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: Any = transport

    def send(self, request: Sequence[bytes]) -> asyncio.Future[str]:
        self.status = asyncio.get_running_loop().create_future()
        self.received.clear()
        self.transport.writelines(request)
        return self.status

    def data_received(self, data: bytes) -> None:
        self.received += data
        head, separator, body = self.received.partition(b"\r\n\r\n")
        if not separator or self.status is None:
            return
        length = head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0]
        if len(body) >= int(length) and not self.status.done():
            self.status.set_result(head[9:12].decode())

    def connection_lost(self, error: Exception | None) -> None:
        if self.status is not None and not self.status.done():
            self.status.set_result("lost")


class DummyServer(asyncio.Protocol):
    """Reads each request and responds at once, without captioning."""

    def __init__(self) -> None:
        self.bytes_left = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: Any = transport

    def data_received(self, data: bytes) -> None:
        if not self.bytes_left:
            head, _, body = data.partition(b"\r\n\r\n")
            self.bytes_left = int(head.rpartition(b": ")[2]) - len(body)
        else:
            self.bytes_left -= len(data)
        if not self.bytes_left:
            self.transport.write(DUMMY_RESPONSE)


class LoadGenerator:
    """Sends photos over as many connections as needed."""

    def __init__(self, host: str, port: int, photos: Sequence[bytes]) -> None:
        self.host, self.port = host, port
        self.requests = itertools.cycle([self._request(photo) for photo in photos])
        self.idle: list[Connection] = []
        self.tally = Tally()

    def _request(self, photo: bytes) -> tuple[bytes, bytes]:
        head = (
            f"POST /v1/captions HTTP/1.1\r\nhost: {self.host}:{self.port}\r\n"
            f"content-type: image/jpeg\r\ncontent-length: {len(photo)}\r\n\r\n"
        )
        return head.encode(), photo

    async def send_photo(self, due: float) -> None:
        """Send one photo, and record its outcome and its latency since `due`."""
        connection = None
        try:
            async with asyncio.timeout(TIMEOUT):
                connection = await self.connection()
                status = await connection.send(next(self.requests))
        except TimeoutError:
            status = "hung"
        except OSError:
            status = "not connected"
        self.tally.add(status, time.perf_counter() - due)
        if connection is not None and status.isdecimal():
            self.idle.append(connection)

    async def connection(self) -> Connection:
        """Return an unused connection."""
        while self.idle:
            connection = self.idle.pop()
            if not connection.transport.is_closing():
                return connection
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(Connection, self.host, self.port)
        return connection

    async def run_clients(self, clients: int, seconds: float) -> None:
        """Run clients that each send the next photo when they have the response."""
        end = time.perf_counter() + seconds

        async def client() -> None:
            while (now := time.perf_counter()) < end:
                await self.send_photo(now)

        await asyncio.gather(*(client() for _ in range(clients)))

    async def run_at_rate(self, rate: float, seconds: float) -> None:
        """Send `rate` requests per second without waiting for earlier responses."""
        start = time.perf_counter()
        tasks = []
        for number in range(round(rate * seconds)):
            due = start + number / rate
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            tasks.append(asyncio.create_task(self.send_photo(due)))
        await asyncio.gather(*tasks)


async def run_load(arguments: argparse.Namespace) -> dict[str, Any]:
    photos = [path.read_bytes() for path in arguments.photos]
    dummy = None
    if arguments.url:
        url = urlsplit(arguments.url)
        host, port = url.hostname, url.port
    else:
        loop = asyncio.get_running_loop()
        dummy = await loop.create_server(DummyServer, "127.0.0.1", 0)
        host, port = dummy.sockets[0].getsockname()
    generator = LoadGenerator(host, port, photos)
    start, cpu_start = time.perf_counter(), time.process_time()
    if arguments.rate:
        await generator.run_at_rate(arguments.rate, arguments.seconds)
    else:
        await generator.run_clients(arguments.clients, arguments.seconds)
    elapsed = time.perf_counter() - start
    tally = generator.tally
    latencies = sorted(tally.latencies) or [float("nan")]
    return {
        "per_second": len(tally.latencies) / elapsed,
        "median": median(latencies),
        "p99": latencies[min(len(latencies) - 1, round(0.99 * len(latencies)))],
        "longest": tally.longest,
        "statuses": tally.statuses,
        "cores": (time.process_time() - cpu_start) / elapsed,
    }


# The captioner alone: `serve.py captioner`, a separate process


def run_captioner(arguments: argparse.Namespace) -> dict[str, Any]:
    from showtell import Captioner

    captioner = Captioner.load(arguments.model)
    photos = [path.read_bytes() for path in arguments.photos]
    list(captioner.caption(photos[:16]))
    start, cpu_start = time.perf_counter(), time.process_time()

    def photos_until_timeout() -> Iterator[bytes]:
        for photo in itertools.cycle(photos):
            if time.perf_counter() - start > arguments.seconds:
                return
            yield photo

    count = sum(1 for _ in captioner.caption(photos_until_timeout()))
    elapsed = time.perf_counter() - start
    return {"per_second": count / elapsed, "cpu": (time.process_time() - cpu_start) / count}


# The measurement


def cpu_seconds(pid: int) -> float:
    """Return the CPU time that a process and its descendants have used so far (Linux only)."""
    total = 0.0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            number, _, rest = stat.read_text().partition(" ")
            fields = rest.rpartition(")")[2].split()
            if int(number) == pid:
                total += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
            elif int(fields[1]) == pid:
                total += cpu_seconds(int(number))
    return total


@contextlib.contextmanager
def running_service(options: Sequence[str]) -> Iterator[tuple[str, int]]:
    """Run the service until the block ends; yields its URL and process id."""
    process = subprocess.Popen(
        [sys.executable, "-m", "showtell", "serve", "--port", "0", *options],
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        line = next((line for line in process.stderr or [] if line.startswith("Listening")), "")
        yield line.split()[-1], process.pid
    finally:
        process.terminate()
        process.communicate(timeout=60)


class Tools:
    """Runs the load tool and the captioner as separate processes."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.seconds = arguments.seconds
        self.shared = ["--model", arguments.model] if arguments.model else []
        self.shared += [os.fspath(photo) for photo in photos_of(arguments)]

    def start(self, role: str, *options: object) -> subprocess.Popen[str]:
        command = [sys.executable, __file__, role, "--seconds", str(self.seconds)]
        return subprocess.Popen(
            [*command, *map(str, options), *self.shared], stdout=subprocess.PIPE, text=True
        )

    def run(self, role: str, *options: object) -> dict[str, Any]:
        output, _ = self.start(role, *options).communicate()
        result: dict[str, Any] = json.loads(output)
        return result

    def load(self, url: str, **options: float) -> dict[str, Any]:
        """Run the load tool against the service."""
        flags = itertools.chain(*((f"--{name}", value) for name, value in options.items()))
        return self.run("load", "--url", url, *flags)

    def captioner(self, rate: float) -> dict[str, Any]:
        """Run the captioner while the load tool sends `rate` requests per second to a dummy."""
        load = self.start("load", "--rate", rate, "--seconds", self.seconds + 4)
        try:
            return self.run("captioner")
        finally:
            load.terminate()
            load.communicate()


def photos_of(arguments: argparse.Namespace) -> list[Path]:
    flickr = ROOT.parent / "shared" / "flickr8k" / "Flicker8k_Dataset"
    folder = arguments.folder or (flickr if flickr.is_dir() else ROOT / "examples")
    return sorted(folder.glob("*.jpg"))[:100]


@dataclass
class Measurements:
    """Results of the load tool (`run_load`) and the captioner (`run_captioner`)."""

    idle_before: dict[str, Any] = field(default_factory=dict)  # one client
    full: list[dict[str, Any]] = field(default_factory=list)  # as fast as possible, per round
    captioner: list[dict[str, Any]] = field(default_factory=list)  # per round
    cpu_per_photo: list[float] = field(default_factory=list)  # of the service, per round
    at_80_percent: dict[str, Any] = field(default_factory=dict)
    idle_between: dict[str, Any] = field(default_factory=dict)
    overload: dict[str, Any] = field(default_factory=dict)  # four times the throughput
    idle_after: dict[str, Any] = field(default_factory=dict)

    @property
    def throughput(self) -> float:
        """Captions per second at full load."""
        return median(result["per_second"] for result in self.full)


def measure(arguments: argparse.Namespace, options: Sequence[str]) -> Measurements:
    """Run all measurements; `options` go to `showtell serve`."""
    tools = Tools(arguments)
    results = Measurements()
    with running_service(options) as (url, pid):
        tools.load(url, clients=8)  # warm-up
        results.idle_before = tools.load(url, clients=1)
        for _ in range(arguments.rounds):
            cpu_start = cpu_seconds(pid)
            full = tools.load(url, clients=arguments.clients)
            results.cpu_per_photo.append((cpu_seconds(pid) - cpu_start) / full["statuses"]["200"])
            results.full.append(full)
            results.captioner.append(tools.captioner(full["per_second"]))
        results.at_80_percent = tools.load(url, rate=0.8 * results.throughput)
        results.idle_between = tools.load(url, clients=1)
        results.overload = tools.load(url, rate=4 * results.throughput)
        results.idle_after = tools.load(url, clients=1)
    return results


def table(results: Measurements) -> list[tuple[str, str, str]]:
    """Return rows of quantity, measured value and target."""
    pairs = zip(results.full, results.captioner, strict=True)
    ratio = median(full["per_second"] / alone["per_second"] for full, alone in pairs)
    captioner_rate = median(alone["per_second"] for alone in results.captioner)
    load_cores = median(full["cores"] for full in results.full)
    cpu = 1000 * median(results.cpu_per_photo)
    captioner_cpu = 1000 * median(alone["cpu"] for alone in results.captioner)
    idle = median((results.idle_before["median"], results.idle_between["median"]))
    busy, overload = results.at_80_percent, results.overload
    return [
        ("quantity", "measured", "target"),
        ("photos per second", f"{results.throughput:.1f}", ""),
        ("    captioner alone", f"{captioner_rate:.1f}", ""),
        ("    ratio", f"{ratio:.0%}", ">= 85 %"),
        ("    cores used by the load tool", f"{load_cores:.2f}", ""),
        ("CPU per photo, ms", f"{cpu:.1f}", ""),
        ("    captioner alone", f"{captioner_cpu:.1f}", ""),
        ("    ratio", f"{captioner_cpu / cpu:.0%}", ">= 85 %"),
        ("one photo at a time, ms", f"{1000 * idle:.1f}", ""),
        ("at 80 % load: median, ms", f"{1000 * busy['median']:.1f}", ""),
        ("    99th percentile, ms", f"{1000 * busy['p99']:.1f}", ""),
        ("    relative to one photo at a time", f"{busy['p99'] / idle:.1f} x", "< 4 x"),
        ("    statuses", f"{busy['statuses']}", "200 only"),
        ("at 4 x load: captions per second", f"{overload['per_second']:.1f}", ""),
        ("    longest latency, s", f"{overload['longest']:.2f}", "<= 2"),
        ("    statuses", f"{overload['statuses']}", "200 and 503 only"),
        ("one photo afterwards, relative", f"{results.idle_after['median'] / idle:.2f} x", "1 x"),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=10, help="per measurement")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--model")
    if len(sys.argv) > 1 and sys.argv[1] in ("load", "captioner"):
        parser.add_argument("role")
        parser.add_argument("--url")
        parser.add_argument("--rate", type=float)
        parser.add_argument("photos", type=Path, nargs="+")
        arguments = parser.parse_args()
        is_load = arguments.role == "load"
        print(json.dumps(asyncio.run(run_load(arguments)) if is_load else run_captioner(arguments)))
        return
    parser.add_argument("--folder", type=Path, help="JPEG files (default: Flickr8k, or examples/)")
    arguments, options = parser.parse_known_args()
    options += ["--model", arguments.model] if arguments.model else []
    rows = table(measure(arguments, options))
    load = os.getloadavg()[0]
    print(f"{os.cpu_count()} cores, load {load:.1f}, {' '.join(options) or 'default options'}")
    for row in rows:
        print("{:<40} {:<36} {}".format(*row).rstrip())


if __name__ == "__main__":
    main()
