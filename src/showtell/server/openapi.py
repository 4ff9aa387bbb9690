"""What FastAPI cannot derive from the routes for the OpenAPI description: bodies and errors."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from fastapi import FastAPI

from showtell.server.photo_form import PHOTOS_FIELD
from showtell.server.problem_details import PROBLEM_MEDIA_TYPE
from showtell.server.schemas import ProblemOut

_SCHEMAS = "#/components/schemas/"
_BINARY = {"type": "string", "format": "binary"}

PHOTOS_BODY = {
    "required": True,
    "content": {
        "application/octet-stream": {"schema": _BINARY},
        "image/*": {"schema": _BINARY},
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "required": [PHOTOS_FIELD],
                "additionalProperties": False,
                "properties": {PHOTOS_FIELD: {"type": "array", "minItems": 1, "items": _BINARY}},
            }
        },
    },
}


def problem_responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Describe the problem documents of these statuses, for a route's `responses`."""
    responses: dict[int | str, dict[str, Any]] = {}
    for status in statuses:
        schema = {"$ref": _SCHEMAS + ProblemOut.__name__}
        responses[status] = {
            "description": HTTPStatus(status).phrase,
            "content": {PROBLEM_MEDIA_TYPE: {"schema": schema}},
        }
        if status in (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE):
            responses[status]["headers"] = {
                "Retry-After": {
                    "description": "Seconds until a new attempt makes sense.",
                    "schema": {"type": "integer"},
                }
            }
    return responses


def add_problem_schema(app: FastAPI) -> None:
    """Add the schema of problem documents, which the responses refer to, to the description."""
    generate = app.openapi

    def with_problem_schema() -> dict[str, Any]:
        description = generate()
        problem = ProblemOut.model_json_schema(ref_template=_SCHEMAS + "{model}")
        schemas = {**problem.pop("$defs"), ProblemOut.__name__: problem}
        description["components"]["schemas"].update(schemas)
        return description

    # FastAPI documents this assignment as the way to extend its description.
    app.openapi = with_problem_schema  # type: ignore[method-assign]
