"""Keeps the workers running and feeds them with batches from the queue."""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
import time

from showtell.caption import Caption
from showtell.files.printable_names import printable
from showtell.files.retry import exponential_delay
from showtell.server.metrics import Metrics
from showtell.server.photo_queue import PhotoQueue
from showtell.server.queued_requests import PhotoResult, QueuedPhoto
from showtell.server.settings import ServerSettings
from showtell.server.worker_launcher import Worker, WorkerError, WorkerLauncher

_RETRY_DELAY = 1.0  # seconds until a failed worker start is repeated; doubles each time
_MAX_RETRY_DELAY = 30.0

logger = logging.getLogger(__name__)


class WorkerPool:
    """As many workers as the settings say, each fed from the queue until `stop`.

    A worker that crashes or hangs is replaced, and its photos are tried again.
    """

    def __init__(
        self,
        launcher: WorkerLauncher,
        queue: PhotoQueue,
        settings: ServerSettings,
        metrics: Metrics,
    ) -> None:
        self.launcher = launcher
        self.queue = queue
        self.settings = settings
        self.metrics = metrics
        self._workers: set[Worker] = set()
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def running(self) -> int:
        """The number of live workers."""
        return sum(worker.alive for worker in self._workers)

    async def start(self) -> None:
        """Start all workers; raises WorkerError if one does not start."""
        for _ in range(self.settings.worker_count):
            worker = await self._start_worker()
            self._tasks.append(asyncio.create_task(self._feed(worker)))

    async def stop(self) -> None:
        """Kill all workers and drop their batches."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.launcher.stop()

    async def _feed(self, worker: Worker | None) -> None:
        """Give batches to one worker after the other; each replaces the one that died."""
        try:
            while True:
                worker = worker or await self._start_with_retries()
                batch = await self.queue.take_batch(
                    self.settings.batch_size, self.settings.batch_delay
                )
                if not worker.alive:  # it died while idle, so not because of these photos
                    self._discard(worker)
                    worker = None
                    try:
                        worker = await self._start_worker()
                    except (OSError, WorkerError):
                        self.queue.refuse(batch)
                        continue
                if not await self._caption(worker, batch):
                    self._discard(worker)
                    worker = None
        finally:
            if worker is not None:
                self._discard(worker)

    async def _caption(self, worker: Worker, batch: list[QueuedPhoto]) -> bool:
        """Caption a batch; return False if the worker crashed or hung, and must be replaced."""
        start = time.perf_counter()
        timeout = self.settings.photo_timeout  # also for a batch: see TARGET_BATCH_SECONDS
        hung = False
        try:
            async with asyncio.timeout(timeout):
                done = await worker.caption(batch)
        except TimeoutError:
            hung, reason = True, f"captioning took more than {timeout:g} seconds"
        except Exception:
            reason = (
                "the worker process crashed: the photo is damaged, or too large for this machine"
            )
        else:
            seconds = time.perf_counter() - start
            self.metrics.observe_batch(sum(result is not None for result in done.results), seconds)
            self.queue.finish(batch, done.results, seconds, done.pixels)
            return True
        logger.warning("a worker crashed or was stopped while it captioned %d photo(s)", len(batch))
        self.metrics.worker_deaths.inc()
        self.queue.retry(batch, lambda photo: _failure(photo, reason), hung=hung)
        return False

    async def _start_with_retries(self) -> Worker:
        for failures in itertools.count(1):
            try:
                return await self._start_worker()
            except (OSError, WorkerError) as error:
                logger.error("cannot start a worker: %s", error)
                await asyncio.sleep(exponential_delay(failures, _RETRY_DELAY, _MAX_RETRY_DELAY))
        raise AssertionError  # itertools.count never ends

    async def _start_worker(self) -> Worker:
        worker = await self.launcher.start()
        self._workers.add(worker)
        return worker

    def _discard(self, worker: Worker) -> None:
        worker.kill()
        self._workers.discard(worker)


def _failure(photo: QueuedPhoto, reason: str) -> PhotoResult:
    """Return a caption record with an error, in place of the one the worker did not return."""
    name = printable(photo.name) if photo.name else "photo"
    words = photo.pending.request.words
    record = Caption(error=f"{name}: {reason}").to_dict(words=words, keywords=True)
    record["path"] = photo.name
    return PhotoResult(True, json.dumps(record).encode())
