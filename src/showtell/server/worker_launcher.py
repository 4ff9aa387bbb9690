"""Starts worker processes and exchanges messages with them, from the service's side."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from showtell.errors import ShowtellError
from showtell.server.photo_pixels import LIGHT_PIXELS
from showtell.server.queued_requests import PhotoResult, QueuedPhoto
from showtell.server.worker_protocol import encode_message, receive_message

START_TIMEOUT = 120.0  # seconds to load a model
_STOP_TIMEOUT = 5  # seconds
_FORK = b"w"  # any byte: the socket that comes with it is what counts


class WorkerError(ShowtellError):
    """A worker cannot be started."""


@dataclass(frozen=True)
class WorkerModel:
    """The model that a worker loads, and how."""

    bundle: Path
    threads: int
    max_pixels: int


@dataclass(frozen=True)
class BatchResults:
    """The results of a batch, None for photos that were left undone, and what decoding takes."""

    results: list[PhotoResult | None]
    pixels: list[int]


@dataclass(eq=False)
class Worker:
    """A running worker process and the socket to it."""

    pid: int
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def caption(self, batch: Sequence[QueuedPhoto]) -> BatchResults:
        """Caption photos with equal options, or as many of them as may be decoded together.

        Any exception means that the worker crashed or returned garbage. It has decoded untrusted
        photos, so nothing that it returns can be trusted.
        """
        request = batch[0].pending.request
        header = {
            "names": [photo.name for photo in batch],
            "options": request.options,
            "words": request.words,
            "alone": batch[0].is_slow,
        }
        self.writer.writelines(encode_message(header, [photo.data for photo in batch]))
        await self.writer.drain()
        reply, records = await receive_message(self.reader)
        return _batch_results(batch, reply, records)

    @property
    def alive(self) -> bool:
        """Whether the worker has not closed its socket."""
        return not self.reader.at_eof()

    def kill(self) -> None:
        """Kill the worker, even in the middle of a batch."""
        if self.alive:  # otherwise another process may have its pid by now
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
        self.writer.close()


class WorkerLauncher:
    """Starts workers: as forks of one fork server where possible, else as separate processes."""

    def __init__(self, model: WorkerModel) -> None:
        self.model = model
        self._can_fork = model.threads == 1 and sys.platform == "linux"
        self._fork_server: socket.socket | None = None
        self._fork_lock = asyncio.Lock()
        self._processes: list[subprocess.Popen[bytes]] = []

    async def start(self) -> Worker:
        """Start a worker and wait until it has loaded the model.

        Raises WorkerError if it does not, and OSError if the system refuses a new process.
        """
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                if self._can_fork:
                    async with self._fork_lock:
                        await self._fork(theirs)
                else:
                    await self._spawn("worker", theirs, ours)
            reader, writer = await asyncio.open_connection(sock=ours)
        except BaseException:
            ours.close()
            raise
        try:
            pid = await _wait_until_ready(reader)
        except BaseException:
            writer.close()
            raise
        return Worker(pid, reader, writer)

    async def stop(self) -> None:
        """End the fork server, and wait for all processes that the service started."""
        if self._fork_server is not None:
            self._fork_server.close()
        for process in self._processes:
            with contextlib.suppress(subprocess.TimeoutExpired):
                await asyncio.to_thread(process.wait, _STOP_TIMEOUT)
            process.kill()

    async def _fork(self, theirs: socket.socket) -> None:
        """Make the fork server fork a worker for the socket `theirs`; start it if needed."""
        if self._fork_server is not None:
            try:
                socket.send_fds(self._fork_server, [_FORK], [theirs.fileno()])
                return
            except OSError:  # the fork server has died
                self._fork_server.close()
                self._fork_server = None
        self._fork_server = await self._start_fork_server()
        socket.send_fds(self._fork_server, [_FORK], [theirs.fileno()])

    async def _start_fork_server(self) -> socket.socket:
        ours, theirs = socket.socketpair()
        with theirs:
            await self._spawn("fork-server", theirs, ours)
        # asyncio reads from a duplicate, so that closing its stream leaves `ours` open.
        reader, writer = await asyncio.open_connection(sock=ours.dup())
        try:
            await _wait_until_ready(reader)
        except BaseException:
            ours.close()
            raise
        finally:
            writer.close()
        ours.setblocking(True)
        return ours

    async def _spawn(self, role: str, theirs: socket.socket, ours: socket.socket) -> None:
        """Start a worker or a fork server that loads the model."""
        self._processes = [process for process in self._processes if process.poll() is None]
        process = await asyncio.to_thread(
            subprocess.Popen,
            # -P: never import modules from the folder that the service was started in
            [
                sys.executable,
                "-P",
                "-m",
                "showtell.server.worker_process",
                role,
                str(theirs.fileno()),
            ],
            pass_fds=(theirs.fileno(),),
            env=self._environment(),
            stdin=subprocess.DEVNULL,
        )
        self._processes.append(process)
        header: dict[str, Any] = {
            "bundle": os.fspath(self.model.bundle),
            "threads": self.model.threads,
            "max_pixels": self.model.max_pixels,
        }
        for piece in encode_message(header):
            ours.sendall(piece)

    def _environment(self) -> dict[str, str]:
        cores = str(self.model.threads)
        return {
            # Return a photo's pixels to the system as soon as they are freed. Otherwise damaged
            # photos of all sizes fragment glibc's heap, and a worker's memory keeps growing.
            "MALLOC_MMAP_THRESHOLD_": "1000000",
            **os.environ,
            # Without these, numerical libraries start one thread per core in every worker.
            "OMP_NUM_THREADS": cores,
            "OPENBLAS_NUM_THREADS": cores,
        }


def _batch_results(
    batch: Sequence[QueuedPhoto], reply: dict[str, Any], records: Sequence[bytes]
) -> BatchResults:
    """Check a worker's reply; raises ValueError if the batch would be repeated for ever."""
    remaining = iter(records)
    results: list[PhotoResult | None] = []
    pixels: list[int] = []
    for photo, failed, size in zip(batch, reply["failed"], reply["pixels"], strict=True):
        results.append(None if failed is None else PhotoResult(bool(failed), next(remaining)))
        pixels.append(max(0, int(size)))
        if failed is None and photo.is_slow:
            raise ValueError("a slow photo was left undone")
    if not any(results) and max(pixels) <= LIGHT_PIXELS:
        raise ValueError("no photo was captioned")
    return BatchResults(results, pixels)


async def _wait_until_ready(reader: asyncio.StreamReader) -> int:
    """Wait until a new process has loaded the model; return its pid."""
    try:
        async with asyncio.timeout(START_TIMEOUT):
            header, _ = await receive_message(reader)
    except (TimeoutError, EOFError, OSError) as error:
        problem = "hung" if isinstance(error, TimeoutError) else "crashed"
        raise WorkerError(
            f"a worker {problem} before it had loaded the model (limit: {START_TIMEOUT:g} s):"
            " check with showtell doctor, and that there is enough free memory"
        ) from error
    if not header["ready"]:
        raise WorkerError(header["error"])
    return int(header["pid"])
