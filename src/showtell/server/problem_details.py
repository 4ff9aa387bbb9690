"""Error responses as problem documents (RFC 9457), each with a way out in its `detail`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from starlette.exceptions import HTTPException

from showtell.server.settings import MEGABYTE, ServerSettings

PROBLEM_MEDIA_TYPE = "application/problem+json"
# Status that logs and metrics record when the client disconnects first (nginx's convention).
CLIENT_CLOSED_REQUEST = 499
_MAX_ERRORS = 20
_MAX_DETAIL_LENGTH = 2000
_DETAILS = {
    404: "there is nothing at this address: see /openapi.json for the API",
    405: "this address does not accept the method: see /openapi.json for the API",
}


class ProblemError(Exception):
    """An error response: `kind` identifies it for programs, `detail` tells people what to do."""

    def __init__(
        self,
        status: HTTPStatus,
        kind: str,
        detail: str,
        *,
        headers: Mapping[str, str] | None = None,
        **members: Any,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.kind = kind
        self.detail = detail
        self.headers = dict(headers or {})
        self.members = members

    def response(self) -> Response:
        """Return the problem document as a response."""
        document = {
            "type": f"urn:showtell:{self.kind}",
            "title": self.status.phrase,
            "status": self.status.value,
            "detail": self.detail,
            **self.members,
        }
        return Response(
            json.dumps(document), self.status, headers=self.headers, media_type=PROBLEM_MEDIA_TYPE
        )


def add_problem_handlers(app: FastAPI) -> None:
    """Answer every error of the application's routes with a problem document."""

    @app.exception_handler(ProblemError)
    async def on_problem(request: Request, error: ProblemError) -> Response:
        return error.response()

    @app.exception_handler(HTTPException)
    async def on_http_exception(request: Request, error: HTTPException) -> Response:
        status = HTTPStatus(error.status_code)
        detail = _DETAILS.get(error.status_code, str(error.detail))
        kind = status.phrase.lower().replace(" ", "-")
        headers = dict(error.headers or {})
        allowed = set(headers.get("Allow", "").split(", "))
        if "GET" in allowed:  # the middleware answers HEAD there
            headers["Allow"] = ", ".join(sorted(allowed | {"HEAD"}))
        return ProblemError(status, kind, detail, headers=headers).response()

    @app.exception_handler(RequestValidationError)
    async def on_validation_error(request: Request, error: RequestValidationError) -> Response:
        errors = [
            {"parameter": ".".join(map(str, item["loc"])), "detail": item["msg"]}
            for item in error.errors()[:_MAX_ERRORS]
        ]
        return invalid_request(errors).response()


def invalid_request(errors: list[dict[str, str]]) -> ProblemError:
    """Return the problem for invalid parameters; each error has `parameter` and `detail`."""
    detail = "; ".join(f"{error['parameter']}: {error['detail']}" for error in errors)
    return ProblemError(
        HTTPStatus.UNPROCESSABLE_ENTITY,
        "invalid-request",
        detail[:_MAX_DETAIL_LENGTH],
        errors=errors,
    )


def body_too_large(settings: ServerSettings) -> ProblemError:
    """Return the problem for a body that is larger than `max_body`."""
    return ProblemError(
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        "body-too-large",
        f"more than {settings.max_body} MB: send smaller photos, or fewer per request",
        max_body=settings.max_body * MEGABYTE,
    )


def too_many_pixels(settings: ServerSettings) -> ProblemError:
    """Return the problem for photos that have more than `max_request_pixels` together."""
    return ProblemError(
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        "too-many-pixels",
        f"the photos have more than {settings.max_request_pixels:,} pixels together: send them in"
        " several requests",
        max_request_pixels=settings.max_request_pixels,
    )


def internal_error() -> ProblemError:
    """Return the problem for an unexpected exception."""
    return ProblemError(
        HTTPStatus.INTERNAL_SERVER_ERROR,
        "internal-error",
        "the service failed: try again; if it fails again, report the error in its log",
    )


def shutting_down() -> ProblemError:
    """Return the problem for a request that the shutdown interrupts."""
    return ProblemError(
        HTTPStatus.SERVICE_UNAVAILABLE,
        "ending",
        "the service is shutting down: try again later",
        headers={"Retry-After": "10", "Connection": "close"},
    )


def busy(reason: str, retry_after: int) -> ProblemError:
    """Return the problem for a request that the queue refuses."""
    return ProblemError(
        HTTPStatus.SERVICE_UNAVAILABLE,
        "queue-full",
        f"the service is busy ({reason}): try again in {retry_after} s",
        headers={"Retry-After": str(retry_after)},
    )


def not_ready(reason: str, retry_after: int) -> ProblemError:
    """Return the problem for a service that cannot take photos at the moment."""
    return ProblemError(
        HTTPStatus.SERVICE_UNAVAILABLE,
        "not-ready",
        f"{reason}: try again in {retry_after} s",
        headers={"Retry-After": str(retry_after)},
    )
