"""Requests for captions: what a client sends, its photos in the queue, and their results."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any


class BusyError(Exception):
    """A request cannot be taken now; `retry_after` is the number of seconds to wait."""

    def __init__(self, reason: str, retry_after: int) -> None:
        super().__init__(reason)
        self.retry_after = retry_after


class TooManyPixelsError(Exception):
    """The photos of a request have more pixels than the queue accepts."""


@dataclass(frozen=True)
class PhotoResult:
    """The JSON record of a photo's caption; `failed` if the record holds an `error`."""

    failed: bool
    json: bytes


@dataclass(frozen=True)
class CaptionRequest:
    """Photos to caption with the same options, and their file names.

    `client` is whose photos together may fill only half of the queue; None for no such limit.
    """

    photos: Sequence[bytes]
    names: Sequence[str | None]
    options: dict[str, Any]
    words: bool = False
    client: str | None = None

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
    """The photo at `index` of a request; `crashes` counts the workers that it crashed.

    `pixels` is what decoding it takes, None until a worker has read the photo's header. A slow
    photo, with many pixels or after a crash, gets a batch of its own.
    """

    pending: PendingRequest
    index: int
    crashes: int = 0
    pixels: int | None = None
    is_slow: bool = False

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
    """A request in the queue: the photos that still wait, and the results so far.

    `batches` counts the batches at workers that hold photos of it, and `pixels` is the sum of its
    photos whose headers were read.
    """

    request: CaptionRequest
    done: asyncio.Future[None]
    arrived: float
    waiting: deque[QueuedPhoto] = field(default_factory=deque)
    slow: deque[QueuedPhoto] = field(default_factory=deque)
    results: dict[int, PhotoResult] = field(default_factory=dict)
    started: bool = False
    batches: int = 0
    pixels: int = 0

    def __post_init__(self) -> None:
        self.waiting.extend(QueuedPhoto(self, index) for index in range(len(self.request.photos)))
        self.batch_key = self.request.batch_key

    def add_result(self, photo: QueuedPhoto, result: PhotoResult) -> None:
        """Store a photo's result; the last one completes the request."""
        self.results[photo.index] = result
        if len(self.results) == len(self.request.photos) and not self.done.done():
            self.done.set_result(None)

    def refuse(self, error: BusyError | TooManyPixelsError) -> None:
        """Fail the request, unless it is already complete, failed or cancelled."""
        if not self.done.done():
            self.done.set_exception(error)
