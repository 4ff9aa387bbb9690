"""Runs `showtell serve` in separate processes on free ports, for tests."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from support.paths import SAMPLE_PHOTOS

START_TIMEOUT = 400


@dataclass
class RunningService:
    """A service that listens at `url`; `log` has the lines of its standard error so far."""

    url: str
    process: subprocess.Popen[str]
    key: str | None = None
    log: list[str] = field(default_factory=list)

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    def stop(self, number: signal.Signals = signal.SIGTERM, timeout: float = 300) -> int:
        """Send a signal to the service and return its exit status."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(timeout)


@contextlib.contextmanager
def running_service(
    *options: str | os.PathLike[str], **environment: str
) -> Iterator[RunningService]:
    """Run `showtell serve` with these options on a free port, until the block ends."""
    with tempfile.TemporaryDirectory() as folder:  # so that it imports nothing from the project
        process = subprocess.Popen(
            [sys.executable, "-m", "showtell", "serve", "--port", "0", *options],
            cwd=folder,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
        )
        service = RunningService("", process, environment.get("SHOWTELL_API_KEY"))
        listening = threading.Event()
        reader = threading.Thread(target=_read_log, args=(process.stderr, service, listening))
        reader.start()
        try:
            listening.wait(START_TIMEOUT)
            assert service.url, "".join(service.log)
            yield service
        finally:
            if process.poll() is None:
                process.terminate()
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                raise
            finally:
                reader.join(10)


def _read_log(stream: IO[str], service: RunningService, listening: threading.Event) -> None:
    with stream:
        for line in stream:
            service.log.append(line)
            if line.startswith("Listening on "):
                service.url = line.removeprefix("Listening on ").strip()
                listening.set()
    listening.set()


def example_photos() -> list[Path]:
    """The paths of the project's example photos."""
    return sorted(SAMPLE_PHOTOS.glob("*.jpg"))


def child_processes(pid: int) -> list[int]:
    """The running child processes of a process."""
    children = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        with contextlib.suppress(OSError):
            state, parent = (entry / "stat").read_text().rpartition(")")[2].split()[:2]
            if int(parent) == pid and state != "Z":
                children.append(int(entry.name))
    return children
