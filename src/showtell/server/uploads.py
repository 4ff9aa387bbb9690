"""The photos of a request: read from its body into memory, within limits, and let go of after."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass
from http import HTTPStatus

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import parse_options_header
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from showtell.server.metrics import Metrics
from showtell.server.middleware import too_large
from showtell.server.problem_details import ProblemError
from showtell.server.settings import MEGABYTE, ServerSettings

PHOTOS = "photos"  # the form's field
_LONGEST_NAME = 255
_MOST_FIELDS = 16  # of a form that are no files: all of them wrong, the first is named


@dataclass(frozen=True)
class Uploaded:
    """The photos of a request, with their names; `many` tells a form from a raw body."""

    photos: list[bytes]
    names: list[str | None]
    many: bool


class _InMemory(MultiPartParser):
    """Keeps files in memory whatever their size: nothing uploaded is to be on a disk."""

    spool_max_size = 0


class UploadRoom:
    """The memory that bodies may take, all together; in it they are read, and let go of."""

    def __init__(self, settings: ServerSettings, metrics: Metrics) -> None:
        self.settings = settings
        self.metrics = metrics
        self.held = 0

    @contextlib.asynccontextmanager
    async def read(self, request: Request) -> AsyncIterator[Uploaded]:
        """Read a request's photos; they count as held until the block ends.

        Raises ProblemError where the body is too large, too slow, or not what the service takes,
        and ClientDisconnect where the client leaves.
        """
        account = _Account(self)
        try:
            try:
                async with asyncio.timeout(self.settings.upload_timeout):
                    uploaded = await self._read(request, account)
            except TimeoutError:
                raise ProblemError(
                    HTTPStatus.REQUEST_TIMEOUT,
                    "body-too-slow",
                    f"the body did not arrive within {self.settings.upload_timeout:g} s:"
                    " send smaller photos, or fewer in a request",
                    headers={"Connection": "close"},
                ) from None
            yield uploaded
        finally:
            account.close()

    async def _read(self, request: Request, account: _Account) -> Uploaded:
        kind, options = parse_options_header(request.headers.get("content-type", ""))
        if not kind.lower().startswith(b"multipart/"):
            pieces = [piece async for piece in account.counted(request)]
            return Uploaded([b"".join(pieces)], [None], many=False)
        if kind.lower() != b"multipart/form-data" or not options.get(b"boundary"):
            raise ProblemError(
                HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
                "wrong-form",
                "send one photo as the body itself, or a form (multipart/form-data with a"
                f" boundary) with photos in its field '{PHOTOS}'",
            )
        return await self._read_form(request, account)

    async def _read_form(self, request: Request, account: _Account) -> Uploaded:
        most = self.settings.max_photos
        stream = account.counted(request)
        # one file more than may be, so that it can be told from a damaged form
        parser = _InMemory(request.headers, stream, max_files=most + 1, max_fields=_MOST_FIELDS)
        try:
            form = await parser.parse()
        except (MultiPartException, FormParserError) as error:
            what = error.message if isinstance(error, MultiPartException) else str(error)
            if what.startswith("Too many files"):
                raise _too_many(most) from None
            raise ProblemError(
                HTTPStatus.BAD_REQUEST, "damaged-form", f"the form cannot be read: {what}"
            ) from None
        photos: list[bytes] = []
        names: list[str | None] = []
        try:
            for field, value in form.multi_items():
                if field != PHOTOS or not isinstance(value, UploadFile):
                    raise ProblemError(
                        HTTPStatus.UNPROCESSABLE_ENTITY,
                        "wrong-field",
                        f"a form has files in its field '{PHOTOS}' and nothing else; options"
                        " stand in the address: ?beam=5",
                    )
                photos.append(await value.read())
                names.append(_base_name(value.filename))
        finally:
            await form.close()
        if not photos:
            raise ProblemError(
                HTTPStatus.UNPROCESSABLE_ENTITY,
                "no-photos",
                f"the form has no photo in its field '{PHOTOS}'",
            )
        if len(photos) > most:
            raise _too_many(most)
        return Uploaded(photos, names, many=True)


class _Account:
    """What one request holds of the room."""

    def __init__(self, room: UploadRoom) -> None:
        self.room = room
        self.held = 0

    async def counted(self, request: Request) -> AsyncGenerator[bytes, None]:
        """Yield a body as it comes; raises ProblemError where it, or all of them, are too large."""
        settings = self.room.settings
        async with contextlib.aclosing(request.stream()) as stream:
            async for piece in stream:
                self._add(len(piece))
                if self.held > settings.max_body * MEGABYTE:
                    raise too_large(settings)
                if self.room.held > settings.max_uploads * MEGABYTE:
                    raise ProblemError(
                        HTTPStatus.SERVICE_UNAVAILABLE,
                        "no-room",
                        "more is being sent than this machine may hold: try again in 1 s",
                        headers={"Retry-After": "1"},
                    )
                yield piece

    def close(self) -> None:
        self._add(-self.held)

    def _add(self, size: int) -> None:
        self.held += size
        self.room.held += size
        self.room.metrics.upload_bytes.set(self.room.held)


def _too_many(most: int) -> ProblemError:
    return ProblemError(
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        "too-many-photos",
        f"more than {most} photos: send them in several requests",
        max_photos=most,
    )


def _base_name(name: str | None) -> str | None:
    """Return a file's name without the folders that some clients send with it."""
    base = (name or "").replace("\\", "/").rpartition("/")[2]
    return base[:_LONGEST_NAME] or None
