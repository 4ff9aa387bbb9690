"""Photos that wait for a worker: a bounded queue, handed out in batches, fair between requests."""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

MOST_SECONDS = 60  # of Retry-After
BATCH_SECONDS = 0.8  # that a batch may take: a slower machine makes smaller ones
_DEATHS = 2  # a photo that has ended so many workers is not tried again


class QueueFullError(Exception):
    """There is no room for a request, or its turn did not come in time."""

    def __init__(self, retry_after: int) -> None:
        super().__init__("the queue is full")
        self.retry_after = retry_after


@dataclass(frozen=True)
class Answer:
    """What a worker made of a photo: the JSON of a caption, which may be one with an `error`."""

    failed: bool
    json: bytes


@dataclass(frozen=True)
class Request:
    """Photos to be captioned by the same options, with the names they came by."""

    photos: Sequence[bytes]
    names: Sequence[str | None]
    options: dict[str, Any]
    words: bool = False

    @property
    def batch_key(self) -> object:
        """Photos of equal keys may share a batch.

        A sample is drawn by the photo's place in its batch: alone, it is always the same place.
        """
        if self.options.get("strategy") == "sample":
            return object()
        return (self.words, *sorted(self.options.items()))


@dataclass(eq=False)
class Job:
    """A photo of a request on its way; `deaths` counts the workers that ended over it."""

    ticket: Ticket
    place: int
    deaths: int = 0

    @property
    def photo(self) -> bytes:
        """The photo as it was sent."""
        return self.ticket.request.photos[self.place]

    @property
    def name(self) -> str | None:
        """The name it came by."""
        return self.ticket.request.names[self.place]


@dataclass(eq=False)
class Ticket:
    """A request's place in the queue."""

    request: Request
    done: asyncio.Future[None]
    arrived: float
    waiting: deque[Job] = field(default_factory=deque)
    answers: dict[int, Answer] = field(default_factory=dict)
    begun: bool = False

    def __post_init__(self) -> None:
        self.waiting.extend(Job(self, place) for place in range(len(self.request.photos)))
        self.key = self.request.batch_key


class PhotoQueue:
    """Photos that wait, `size` at most; requests take turns, photo by photo.

    All methods belong to one event loop. `observe_wait` is told how long each photo waited.
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
        self._tickets: deque[Ticket] = deque()
        self._again: deque[Job] = deque()  # photos of batches that a worker did not survive
        self._filled = asyncio.Event()
        self._seconds = 0.02  # that a photo takes a worker: a guess, corrected by every batch

    @property
    def waiting(self) -> int:
        """How many photos wait."""
        return len(self._again) + sum(len(ticket.waiting) for ticket in self._tickets)

    def retry_after(self, photos: int) -> int:
        """Return in how many seconds `photos` of those that wait will be gone."""
        seconds = photos * self._seconds / self.workers
        return max(1, min(MOST_SECONDS, math.ceil(seconds)))

    def check_room(self, photos: int = 1) -> None:
        """Raise QueueFullError where there is no room for so many photos more."""
        waiting = self.waiting
        if waiting + photos > self.size:
            raise QueueFullError(self.retry_after(waiting + photos - self.size))

    async def answer(self, request: Request) -> list[Answer]:
        """Wait for a request's answers, one for each photo in order.

        Raises QueueFullError where there is no room, or no worker for it in time. To be cancelled
        is to leave the queue.
        """
        self.check_room(len(request.photos))
        loop = asyncio.get_running_loop()
        ticket = Ticket(request, loop.create_future(), time.perf_counter())
        self._tickets.append(ticket)
        self._filled.set()
        too_late = loop.call_later(self.wait, self._expire, ticket)
        try:
            await ticket.done
        finally:
            too_late.cancel()
            self._leave(ticket)
        return [ticket.answers[place] for place in range(len(request.photos))]

    async def take(self, most: int, delay: float = 0.0) -> list[Job]:
        """Wait for a batch: photos of equal options, `most` at most, fewer where they take long.

        With a `delay`, so many seconds are given to photos that may still come.
        """
        while True:
            await self._filled.wait()
            most = max(1, min(most, int(BATCH_SECONDS / self._seconds)))
            if delay and not self._again and self.waiting < most:
                await asyncio.sleep(delay)
            batch = self._batch(most)
            if batch:
                return batch

    def finish(self, batch: Sequence[Job], answers: Sequence[Answer], seconds: float) -> None:
        """Hand in a batch's answers and how long they took."""
        self._seconds += 0.1 * (seconds / len(batch) - self._seconds)
        for job, answer in zip(batch, answers, strict=True):
            self._answer(job, answer)

    def put_back(
        self, batch: Sequence[Job], give_up: Callable[[Job], Answer], *, hung: bool = False
    ) -> None:
        """Take back a batch whose worker died, or `hung`: each photo is tried once more, alone.

        A photo that ended a second worker, or hung one alone, is answered with what `give_up`
        makes of it.
        """
        for job in batch:
            job.deaths += 1
            if job.ticket.done.done():
                continue
            if job.deaths >= _DEATHS or (hung and len(batch) == 1):
                self._answer(job, give_up(job))
            else:
                self._again.append(job)
        if self._again:
            self._filled.set()

    def refuse(self, batch: Sequence[Job]) -> None:
        """Refuse the requests of a batch for which there is no worker to be had."""
        for job in batch:
            if not job.ticket.done.done():
                job.ticket.done.set_exception(QueueFullError(self.retry_after(self.waiting)))

    def _batch(self, most: int) -> list[Job]:
        while self._again:
            job = self._again.popleft()
            if not job.ticket.done.done():
                return [job]
        batch: list[Job] = []
        passed: list[Ticket] = []
        while self._tickets and len(batch) < most:
            ticket = self._tickets.popleft()
            if batch and ticket.key != batch[0].ticket.key:
                passed.append(ticket)
                continue
            batch.append(self._next_of(ticket))
            if ticket.waiting:
                self._tickets.append(ticket)
        self._tickets.extendleft(reversed(passed))
        if not self._tickets:
            self._filled.clear()
        return batch

    def _next_of(self, ticket: Ticket) -> Job:
        ticket.begun = True
        self._observe_wait(time.perf_counter() - ticket.arrived)
        return ticket.waiting.popleft()

    def _answer(self, job: Job, answer: Answer) -> None:
        ticket = job.ticket
        ticket.answers[job.place] = answer
        if len(ticket.answers) == len(ticket.request.photos) and not ticket.done.done():
            ticket.done.set_result(None)

    def _expire(self, ticket: Ticket) -> None:
        if not ticket.begun and not ticket.done.done():
            ticket.done.set_exception(QueueFullError(self.retry_after(self.waiting)))

    def _leave(self, ticket: Ticket) -> None:
        if ticket.waiting:
            ticket.waiting.clear()
            self._tickets.remove(ticket)
            if not self._tickets and not self._again:
                self._filled.clear()
