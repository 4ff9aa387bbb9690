"""The service's side of its workers: starts them, hands them batches, replaces those that die."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from showtell.caption import Caption
from showtell.errors import ShowtellError
from showtell.files.printable_names import printable
from showtell.server import worker_protocol
from showtell.server.photo_queue import Answer, Job, PhotoQueue

START_TIMEOUT = 120.0  # seconds that loading a model may take
_BETWEEN_STARTS = 1.0  # seconds, doubled up to 30, where a new worker cannot be had

logger = logging.getLogger(__name__)


class WorkerError(ShowtellError):
    """A worker cannot be started."""


@dataclass(frozen=True)
class Model:
    """What a worker is to load."""

    bundle: Path
    threads: int
    max_pixels: int


@dataclass(eq=False)
class Worker:
    """A running worker; its messages come and go by a socket."""

    pid: int
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def caption(self, batch: Sequence[Job]) -> list[Answer]:
        """Caption photos of equal options; raises anything where the worker died or lost its mind.

        It has read what strangers sent, and what it answers is not to be relied on.
        """
        request = batch[0].ticket.request
        order = {
            "names": [job.name for job in batch],
            "options": request.options,
            "words": request.words,
        }
        self.writer.writelines(worker_protocol.pack(order, [job.photo for job in batch]))
        await self.writer.drain()
        header, answers = await worker_protocol.receive(self.reader)
        return [
            Answer(bool(failed), answer)
            for _, failed, answer in zip(batch, header["failed"], answers, strict=True)
        ]

    @property
    def alive(self) -> bool:
        """Whether it has not been seen to end."""
        return not self.reader.at_eof()

    def kill(self) -> None:
        """End the worker, whatever it is at."""
        if self.alive:  # else its number may be another's by now
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
        self.close()

    def close(self) -> None:
        """Let the worker end."""
        self.writer.close()


class Workers:
    """As many workers as were asked for, each fed from the queue until `stop`.

    `observe_batch` is told each batch's size and seconds, `observe_death` of each that died.
    """

    def __init__(
        self,
        model: Model,
        queue: PhotoQueue,
        *,
        count: int,
        batch_size: int,
        batch_delay: float,
        photo_timeout: float,
        observe_batch: Callable[[int, float], None] = lambda photos, seconds: None,
        observe_death: Callable[[], None] = lambda: None,
    ) -> None:
        self.model = model
        self.queue = queue
        self.count = count
        self.batch_size = batch_size
        self.batch_delay = batch_delay
        self.photo_timeout = photo_timeout
        self._workers: set[Worker] = set()
        self._observe_batch = observe_batch
        self._observe_death = observe_death
        self._tasks: list[asyncio.Task[None]] = []
        self._template: socket.socket | None = None
        self._starting = asyncio.Lock()
        self._processes: list[subprocess.Popen[bytes]] = []

    @property
    def running(self) -> int:
        """How many workers there are."""
        return sum(worker.alive for worker in self._workers)

    async def start(self) -> None:
        """Start all workers; raises WorkerError where they cannot be."""
        for _ in range(self.count):
            worker = await self._new_worker()
            self._tasks.append(asyncio.create_task(self._feed(worker)))

    async def stop(self) -> None:
        """End all workers; what they are at is lost."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._template is not None:
            self._template.close()
        for process in self._processes:
            with contextlib.suppress(subprocess.TimeoutExpired):
                await asyncio.to_thread(process.wait, 5)
            process.kill()

    async def _feed(self, worker: Worker | None) -> None:
        try:
            while True:
                worker = worker or await self._replacement()
                batch = await self.queue.take(self.batch_size, self.batch_delay)
                if not worker.alive:  # it ended while it was idle: not over these photos
                    self._bury(worker)
                    worker = None
                    try:
                        worker = await self._new_worker()
                    except (OSError, WorkerError):
                        self.queue.refuse(batch)
                        continue
                if not await self._caption(worker, batch):
                    self._bury(worker)
                    worker = None
        finally:
            if worker is not None:
                self._bury(worker)

    async def _caption(self, worker: Worker, batch: list[Job]) -> bool:
        """Have a batch captioned; False where the worker did not survive it."""
        start = time.perf_counter()
        hung = False
        try:
            async with asyncio.timeout(self.photo_timeout):  # batches are short: see BATCH_SECONDS
                answers = await worker.caption(batch)
        except TimeoutError:
            hung, reason = True, f"it took more than {self.photo_timeout:g} seconds"
        except Exception:
            reason = "the process that read it died: damaged, or too large for this machine"
        else:
            seconds = time.perf_counter() - start
            self._observe_batch(len(batch), seconds)
            self.queue.finish(batch, answers, seconds)
            return True
        logger.warning("a worker died or was stopped over %d photo(s)", len(batch))
        self._observe_death()
        self.queue.put_back(batch, lambda job: _failure(job, reason), hung=hung)
        return False

    def _bury(self, worker: Worker) -> None:
        worker.kill()
        self._workers.discard(worker)

    async def _replacement(self) -> Worker:
        pause = _BETWEEN_STARTS
        while True:
            try:
                return await self._new_worker()
            except (OSError, WorkerError) as error:
                logger.error("no new worker: %s", error)
                await asyncio.sleep(pause)
                pause = min(30.0, 2 * pause)

    async def _new_worker(self) -> Worker:
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                if self.model.threads == 1 and sys.platform == "linux":
                    async with self._starting:
                        await self._fork(theirs)
                else:
                    await self._spawn("worker", theirs, ours)
            reader, writer = await asyncio.open_connection(sock=ours)
        except BaseException:
            ours.close()
            raise
        try:
            pid = await _ready(reader)
        except BaseException:
            writer.close()
            raise
        worker = Worker(pid, reader, writer)
        self._workers.add(worker)
        return worker

    async def _fork(self, handle: socket.socket) -> None:
        """Have the template fork a worker; a template that is not there is started first."""
        if self._template is not None:
            try:
                socket.send_fds(self._template, [b"w"], [handle.fileno()])
                return
            except OSError:
                self._template.close()
                self._template = None
        ours, theirs = socket.socketpair()
        with theirs:
            await self._spawn("template", theirs, ours)
        copy = ours.dup()
        reader, writer = await asyncio.open_connection(sock=copy)
        try:
            await _ready(reader)
        except BaseException:
            ours.close()
            raise
        finally:
            writer.close()
        ours.setblocking(True)
        self._template = ours
        socket.send_fds(ours, [b"w"], [handle.fileno()])

    async def _spawn(self, role: str, theirs: socket.socket, ours: socket.socket) -> None:
        """Start a process that loads the model."""
        self._processes = [process for process in self._processes if process.poll() is None]
        # -P: what lies in the folder that the service was started in is no code of ours
        command = [sys.executable, "-P", "-m", "showtell.server.worker_process", role]
        command.append(str(theirs.fileno()))
        # each worker is meant for so many cores, whatever its libraries see of the machine
        cores = str(self.model.threads)
        environment = {
            # Pixels go back to the machine with the photo: among smaller pieces they would leave
            # gaps that glibc keeps, of which damaged photos of all sizes make ever more.
            "MALLOC_MMAP_THRESHOLD_": "1000000",
            **os.environ,
            "OMP_NUM_THREADS": cores,
            "OPENBLAS_NUM_THREADS": cores,
        }
        self._processes.append(
            await asyncio.to_thread(
                subprocess.Popen,
                command,
                pass_fds=(theirs.fileno(),),
                env=environment,
                stdin=subprocess.DEVNULL,
            )
        )
        order: dict[str, Any] = {
            "bundle": os.fspath(self.model.bundle),
            "threads": self.model.threads,
            "max_pixels": self.model.max_pixels,
        }
        for piece in worker_protocol.pack(order):
            ours.sendall(piece)


async def _ready(reader: asyncio.StreamReader) -> int:
    """Wait until a new process says that it has loaded the model; return its number."""
    try:
        async with asyncio.timeout(START_TIMEOUT):
            header, _ = await worker_protocol.receive(reader)
    except (TimeoutError, EOFError, OSError) as error:
        raise WorkerError("a worker ended, or hung, before it had loaded the model") from error
    if not header["ready"]:
        raise WorkerError(header["error"])
    return int(header["pid"])


def _failure(job: Job, reason: str) -> Answer:
    """Answer for a photo that no worker lived to answer for, in the form of a caption."""
    name = printable(job.name) if job.name else "photo"
    record = Caption(error=f"{name}: {reason}").to_dict(words=job.ticket.request.words)
    record["path"] = job.name
    return Answer(True, json.dumps(record).encode())
