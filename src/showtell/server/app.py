"""The service as an ASGI application: its routes, and what they are made of."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Depends, FastAPI, Request, Response, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.requests import ClientDisconnect

from showtell import __version__
from showtell.bundle import Bundle, load_bundle
from showtell.bundle.registry import find_bundle
from showtell.decoding.options import Decoding
from showtell.errors import ShowtellError
from showtell.server import photo_queue, schemas, web_page
from showtell.server.metrics import Metrics
from showtell.server.middleware import Guard, RateLimit, check_key
from showtell.server.problem_details import (
    MEDIA_TYPE,
    PROBLEM_SCHEMA,
    ProblemError,
    add_problems,
    describe_problems,
    invalid_request,
)
from showtell.server.settings import MEGABYTE, ServerSettings
from showtell.server.uploads import PHOTOS, UploadRoom
from showtell.server.worker_pool import Model, Workers

Result = TypeVar("Result")
_BEARER = HTTPBearer(auto_error=False, description="The key that the service was started with.")
_GONE = 499  # nobody reads it: the client has left


@dataclass
class Service:
    """What the routes share."""

    settings: ServerSettings
    bundle: Bundle
    metrics: Metrics
    queue: photo_queue.PhotoQueue
    workers: Workers
    uploads: UploadRoom
    clients: RateLimit

    @classmethod
    def of(cls, settings: ServerSettings) -> Service:
        """Read the model's manifest and put everything together; nothing is started yet."""
        bundle = load_bundle(find_bundle(settings.model))
        metrics = Metrics()
        queue = photo_queue.PhotoQueue(
            size=settings.queue_size,
            wait=settings.queue_wait,
            workers=settings.worker_count,
            observe_wait=metrics.queue_seconds.observe,
        )
        workers = Workers(
            Model(bundle.path.resolve(), settings.threads, settings.max_pixels),
            queue,
            count=settings.worker_count,
            batch_size=settings.batch_size,
            batch_delay=settings.batch_delay,
            photo_timeout=settings.photo_timeout,
            observe_batch=metrics.batch,
            observe_death=metrics.worker_deaths.inc,
        )
        metrics.queue_photos.set_function(lambda: queue.waiting)
        metrics.queue_size.set(settings.queue_size)
        metrics.workers.set_function(lambda: workers.running)
        return cls(
            settings,
            bundle,
            metrics,
            queue,
            workers,
            UploadRoom(settings, metrics),
            RateLimit(settings.requests_a_minute),
        )

    async def caption(
        self, request: Request, options: schemas.CaptionOptions
    ) -> tuple[list[photo_queue.Answer], bool]:
        """Caption a request's photos; and tell whether they came as a form."""
        decoding = options.decoding()
        try:
            Decoding.of(self.bundle.manifest.decoding, **decoding)
        except ValueError as error:
            name, _, what = str(error).partition(": ")
            raise invalid_request([{"parameter": f"query.{name}", "detail": what}]) from None
        try:
            self.queue.check_room()  # a body that nothing would come of is not read
            async with self.uploads.read(request) as uploaded:
                order = photo_queue.Request(
                    uploaded.photos, uploaded.names, decoding, words=options.words
                )
                return await unless_gone(request, self.queue.answer(order)), uploaded.many
        except photo_queue.QueueFullError as error:
            self.metrics.refused.inc()
            raise ProblemError(
                HTTPStatus.SERVICE_UNAVAILABLE,
                "queue-full",
                f"more is asked for than this machine can do: try again in {error.retry_after} s",
                headers={"Retry-After": str(error.retry_after)},
            ) from None


async def unless_gone(request: Request, work: Awaitable[Result]) -> Result:
    """Wait for `work`, which is cancelled where the client leaves (raises ClientDisconnect)."""
    working = asyncio.ensure_future(work)
    leaving = asyncio.ensure_future(_left(request))
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ClientDisconnect
        return working.result()
    finally:
        for task in (working, leaving):
            task.cancel()


async def _left(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def create_app(settings: ServerSettings) -> FastAPI:
    """Return the application; its workers start and end with its lifespan.

    `state.failure` is the error for which they could not be started.

    Raises BundleError where there is no such model or it is damaged.
    """
    service = Service.of(settings)

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        try:
            await service.workers.start()
            yield
        except ShowtellError as error:
            app.state.failure = error
            raise
        finally:
            await service.workers.stop()

    app = FastAPI(
        title="showtell",
        version=__version__,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        description="Captions for photos. Errors are RFC 9457 problem documents.",
        license_info={"name": "Apache-2.0"},
        responses=_problems(403, 500),
    )
    add_problems(app)

    @app.exception_handler(ClientDisconnect)
    async def gone(request: Request, error: ClientDisconnect) -> Response:
        return Response(status_code=_GONE)

    app.include_router(_open_routes(service))
    app.include_router(_keyed_routes(service))
    app.include_router(web_page.router)
    app.add_middleware(Guard, settings=settings, metrics=service.metrics)
    app.state.service = service
    app.state.failure = None
    describe_problems(app)
    return app


def _open_routes(service: Service) -> APIRouter:
    """Return the routes for those who watch over the service; they need no key."""
    router = APIRouter()

    @router.get("/health", summary="Is the service alive?")
    async def health() -> schemas.StateOut:
        return schemas.StateOut(status="alive")

    @router.get("/ready", summary="Is there room for a photo?", responses=_problems(503))
    async def ready() -> schemas.StateOut:
        try:
            service.queue.check_room()
        except photo_queue.QueueFullError as error:
            raise _not_ready("the queue is full", error.retry_after) from None
        if not service.workers.running:
            raise _not_ready("no worker runs", 1)
        return schemas.StateOut(status="ready")

    for path, endpoint in (("/health", health), ("/ready", ready)):
        router.add_api_route(path, endpoint, methods=["HEAD"], include_in_schema=False)
    return router


def _keyed_routes(service: Service) -> APIRouter:
    """Return the routes that need the key, where there is one."""
    settings = service.settings

    async def allowed(
        request: Request,
        given: Annotated[HTTPAuthorizationCredentials | None, Security(_BEARER)],
    ) -> None:
        service.clients.check(request.client.host if request.client else "")
        check_key(given.credentials if given else None, settings.api_key)

    async def counted(request: Request) -> None:
        service.clients.check(request.client.host if request.client else "")

    dependency = counted if settings.api_key is None else allowed
    codes = [*([429] if settings.requests_a_minute else []), *([401] if settings.api_key else [])]
    router = APIRouter(dependencies=[Depends(dependency)], responses=_problems(*codes))

    @router.post(
        "/v1/captions",
        summary="Caption photos",
        response_model=schemas.CaptionOut | schemas.CaptionsOut,
        responses=_problems(400, 408, 413, 415, 422, 503),
        openapi_extra={"requestBody": _BODY},
    )
    async def captions(request: Request, options: schemas.OptionsQuery) -> Response:
        """One photo as the body itself, whatever its Content-Type, gives its caption.

        A form with any number of photos gives `captions` in their order; one that cannot be read
        has an `error`, and the others are done.
        """
        answers, many = await service.caption(request, options)
        for answer in answers:
            service.metrics.photos.labels("failed" if answer.failed else "captioned").inc()
        if many:
            body = b'{"captions":[' + b",".join(answer.json for answer in answers) + b"]}"
            return Response(body, media_type="application/json")
        [answer] = answers
        if answer.failed:
            error = schemas.CaptionOut.model_validate_json(answer.json).error or ""
            raise ProblemError(HTTPStatus.UNPROCESSABLE_ENTITY, "unreadable-photo", error)
        return Response(answer.json, media_type="application/json")

    @router.get("/v1/models", summary="The model that captions, and what a request may hold")
    async def models() -> schemas.ModelsOut:
        return schemas.ModelsOut(models=[_model(service.bundle)], limits=_limits(settings))

    @router.get(
        "/metrics",
        summary="Requests, latencies, queue and batches, for Prometheus",
        response_class=Response,
        responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
    )
    async def metrics() -> Response:
        return Response(service.metrics.text(), media_type=CONTENT_TYPE_LATEST)

    return router


def _model(bundle: Bundle) -> schemas.ModelOut:
    manifest = bundle.manifest
    seen = manifest.preprocessing
    return schemas.ModelOut(
        name=manifest.name,
        encoder=str(manifest.encoder.get("network", "")),
        decoder=str(manifest.decoder.get("kind", "")),
        words=len(bundle.vocabulary),
        attention=bool(manifest.decoder["attention"]),
        grid=list(manifest.encoder["grid"]),
        input=schemas.InputOut(
            width=seen.width,
            height=seen.height,
            resize=seen.resize,
            crop_fraction=seen.crop_fraction,
        ),
        decoding=schemas.DecodingOut(
            beam=manifest.decoding.beam,
            length_penalty=manifest.decoding.length_penalty,
            max_length=manifest.decoding.max_length,
        ),
        confidence=manifest.confidence is not None,
        terms=manifest.terms,
    )


def _limits(settings: ServerSettings) -> schemas.LimitsOut:
    return schemas.LimitsOut(
        max_body=settings.max_body * MEGABYTE,
        max_photos=settings.max_photos,
        max_pixels=settings.max_pixels,
        requests_a_minute=settings.requests_a_minute or None,
    )


def _not_ready(why: str, seconds: int) -> ProblemError:
    return ProblemError(
        HTTPStatus.SERVICE_UNAVAILABLE,
        "not-ready",
        f"{why}: try again in {seconds} s",
        headers={"Retry-After": str(seconds)},
    )


def _problems(*codes: int) -> dict[int | str, dict[str, Any]]:
    """Describe problem documents of these codes for OpenAPI."""
    described: dict[int | str, dict[str, Any]] = {}
    for code in codes:
        described[code] = {
            "description": HTTPStatus(code).phrase,
            "content": {MEDIA_TYPE: {"schema": {"$ref": PROBLEM_SCHEMA}}},
        }
        if code in (429, 503):
            described[code]["headers"] = {
                "Retry-After": {"description": "Seconds.", "schema": {"type": "integer"}}
            }
    return described


_BODY = {
    "required": True,
    "content": {
        "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
        "image/*": {"schema": {"type": "string", "format": "binary"}},
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "required": [PHOTOS],
                "additionalProperties": False,
                "properties": {
                    PHOTOS: {
                        "type": "array",
                        "minItems": 1,
                        "items": {"type": "string", "format": "binary"},
                    }
                },
            }
        },
    },
}
