"""The routes of the REST API."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from prometheus_client import CONTENT_TYPE_LATEST

from showtell.bundle import Bundle
from showtell.server import schemas
from showtell.server.access_control import check_key
from showtell.server.openapi import PHOTOS_BODY, problem_responses
from showtell.server.problem_details import ProblemError, not_ready
from showtell.server.queued_requests import BusyError, PhotoResult
from showtell.server.service import Service
from showtell.server.settings import MEGABYTE, ServerSettings

_BEARER = HTTPBearer(auto_error=False, description="The API key of the service.")


def monitoring_routes(service: Service) -> APIRouter:
    """Return the routes for health checks, which never need the API key."""
    router = APIRouter()

    @router.get("/health", summary="Is the service alive?")
    async def health() -> schemas.StatusOut:
        return schemas.StatusOut(status="alive")

    @router.get(
        "/ready", summary="Does the service accept photos now?", responses=problem_responses(503)
    )
    async def ready() -> schemas.StatusOut:
        try:
            service.queue.check_capacity()
        except BusyError as error:
            raise not_ready(str(error), error.retry_after) from None
        if not service.workers.running:
            raise not_ready("no worker is running", 1)
        return schemas.StatusOut(status="ready")

    return router


def api_routes(service: Service) -> APIRouter:
    """Return the routes that need the API key, if the service has one."""
    settings = service.settings

    async def check_rate(request: Request) -> None:
        service.rate_limit.check(request.client.host if request.client else "")

    async def check_rate_and_key(
        request: Request,
        credentials: Annotated[HTTPAuthorizationCredentials | None, Security(_BEARER)],
    ) -> None:
        await check_rate(request)
        check_key(credentials.credentials if credentials else None, settings.api_key)

    # Only a service with a key describes the key in its API description.
    check_access = check_rate if settings.api_key is None else check_rate_and_key
    statuses = []
    if settings.requests_per_minute:
        statuses.append(429)
    if settings.api_key:
        statuses.append(401)
    router = APIRouter(dependencies=[Depends(check_access)], responses=problem_responses(*statuses))
    _add_captions_route(router, service)

    @router.get("/v1/models", summary="The model of the service, and the limits of a request")
    async def models() -> schemas.ModelsOut:
        return schemas.ModelsOut(models=[_model_out(service.bundle)], limits=_limits_out(settings))

    @router.get(
        "/metrics",
        summary="Requests, latencies, queue and batches, for Prometheus",
        response_class=Response,
        responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
    )
    async def metrics() -> Response:
        return Response(service.metrics.render(), media_type=CONTENT_TYPE_LATEST)

    return router


def _add_captions_route(router: APIRouter, service: Service) -> None:
    @router.post(
        "/v1/captions",
        summary="Caption photos",
        response_model=schemas.CaptionOut | schemas.CaptionsOut,
        responses=problem_responses(400, 408, 413, 415, 422, 503),
        openapi_extra={"requestBody": PHOTOS_BODY},
    )
    async def captions(request: Request, options: schemas.OptionsQuery) -> Response:
        """Send one photo as the body itself, with any Content-Type, to get its caption.

        Send a form with any number of photos to get `captions` in the same order. A photo that
        cannot be read gets an `error`; the others get their captions.
        """
        results, is_form = await service.caption(request, options)
        for result in results:
            service.metrics.photos.labels("failed" if result.failed else "captioned").inc()
        return _form_response(results) if is_form else _photo_response(*results)


def _form_response(results: list[PhotoResult]) -> Response:
    body = b'{"captions":[' + b",".join(result.json for result in results) + b"]}"
    return Response(body, media_type="application/json")


def _photo_response(result: PhotoResult) -> Response:
    if result.failed:
        error = schemas.CaptionOut.model_validate_json(result.json).error or ""
        raise ProblemError(HTTPStatus.UNPROCESSABLE_ENTITY, "unreadable-photo", error)
    return Response(result.json, media_type="application/json")


def _model_out(bundle: Bundle) -> schemas.ModelOut:
    manifest = bundle.manifest
    preprocessing = manifest.preprocessing
    return schemas.ModelOut(
        name=manifest.name,
        encoder=manifest.encoder.network,
        decoder=manifest.decoder.kind,
        words=len(bundle.vocabulary),
        attention=manifest.decoder.attention,
        grid=list(manifest.encoder.grid),
        input=schemas.InputOut(
            width=preprocessing.width,
            height=preprocessing.height,
            resize=preprocessing.resize,
            crop_fraction=preprocessing.crop_fraction,
        ),
        decoding=schemas.DecodingOut(
            beam=manifest.decoding.beam,
            length_penalty=manifest.decoding.length_penalty,
            max_length=manifest.decoding.max_length,
        ),
        confidence=manifest.confidence is not None,
        keywords=manifest.keywords is not None,
        terms=manifest.terms,
    )


def _limits_out(settings: ServerSettings) -> schemas.LimitsOut:
    return schemas.LimitsOut(
        max_body=settings.max_body * MEGABYTE,
        max_photos=settings.max_photos,
        max_pixels=settings.max_pixels,
        max_request_pixels=settings.max_request_pixels,
        requests_per_minute=settings.requests_per_minute or None,
    )
