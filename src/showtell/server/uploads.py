"""Reads the photos of a request from its body into memory, within limits."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass
from http import HTTPStatus

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import parse_options_header
from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from showtell.server.metrics import Metrics
from showtell.server.problem_details import ProblemError, body_too_large
from showtell.server.settings import MEGABYTE, ServerSettings

PHOTOS_FIELD = "photos"
_MAX_NAME_LENGTH = 255
_MAX_TEXT_FIELDS = 16  # a form needs none: the error names the first


@dataclass(frozen=True)
class UploadedPhotos:
    """The photos of a request and their names; `is_form` is False for a photo as raw body."""

    photos: list[bytes]
    names: list[str | None]
    is_form: bool


class _InMemoryParser(MultiPartParser):
    """Keeps files of any size in memory, because uploads must never reach a disk."""

    spool_max_size = 0


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
        form = await self._parse_form(request, share)
        try:
            return await self._photos_of_form(form)
        finally:
            await form.close()

    async def _parse_form(self, request: Request, share: _RequestShare) -> FormData:
        max_photos = self.settings.max_photos
        parser = _InMemoryParser(
            request.headers,
            share.stream(request),
            max_files=max_photos + 1,  # one more than allowed, to give the error below
            max_fields=_MAX_TEXT_FIELDS,
        )
        try:
            return await parser.parse()
        except (MultiPartException, FormParserError) as error:
            reason = error.message if isinstance(error, MultiPartException) else str(error)
            if reason.startswith("Too many files"):
                raise _too_many_photos(max_photos) from None
            raise ProblemError(
                HTTPStatus.BAD_REQUEST, "damaged-form", f"the form cannot be read: {reason}"
            ) from None

    async def _photos_of_form(self, form: FormData) -> UploadedPhotos:
        photos: list[bytes] = []
        names: list[str | None] = []
        for field, value in form.multi_items():
            if field != PHOTOS_FIELD or not isinstance(value, UploadFile):
                raise ProblemError(
                    HTTPStatus.UNPROCESSABLE_ENTITY,
                    "wrong-field",
                    f"a form may only have files in the field '{PHOTOS_FIELD}'; put options into"
                    " the URL: ?beam=5",
                )
            photos.append(await value.read())
            names.append(_base_name(value.filename))
        if not photos:
            raise ProblemError(
                HTTPStatus.UNPROCESSABLE_ENTITY,
                "no-photos",
                f"the form has no photo in the field '{PHOTOS_FIELD}'",
            )
        if len(photos) > self.settings.max_photos:
            raise _too_many_photos(self.settings.max_photos)
        return UploadedPhotos(photos, names, is_form=True)


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


def _too_many_photos(max_photos: int) -> ProblemError:
    return ProblemError(
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        "too-many-photos",
        f"more than {max_photos} photos: send them in several requests",
        max_photos=max_photos,
    )


def _base_name(name: str | None) -> str | None:
    """Return a file name without the folders that some clients send with it."""
    base = (name or "").replace("\\", "/").rpartition("/")[2]
    return base[:_MAX_NAME_LENGTH] or None
