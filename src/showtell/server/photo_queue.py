"""A bounded queue of photos waiting for a worker, with batches and fairness between requests."""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

MAX_RETRY_AFTER = 60  # seconds
TARGET_BATCH_SECONDS = 0.8  # a batch may take this long; slower machines get smaller batches
_INITIAL_SECONDS_PER_PHOTO = 0.02  # a guess, corrected by every finished batch
_MAX_CRASHES = 2  # a photo that crashed this many workers is not tried again


class BusyError(Exception):
    """A request cannot be taken now; `retry_after` is the number of seconds to wait."""

    def __init__(self, reason: str, retry_after: int) -> None:
        super().__init__(reason)
        self.retry_after = retry_after


@dataclass(frozen=True)
class PhotoResult:
    """The JSON record of a photo's caption; `failed` if the record holds an `error`."""

    failed: bool
    json: bytes


@dataclass(frozen=True)
class CaptionRequest:
    """Photos to caption with the same options, and their file names."""

    photos: Sequence[bytes]
    names: Sequence[str | None]
    options: dict[str, Any]
    words: bool = False

    @property
    def batch_key(self) -> object:
        """Photos whose requests have equal keys may share a batch.

        The random numbers of a sample depend on the photo's index in its batch, so each sampled
        photo gets a batch of its own. This keeps its caption reproducible.
        """
        if self.options.get("strategy") == "sample":
            return object()
        return (self.words, *sorted(self.options.items()))


@dataclass(eq=False)
class QueuedPhoto:
    """The photo at `index` of a request; `crashes` counts the workers that it crashed."""

    pending: PendingRequest
    index: int
    crashes: int = 0

    @property
    def data(self) -> bytes:
        """The photo's bytes."""
        return self.pending.request.photos[self.index]

    @property
    def name(self) -> str | None:
        """The photo's file name, if the client sent one."""
        return self.pending.request.names[self.index]


@dataclass(eq=False)
class PendingRequest:
    """A request in the queue: the photos that still wait, and the results so far."""

    request: CaptionRequest
    done: asyncio.Future[None]
    arrived: float
    waiting: deque[QueuedPhoto] = field(default_factory=deque)
    results: dict[int, PhotoResult] = field(default_factory=dict)
    started: bool = False

    def __post_init__(self) -> None:
        self.waiting.extend(QueuedPhoto(self, index) for index in range(len(self.request.photos)))
        self.batch_key = self.request.batch_key

    def add_result(self, photo: QueuedPhoto, result: PhotoResult) -> None:
        """Store a photo's result; the last one completes the request."""
        self.results[photo.index] = result
        if len(self.results) == len(self.request.photos) and not self.done.done():
            self.done.set_result(None)

    def refuse(self, error: BusyError) -> None:
        """Fail the request, unless it is already complete, failed or cancelled."""
        if not self.done.done():
            self.done.set_exception(error)


class PhotoQueue:
    """At most `size` waiting photos; requests take turns, photo by photo.

    Use it from one event loop only. `observe_wait` is called with the seconds that each photo
    waited.
    """

    def __init__(
        self,
        *,
        size: int,
        wait: float,
        workers: int,
        observe_wait: Callable[[float], None] = lambda seconds: None,
    ) -> None:
        self.size = size
        self.wait = wait
        self.workers = workers
        self._observe_wait = observe_wait
        self._pending: deque[PendingRequest] = deque()
        self._retries: deque[QueuedPhoto] = deque()  # from batches that crashed their worker
        self._not_empty = asyncio.Event()
        self._seconds_per_photo = _INITIAL_SECONDS_PER_PHOTO  # of one worker

    @property
    def waiting(self) -> int:
        """The number of waiting photos."""
        return len(self._retries) + sum(len(pending.waiting) for pending in self._pending)

    def retry_after(self, photos: int) -> int:
        """Return the seconds until `photos` waiting photos are probably done."""
        seconds = photos * self._seconds_per_photo / self.workers
        return max(1, min(MAX_RETRY_AFTER, math.ceil(seconds)))

    def check_capacity(self, photos: int = 1) -> None:
        """Raise BusyError if the queue has no room for this many more photos."""
        waiting = self.waiting
        if waiting + photos > self.size:
            raise BusyError("the queue is full", self.retry_after(waiting + photos - self.size))

    async def submit(self, request: CaptionRequest) -> list[PhotoResult]:
        """Queue a request and return its results, one per photo in order.

        Cancelling this call removes the request from the queue.

        Raises BusyError if there is no room, no worker can be started, or none takes its first
        photo in time.
        """
        self.check_capacity(len(request.photos))
        loop = asyncio.get_running_loop()
        pending = PendingRequest(request, loop.create_future(), time.perf_counter())
        self._pending.append(pending)
        self._not_empty.set()
        timer = loop.call_later(self.wait, self._expire, pending)
        try:
            await pending.done
        finally:
            timer.cancel()
            self._remove(pending)
        return [pending.results[index] for index in range(len(request.photos))]

    async def take_batch(self, max_photos: int, delay: float = 0.0) -> list[QueuedPhoto]:
        """Wait for photos and return a batch of them, all with equal options.

        A batch has at most `max_photos` photos, fewer where photos take long. `delay` is how many
        seconds to wait for more photos when there are too few to fill the batch.
        """
        while True:
            await self._not_empty.wait()
            limit = max(1, min(max_photos, int(TARGET_BATCH_SECONDS / self._seconds_per_photo)))
            if delay and not self._retries and self.waiting < limit:
                await asyncio.sleep(delay)
            batch = self._next_batch(limit)
            if batch:
                return batch

    def finish(
        self, batch: Sequence[QueuedPhoto], results: Sequence[PhotoResult], seconds: float
    ) -> None:
        """Record the results of a batch and how many seconds it took."""
        self._seconds_per_photo += 0.1 * (seconds / len(batch) - self._seconds_per_photo)
        for photo, result in zip(batch, results, strict=True):
            photo.pending.add_result(photo, result)

    def retry(
        self,
        batch: Sequence[QueuedPhoto],
        failure: Callable[[QueuedPhoto], PhotoResult],
        *,
        hung: bool = False,
    ) -> None:
        """Queue the photos of a batch whose worker crashed or `hung` once more, each alone.

        A photo that crashed a second worker, or hung one alone, gets the result `failure(photo)`.
        """
        for photo in batch:
            photo.crashes += 1
            if photo.pending.done.done():
                continue
            if photo.crashes >= _MAX_CRASHES or (hung and len(batch) == 1):
                photo.pending.add_result(photo, failure(photo))
            else:
                self._retries.append(photo)
        if self._retries:
            self._not_empty.set()

    def refuse(self, batch: Sequence[QueuedPhoto]) -> None:
        """Refuse the requests of a batch because no worker can be started for it."""
        for photo in batch:
            photo.pending.refuse(
                BusyError("no worker can be started", self.retry_after(self.waiting))
            )

    def _next_batch(self, max_photos: int) -> list[QueuedPhoto]:
        while self._retries:
            photo = self._retries.popleft()
            if not photo.pending.done.done():
                return [photo]
        batch: list[QueuedPhoto] = []
        skipped: list[PendingRequest] = []
        while self._pending and len(batch) < max_photos:
            pending = self._pending.popleft()
            if batch and pending.batch_key != batch[0].pending.batch_key:
                skipped.append(pending)
                continue
            batch.append(self._take_photo(pending))
            if pending.waiting:
                self._pending.append(pending)
        self._pending.extendleft(reversed(skipped))
        if not self._pending:
            self._not_empty.clear()
        return batch

    def _take_photo(self, pending: PendingRequest) -> QueuedPhoto:
        pending.started = True
        self._observe_wait(time.perf_counter() - pending.arrived)
        return pending.waiting.popleft()

    def _expire(self, pending: PendingRequest) -> None:
        if not pending.started:
            pending.refuse(BusyError("no worker was free in time", self.retry_after(self.waiting)))

    def _remove(self, pending: PendingRequest) -> None:
        if pending.waiting:
            pending.waiting.clear()
            self._pending.remove(pending)
            if not self._pending and not self._retries:
                self._not_empty.clear()
