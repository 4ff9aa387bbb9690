"""How the service bears load: throughput beside the captioner alone, latency, four times too much.

    python benchmarks/serve.py
    python benchmarks/serve.py --seconds 5 --rounds 3 --workers 2 --batch-size 8

The load comes from a process of its own on loopback. The captioner alone captions the same photos
while the same tool does the same work at the same rate, with nobody at the other end. Machines
differ and are seldom quiet, so what counts are the ratios; both sides take turns. On a machine
that others use, the share by CPU time is the one to be trusted.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import json
import os
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

ROOT = Path(__file__).resolve().parents[1]
PATIENCE = 10.0  # seconds after which a request counts as hung
DRY = b"HTTP/1.1 200 OK\r\ncontent-length: 170\r\n\r\n" + b" " * 170


# The load: `serve.py load`, a process of its own


@dataclass
class Tally:
    """What became of the requests: statuses, and seconds from when each was due."""

    statuses: Counter[str] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)  # of those answered with a caption
    longest: float = 0.0  # of all

    def add(self, status: str, seconds: float) -> None:
        self.statuses[status] += 1
        self.longest = max(self.longest, seconds)
        if status == "200":
            self.seconds.append(seconds)


class Connection(asyncio.Protocol):
    """A kept-alive connection that sends a request and waits for the whole answer."""

    def __init__(self) -> None:
        self.answer: asyncio.Future[str] | None = None
        self.received = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: Any = transport

    def send(self, request: Sequence[bytes]) -> asyncio.Future[str]:
        self.answer = asyncio.get_running_loop().create_future()
        self.received.clear()
        self.transport.writelines(request)
        return self.answer

    def data_received(self, data: bytes) -> None:
        self.received += data
        head, found, body = self.received.partition(b"\r\n\r\n")
        if not found or self.answer is None:
            return
        length = head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0]
        if len(body) >= int(length) and not self.answer.done():
            self.answer.set_result(head[9:12].decode())

    def connection_lost(self, error: Exception | None) -> None:
        if self.answer is not None and not self.answer.done():
            self.answer.set_result("lost")


class Sink(asyncio.Protocol):
    """Nobody at the other end: takes a request of a known size and answers at once."""

    def __init__(self) -> None:
        self.left = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: Any = transport

    def data_received(self, data: bytes) -> None:
        if not self.left:
            head, _, body = data.partition(b"\r\n\r\n")
            self.left = int(head.rpartition(b": ")[2]) - len(body)
        else:
            self.left -= len(data)
        if not self.left:
            self.transport.write(DRY)


class Load:
    """Sends photos over as many connections as it takes."""

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

    async def one(self, due: float) -> None:
        """Send one photo that was due at `due` and note what came of it."""
        connection = None
        try:
            async with asyncio.timeout(PATIENCE):
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
        """Return a connection that is not in use."""
        while self.idle:
            kept = self.idle.pop()
            if not kept.transport.is_closing():
                return kept
        loop = asyncio.get_running_loop()
        _, made = await loop.create_connection(Connection, self.host, self.port)
        return made

    async def closed(self, clients: int, seconds: float) -> None:
        """So many clients, each of which asks again when it has its answer."""
        end = time.perf_counter() + seconds

        async def client() -> None:
            while (now := time.perf_counter()) < end:
                await self.one(now)

        await asyncio.gather(*(client() for _ in range(clients)))

    async def paced(self, rate: float, seconds: float) -> None:
        """A request every 1 / `rate` seconds, whether or not the ones before are answered."""
        start = time.perf_counter()
        tasks = []
        for number in range(round(rate * seconds)):
            due = start + number / rate
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            tasks.append(asyncio.create_task(self.one(due)))
        await asyncio.gather(*tasks)


async def load(arguments: argparse.Namespace) -> dict[str, Any]:
    photos = [path.read_bytes() for path in arguments.photos]
    sink = None
    if arguments.url:
        place = urlsplit(arguments.url)
        host, port = place.hostname, place.port
    else:
        sink = await asyncio.get_running_loop().create_server(Sink, "127.0.0.1", 0)
        host, port = sink.sockets[0].getsockname()
    sender = Load(host, port, photos)
    start, used = time.perf_counter(), time.process_time()
    if arguments.rate:
        await sender.paced(arguments.rate, arguments.seconds)
    else:
        await sender.closed(arguments.clients, arguments.seconds)
    lasted = time.perf_counter() - start
    tally = sender.tally
    found = sorted(tally.seconds) or [float("nan")]
    return {
        "a_second": len(tally.seconds) / lasted,
        "median": statistics.median(found),
        "p99": found[min(len(found) - 1, round(0.99 * len(found)))],
        "longest": tally.longest,
        "statuses": tally.statuses,
        "cores": (time.process_time() - used) / lasted,
    }


# The captioner alone: `serve.py alone`


def alone(arguments: argparse.Namespace) -> dict[str, Any]:
    from showtell import Captioner

    captioner = Captioner.load(arguments.model)
    photos = [path.read_bytes() for path in arguments.photos]
    list(captioner.caption(photos[:16]))
    start, used = time.perf_counter(), time.process_time()

    def until_the_end() -> Iterator[bytes]:
        for photo in itertools.cycle(photos):
            if time.perf_counter() - start > arguments.seconds:
                return
            yield photo

    done = sum(1 for _ in captioner.caption(until_the_end()))
    lasted = time.perf_counter() - start
    return {"a_second": done / lasted, "cpu": (time.process_time() - used) / done}


# What is measured


def cpu_of(pid: int) -> float:
    """Seconds of CPU that a process and those it started have used so far (Linux)."""
    total = 0.0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            number, _, rest = stat.read_text().partition(" ")
            fields = rest.rpartition(")")[2].split()
            if int(number) == pid:
                total += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
            elif int(fields[1]) == pid:
                total += cpu_of(int(number))
    return total


@contextlib.contextmanager
def service(options: Sequence[str]) -> Iterator[tuple[str, int]]:
    """Run the service; yields its address and process."""
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


class Bench:
    """Runs the load tool and the captioner as processes."""

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
        return finished(self.start(role, *options))

    def alone(self, rate: float) -> dict[str, Any]:
        """Photos a second of the captioner while the tool works at `rate` with nobody there."""
        tool = self.start("load", "--rate", rate, "--seconds", self.seconds + 4)
        try:
            return self.run("alone")
        finally:
            tool.terminate()
            tool.communicate()


def finished(process: subprocess.Popen[str]) -> dict[str, Any]:
    output, _ = process.communicate()
    found: dict[str, Any] = json.loads(output)
    return found


def photos_of(arguments: argparse.Namespace) -> list[Path]:
    flickr = ROOT.parent / "shared" / "flickr8k" / "Flicker8k_Dataset"
    folder = arguments.folder or (flickr if flickr.is_dir() else ROOT / "examples")
    return sorted(folder.glob("*.jpg"))[:100]


def measure(arguments: argparse.Namespace, options: Sequence[str]) -> None:
    bench = Bench(arguments)
    rows: list[tuple[str, str, str]] = []
    with service(options) as (url, pid):
        bench.run("load", "--url", url, "--clients", 8)  # warm
        before = bench.run("load", "--url", url, "--clients", 1)
        served, only, tool, cpu, cpu_alone = [], [], [], [], []
        for _ in range(arguments.rounds):
            used = cpu_of(pid)
            found = bench.run("load", "--url", url, "--clients", arguments.clients)
            cpu.append((cpu_of(pid) - used) / found["statuses"]["200"])
            served.append(found["a_second"])
            tool.append(found["cores"])
            found = bench.alone(found["a_second"])
            only.append(found["a_second"])
            cpu_alone.append(found["cpu"])
        ratio = statistics.median(a / b for a, b in zip(served, only, strict=True))
        most = statistics.median(served)
        eighty = bench.run("load", "--url", url, "--rate", 0.8 * most)
        single = bench.run("load", "--url", url, "--clients", 1)
        four = bench.run("load", "--url", url, "--rate", 4 * most)
        after = bench.run("load", "--url", url, "--clients", 1)
    rows.append(("photos a second", f"{most:.1f}", ""))
    rows.append(("    the captioner alone", f"{statistics.median(only):.1f}", ""))
    rows.append(("    share of it", f"{ratio:.0%}", ">= 85 %"))
    rows.append(("    cores that the load tool took", f"{statistics.median(tool):.2f}", ""))
    spent, least = 1000 * statistics.median(cpu), 1000 * statistics.median(cpu_alone)
    rows.append(("CPU for a photo, ms", f"{spent:.1f}", ""))
    rows.append(("    the captioner alone", f"{least:.1f}", ""))
    rows.append(("    share of it", f"{least / spent:.0%}", ">= 85 %"))
    lone = statistics.median((before["median"], single["median"]))
    rows.append(("one photo, nothing else, ms", f"{1000 * lone:.1f}", ""))
    rows.append(("at 80 % load: median, ms", f"{1000 * eighty['median']:.1f}", ""))
    rows.append(("    99th percentile, ms", f"{1000 * eighty['p99']:.1f}", ""))
    rows.append(("    of one photo's time", f"{eighty['p99'] / lone:.1f} x", "< 4 x"))
    rows.append(("    answers", f"{eighty['statuses']}", "200 only"))
    rows.append(("at 4 x load: captions a second", f"{four['a_second']:.1f}", ""))
    rows.append(("    longest wait for any answer, s", f"{four['longest']:.2f}", "<= 2"))
    rows.append(("    answers", f"{four['statuses']}", "200 and 503 only"))
    rows.append(("one photo afterwards, of before", f"{after['median'] / lone:.2f} x", "1 x"))
    print(
        f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, {' '.join(options) or 'defaults'}"
    )
    for row in [("what", "found", "wanted"), *rows]:
        print("{:<40} {:<36} {}".format(*row).rstrip())


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=10, help="of each measurement")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--model")
    if len(sys.argv) > 1 and sys.argv[1] in ("load", "alone"):
        parser.add_argument("role")
        parser.add_argument("--url")
        parser.add_argument("--rate", type=float)
        parser.add_argument("photos", type=Path, nargs="+")
        arguments = parser.parse_args()
        found = asyncio.run(load(arguments)) if arguments.role == "load" else alone(arguments)
        print(json.dumps(found))
        return
    parser.add_argument("--folder", type=Path, help="of JPEGs (default: Flickr8k, or examples/)")
    arguments, options = parser.parse_known_args()
    options += ["--model", arguments.model] if arguments.model else []
    measure(arguments, options)  # what is left over is for `showtell serve`


if __name__ == "__main__":
    main()
