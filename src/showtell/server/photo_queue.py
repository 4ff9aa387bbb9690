"""A bounded queue of photos waiting for a worker, with batches and fairness between requests."""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable, Sequence

from showtell.server.photo_pixels import LIGHT_PIXELS
from showtell.server.queued_requests import (
    BusyError,
    CaptionRequest,
    PendingRequest,
    PhotoResult,
    QueuedPhoto,
    TooManyPixelsError,
)

MAX_RETRY_AFTER = 60  # seconds
TARGET_BATCH_SECONDS = 0.8  # a batch may take this long; slower machines get smaller batches
_INITIAL_SECONDS_PER_PHOTO = 0.02  # a guess, corrected by every finished batch
_INITIAL_SECONDS_PER_SLOW_PHOTO = 0.5
_MAX_CRASHES = 2  # a photo that crashed this many workers is not tried again


class PhotoQueue:
    """At most `size` waiting photos; requests take turns, photo by photo.

    Slow photos wait apart from the others, and take turns with their batches. At most half of the
    workers have slow photos at once, and at most half have photos of the same request, so that no
    request keeps the others waiting. A request may have `max_pixels` pixels.

    Use it from one event loop only. `observe_wait` is called with the seconds that each photo
    waited.
    """

    def __init__(
        self,
        *,
        size: int,
        wait: float,
        workers: int,
        max_pixels: float = math.inf,
        observe_wait: Callable[[float], None] = lambda seconds: None,
    ) -> None:
        self.size = size
        self.wait = wait
        self.workers = workers
        self.max_pixels = max_pixels
        self._share = max(1, workers // 2)  # of the workers
        self._observe_wait = observe_wait
        self._pending: deque[PendingRequest] = deque()  # with photos that are not slow
        self._slow_pending: deque[PendingRequest] = deque()  # with slow photos
        self._slow_batches = 0  # that workers have
        self._is_slow_turn = False
        self._changed = asyncio.Event()  # there may be a batch for a worker
        self._seconds_per_photo = _INITIAL_SECONDS_PER_PHOTO  # of one worker
        self._seconds_per_slow_photo = _INITIAL_SECONDS_PER_SLOW_PHOTO

    @property
    def waiting(self) -> int:
        """The number of waiting photos, without slow ones."""
        return sum(len(pending.waiting) for pending in self._pending)

    @property
    def waiting_slow(self) -> int:
        """The number of waiting slow photos."""
        return sum(len(pending.slow) for pending in self._slow_pending)

    def retry_after(self, photos: int) -> int:
        """Return the seconds until `photos` waiting photos are probably done."""
        return _rounded(self._seconds_for(photos))

    def check_capacity(self, photos: int = 1, client: str | None = None) -> None:
        """Raise BusyError if the queue has no room for this many more photos of a client.

        The room is what the workers can do within `wait` seconds, and at most `size`. Requests of
        several photos leave a quarter of it to single photos, unless nothing else waits.
        """
        waiting = self.waiting
        size = self.size - self.size // 4 if photos > 1 and waiting else self.size
        if waiting + photos > size:
            raise BusyError("the queue is full", self.retry_after(waiting + photos - size))
        excess = self._seconds_for(waiting) - self.wait
        if excess > 0:
            raise BusyError("the queue is too slow", _rounded(excess))
        if client is not None:
            theirs = self._waiting_of(client)
            if theirs and theirs + photos > self.size // 2:
                raise BusyError("your other photos are waiting", self.retry_after(theirs))

    async def submit(self, request: CaptionRequest) -> list[PhotoResult]:
        """Queue a request and return its results, one per photo in order.

        Cancelling this call removes the request from the queue.

        Raises BusyError if there is no room, no worker can be started, or none takes its first
        photo in time, and TooManyPixelsError if the request has more than `max_pixels`.
        """
        self.check_capacity(len(request.photos), request.client)
        loop = asyncio.get_running_loop()
        pending = PendingRequest(request, loop.create_future(), time.perf_counter())
        self._pending.append(pending)
        self._changed.set()
        timer = loop.call_later(self.wait, self._expire, pending)
        try:
            await pending.done
        finally:
            timer.cancel()
            self._remove(pending)
        return [pending.results[index] for index in range(len(request.photos))]

    async def take_batch(self, max_photos: int, delay: float = 0.0) -> list[QueuedPhoto]:
        """Wait for photos and return a batch of them, all with equal options.

        A batch has at most `max_photos` photos, fewer where photos take long, and one if it is
        slow. `delay` is how many seconds to wait for more photos when there are too few to fill
        the batch. Every batch must be given back by `finish`, `retry` or `refuse`.
        """
        while True:
            self._changed.clear()
            limit = max(1, min(max_photos, int(TARGET_BATCH_SECONDS / self._seconds_per_photo)))
            if delay and not self.waiting_slow and 0 < self.waiting < limit:
                await asyncio.sleep(delay)
            batch = self._next_batch(limit)
            if batch:
                return batch
            await self._changed.wait()

    def finish(
        self,
        batch: Sequence[QueuedPhoto],
        results: Sequence[PhotoResult | None],
        seconds: float,
        pixels: Sequence[int] = (),
    ) -> None:
        """Record the results of a batch, how many seconds it took, and the pixels of its photos.

        A photo without a result waits again: with many pixels as a slow photo, else as the next of
        its request.
        """
        self._release(batch)
        self._observe_speed(batch, sum(result is not None for result in results), seconds)
        for photo, photo_pixels in zip(batch, pixels, strict=False):
            self._add_pixels(photo, photo_pixels)
        postponed: list[QueuedPhoto] = []
        for photo, result in zip(batch, results, strict=True):
            if result is not None:
                photo.pending.add_result(photo, result)
            elif (photo.pixels or 0) > LIGHT_PIXELS:
                self._add_slow(photo)
            else:
                postponed.append(photo)
        for photo in reversed(postponed):
            self._put_back(photo)

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
        self._release(batch)
        for photo in batch:
            photo.crashes += 1
            if photo.crashes >= _MAX_CRASHES or (hung and len(batch) == 1):
                photo.pending.add_result(photo, failure(photo))
            else:
                self._add_slow(photo)

    def refuse(self, batch: Sequence[QueuedPhoto]) -> None:
        """Refuse the requests of a batch because no worker can be started for it."""
        self._release(batch)
        for photo in batch:
            photo.pending.refuse(
                BusyError("no worker can be started", self.retry_after(self.waiting))
            )

    def _seconds_for(self, photos: int) -> float:
        return photos * self._seconds_per_photo / self.workers

    def _slow_seconds_for(self, photos: int) -> float:
        return photos * self._seconds_per_slow_photo / self._share

    def _waiting_of(self, client: str) -> int:
        pending = {*self._pending, *self._slow_pending}
        return sum(
            len(each.waiting) + len(each.slow) for each in pending if each.request.client == client
        )

    def _next_batch(self, max_photos: int) -> list[QueuedPhoto]:
        if self._is_slow_turn:
            batch = self._slow_batch() or self._light_batch(max_photos)
        else:
            batch = self._light_batch(max_photos) or self._slow_batch()
        if batch:
            self._is_slow_turn = not batch[0].is_slow
            self._slow_batches += batch[0].is_slow
            for pending in {photo.pending for photo in batch}:
                pending.batches += 1
        return batch

    def _light_batch(self, max_photos: int) -> list[QueuedPhoto]:
        batch: list[QueuedPhoto] = []
        skipped: list[PendingRequest] = []
        while self._pending and len(batch) < max_photos:
            pending = self._pending.popleft()
            other_options = batch and pending.batch_key != batch[0].pending.batch_key
            if other_options or pending.batches >= self._share:
                skipped.append(pending)
                continue
            batch.append(self._take_photo(pending))
            if pending.waiting:
                self._pending.append(pending)
        self._pending.extendleft(reversed(skipped))
        return batch

    def _slow_batch(self) -> list[QueuedPhoto]:
        if self._slow_batches >= self._share:
            return []
        for pending in self._slow_pending:
            if pending.batches < self._share:
                self._slow_pending.remove(pending)
                photo = pending.slow.popleft()
                if pending.slow:
                    self._slow_pending.append(pending)
                return [photo]
        return []

    def _take_photo(self, pending: PendingRequest) -> QueuedPhoto:
        pending.started = True
        photo = pending.waiting.popleft()
        if photo.pixels is None:  # not put back
            self._observe_wait(time.perf_counter() - pending.arrived)
        return photo

    def _release(self, batch: Sequence[QueuedPhoto]) -> None:
        self._slow_batches -= batch[0].is_slow
        for pending in {photo.pending for photo in batch}:
            pending.batches -= 1
        self._changed.set()

    def _observe_speed(self, batch: Sequence[QueuedPhoto], done: int, seconds: float) -> None:
        if not done:
            return
        if batch[0].is_slow:
            self._seconds_per_slow_photo += 0.1 * (seconds - self._seconds_per_slow_photo)
        else:
            self._seconds_per_photo += 0.1 * (seconds / done - self._seconds_per_photo)

    def _add_pixels(self, photo: QueuedPhoto, pixels: int) -> None:
        if photo.pixels is None:
            photo.pixels = pixels
            photo.pending.pixels += pixels
            if photo.pending.pixels > self.max_pixels:
                photo.pending.refuse(TooManyPixelsError())

    def _put_back(self, photo: QueuedPhoto) -> None:
        """Make a photo the next of its request, and the request the next to be taken."""
        if photo.pending.done.done():
            return
        if not photo.pending.waiting:
            self._pending.appendleft(photo.pending)
        photo.pending.waiting.appendleft(photo)

    def _add_slow(self, photo: QueuedPhoto) -> None:
        """Queue a slow photo; refuse its request if too many are waiting."""
        pending = photo.pending
        if pending.done.done():
            return
        waiting = self.waiting_slow
        seconds = self._slow_seconds_for(waiting)
        if waiting >= self.size or seconds > self.wait:
            pending.refuse(BusyError("too many large photos are waiting", _rounded(seconds)))
            return
        if pending.request.client is not None:
            theirs = sum(
                len(each.slow)
                for each in self._slow_pending
                if each.request.client == pending.request.client
            )
            seconds = self._slow_seconds_for(theirs)
            if theirs >= self.size // 2 or seconds > self.wait / 2:
                pending.refuse(BusyError("your other large photos are waiting", _rounded(seconds)))
                return
        photo.is_slow = True
        if not pending.slow:
            self._slow_pending.append(pending)
        pending.slow.append(photo)
        self._changed.set()

    def _expire(self, pending: PendingRequest) -> None:
        if not pending.started:
            pending.refuse(BusyError("no worker was free in time", self.retry_after(self.waiting)))

    def _remove(self, pending: PendingRequest) -> None:
        if pending.waiting:
            pending.waiting.clear()
            self._pending.remove(pending)
        if pending.slow:
            pending.slow.clear()
            self._slow_pending.remove(pending)


def _rounded(seconds: float) -> int:
    return max(1, min(MAX_RETRY_AFTER, math.ceil(seconds)))
