"""Reads the photos of a request from its body into memory, within limits."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass
from http import HTTPStatus

from python_multipart.multipart import parse_options_header
from starlette.requests import Request

from showtell.server.metrics import Metrics
from showtell.server.photo_form import PHOTOS_FIELD, PhotoForm
from showtell.server.problem_details import ProblemError, body_too_large
from showtell.server.settings import MEGABYTE, ServerSettings


@dataclass(frozen=True)
class UploadedPhotos:
    """The photos of a request and their names; `is_form` is False for a photo as raw body."""

    photos: list[bytes]
    names: list[str | None]
    is_form: bool


class UploadBudget:
    """Reads request bodies, and bounds the memory that all of them take together."""

    def __init__(self, settings: ServerSettings, metrics: Metrics) -> None:
        self.settings = settings
        self.metrics = metrics
        self.used = 0  # bytes

    @contextlib.asynccontextmanager
    async def read(self, request: Request) -> AsyncIterator[UploadedPhotos]:
        """Read a request's photos; they count against the budget until the block ends.

        Raises ProblemError if the body is too large, too slow or malformed, and ClientDisconnect
        if the client disconnects.
        """
        share = _RequestShare(self)
        try:
            try:
                async with asyncio.timeout(self.settings.upload_timeout):
                    uploaded = await self._read(request, share)
            except TimeoutError:
                raise ProblemError(
                    HTTPStatus.REQUEST_TIMEOUT,
                    "body-too-slow",
                    f"the body did not arrive within {self.settings.upload_timeout:g} s:"
                    " send smaller photos, or fewer per request",
                    headers={"Connection": "close"},
                ) from None
            yield uploaded
        finally:
            share.release()

    async def _read(self, request: Request, share: _RequestShare) -> UploadedPhotos:
        content_type, parameters = parse_options_header(request.headers.get("content-type", ""))
        if not content_type.lower().startswith(b"multipart/"):
            chunks = [chunk async for chunk in share.stream(request)]
            return UploadedPhotos([b"".join(chunks)], [None], is_form=False)
        if content_type.lower() != b"multipart/form-data" or not parameters.get(b"boundary"):
            raise ProblemError(
                HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
                "wrong-form",
                "send one photo as the body itself, or a form (multipart/form-data with a"
                f" boundary) with photos in the field '{PHOTOS_FIELD}'",
            )
        form = PhotoForm(parameters[b"boundary"], self.settings.max_photos)
        async for chunk in share.stream(request):
            form.write(chunk)
        form.finish()
        return UploadedPhotos(form.photos, form.names, is_form=True)


class _RequestShare:
    """The part of the budget that one request uses."""

    def __init__(self, budget: UploadBudget) -> None:
        self.budget = budget
        self.used = 0  # bytes

    async def stream(self, request: Request) -> AsyncGenerator[bytes, None]:
        """Yield the body in chunks; raises ProblemError past a limit of the request or of all."""
        settings = self.budget.settings
        async with contextlib.aclosing(request.stream()) as stream:
            async for chunk in stream:
                self._add(len(chunk))
                if self.used > settings.max_body * MEGABYTE:
                    raise body_too_large(settings)
                if self.budget.used > settings.max_uploads * MEGABYTE:
                    raise ProblemError(
                        HTTPStatus.SERVICE_UNAVAILABLE,
                        "no-room",
                        "the service is receiving too many uploads: try again in 1 s",
                        headers={"Retry-After": "1"},
                    )
                yield chunk

    def release(self) -> None:
        self._add(-self.used)

    def _add(self, size: int) -> None:
        self.used += size
        self.budget.used += size
        self.budget.metrics.upload_bytes.set(self.budget.used)
