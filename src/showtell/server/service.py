"""The parts of a running service, and how they caption the photos of a request."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import TypeVar

from fastapi import Request
from starlette.requests import ClientDisconnect

from showtell.bundle import Bundle, load_bundle
from showtell.bundle.registry import find_bundle
from showtell.decoding.options import Decoding
from showtell.server.access_control import RateLimit, client_network
from showtell.server.host_names import is_loopback
from showtell.server.metrics import Metrics
from showtell.server.photo_queue import PhotoQueue
from showtell.server.problem_details import busy, invalid_request, too_many_pixels
from showtell.server.queued_requests import (
    BusyError,
    CaptionRequest,
    PhotoResult,
    TooManyPixelsError,
)
from showtell.server.schemas import CaptionQuery
from showtell.server.settings import ServerSettings
from showtell.server.uploads import UploadBudget
from showtell.server.worker_launcher import WorkerLauncher, WorkerModel
from showtell.server.worker_pool import WorkerPool

_T = TypeVar("_T")


@dataclass
class Service:
    """The state that all routes share."""

    settings: ServerSettings
    bundle: Bundle
    metrics: Metrics
    queue: PhotoQueue
    workers: WorkerPool
    uploads: UploadBudget
    rate_limit: RateLimit

    @classmethod
    def create(cls, settings: ServerSettings) -> Service:
        """Read the model's manifest and connect all parts; the workers are not started yet.

        Raises BundleError if the model does not exist or is damaged.
        """
        bundle = load_bundle(find_bundle(settings.model))
        metrics = Metrics()
        queue = PhotoQueue(
            size=settings.queue_size,
            wait=settings.queue_wait,
            workers=settings.worker_count,
            max_pixels=settings.max_request_pixels,
            observe_wait=metrics.queue_seconds.observe,
        )
        model = WorkerModel(bundle.path.resolve(), settings.threads, settings.max_pixels)
        workers = WorkerPool(WorkerLauncher(model), queue, settings, metrics)
        metrics.queue_photos.set_function(lambda: queue.waiting)
        metrics.slow_photos.set_function(lambda: queue.waiting_slow)
        metrics.queue_size.set(settings.queue_size)
        metrics.workers.set_function(lambda: workers.running)
        return cls(
            settings,
            bundle,
            metrics,
            queue,
            workers,
            UploadBudget(settings, metrics),
            RateLimit(settings.requests_per_minute),
        )

    async def caption(
        self, request: Request, options: CaptionQuery
    ) -> tuple[list[PhotoResult], bool]:
        """Caption the photos of a request; return the results, and whether it was a form.

        Raises ProblemError if the request is invalid or too large, or the service is busy.
        """
        decoding = options.decoding()
        try:
            Decoding.of(self.bundle.manifest.decoding, **decoding)
        except ValueError as error:
            name, _, reason = str(error).partition(": ")
            raise invalid_request([{"parameter": f"query.{name}", "detail": reason}]) from None
        try:
            client = _limited_client(request)
            self.queue.check_capacity(client=client)  # before a body is read in vain
            async with self.uploads.read(request) as uploaded:
                queued = CaptionRequest(
                    uploaded.photos, uploaded.names, decoding, words=options.words, client=client
                )
                results = await cancel_on_disconnect(request, self.queue.submit(queued))
                return results, uploaded.is_form
        except BusyError as error:
            self.metrics.refused.inc()
            raise busy(str(error), error.retry_after) from None
        except TooManyPixelsError:
            raise too_many_pixels(self.settings) from None


def _limited_client(request: Request) -> str | None:
    """Return whose photos may fill only half of the queue; None for this machine or a proxy."""
    address = request.client.host if request.client else ""
    return None if is_loopback(address) else client_network(address)


async def cancel_on_disconnect(request: Request, work: Awaitable[_T]) -> _T:
    """Return the result of `work`; cancel it and raise ClientDisconnect if the client leaves."""
    task = asyncio.ensure_future(work)
    disconnect = asyncio.ensure_future(_wait_for_disconnect(request))
    try:
        await asyncio.wait({task, disconnect}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ClientDisconnect
        return task.result()
    finally:
        task.cancel()
        disconnect.cancel()


async def _wait_for_disconnect(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
