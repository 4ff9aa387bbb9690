"""Errors as RFC 9457 problem documents, each of which says what to do."""

from __future__ import annotations

import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from starlette.exceptions import HTTPException

from showtell.server.schemas import ProblemOut

MEDIA_TYPE = "application/problem+json"
_SCHEMAS = "#/components/schemas/"
PROBLEM_SCHEMA = f"{_SCHEMAS}{ProblemOut.__name__}"
_MOST_ERRORS = 20


class ProblemError(Exception):
    """An answer that is an error: `kind` names it for programs, `detail` says what to do."""

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
        """Return the problem document."""
        content = {
            "type": f"urn:showtell:{self.kind}",
            "title": self.status.phrase,
            "status": self.status.value,
            "detail": self.detail,
            **self.members,
        }
        return Response(
            json.dumps(content), self.status, headers=self.headers, media_type=MEDIA_TYPE
        )


_DETAILS = {
    404: "nothing is served here: see /openapi.json for what is",
    405: "not by this method: see /openapi.json",
}


def add_problems(app: FastAPI) -> None:
    """Have every error that a request can meet answered with a problem document."""

    @app.exception_handler(ProblemError)
    async def raised(request: Request, error: ProblemError) -> Response:
        return error.response()

    @app.exception_handler(HTTPException)
    async def http(request: Request, error: HTTPException) -> Response:
        status = HTTPStatus(error.status_code)
        detail = _DETAILS.get(error.status_code, str(error.detail))
        kind = status.phrase.lower().replace(" ", "-")
        return ProblemError(status, kind, detail, headers=error.headers).response()

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        errors = [
            {"parameter": ".".join(map(str, item["loc"])), "detail": item["msg"]}
            for item in error.errors()[:_MOST_ERRORS]
        ]
        return invalid_request(errors).response()


def describe_problems(app: FastAPI) -> None:
    """Have the OpenAPI description define what its answers refer to as `PROBLEM_SCHEMA`."""
    plain = app.openapi

    def described() -> dict[str, Any]:
        description = plain()
        problem = ProblemOut.model_json_schema(ref_template=_SCHEMAS + "{model}")
        definitions = {**problem.pop("$defs"), ProblemOut.__name__: problem}
        description["components"]["schemas"].update(definitions)
        return description

    app.openapi = described  # type: ignore[method-assign]  # FastAPI's own way to extend it


def invalid_request(errors: list[dict[str, str]]) -> ProblemError:
    """Return the problem of wrong parameters, each with its name and what is wrong with it."""
    named = "; ".join(f"{item['parameter']}: {item['detail']}" for item in errors)
    return ProblemError(
        HTTPStatus.UNPROCESSABLE_ENTITY, "invalid-request", named[:2000], errors=errors
    )
