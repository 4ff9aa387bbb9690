"""Turns the responses of the service into captions, descriptions and errors."""

from __future__ import annotations

import email.utils
import time
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from showtell.caption import Alternative, Caption, Keyword, Word
from showtell.errors import PhotoError, ShowtellError
from showtell.files.printable_names import printable

if TYPE_CHECKING:
    import httpx

_MAX_DETAIL_LENGTH = 400
_UNREADABLE_PHOTO = "urn:showtell:unreadable-photo"  # type of the problem document


class ServiceError(ShowtellError):
    """The service refused a request, failed, or cannot be reached.

    `status` is the HTTP status and `problem` the problem document (RFC 9457) of the response.
    Without a response they are None and empty.
    """

    def __init__(
        self, message: str, *, status: int | None = None, problem: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.problem: Mapping[str, Any] = problem or {}


class PhotoRefusedError(ServiceError, PhotoError):
    """The service cannot read the photo, or the photo is larger than it accepts."""


@dataclass(frozen=True, slots=True)
class ServedModel:
    """A model of the service.

    `words` is the size of its vocabulary, `grid` the rows and columns of an attention map, and
    `terms` the terms under which the model may be used.
    """

    name: str
    encoder: str
    decoder: str
    words: int
    attention: bool
    grid: tuple[int, int]
    confidence: bool
    keywords: bool
    terms: str


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of a request.

    `max_body` is in bytes, `max_pixels` counts per photo, `max_request_pixels` all photos of a
    request, with a quarter of a JPEG's, and `requests_per_minute` is None if there is no limit.
    """

    max_body: int
    max_photos: int
    max_pixels: int
    max_request_pixels: int
    requests_per_minute: int | None


Record = TypeVar("Record", ServedModel, Limits)


def parse_response(
    response: httpx.Response, url: str, photo_name: str | None = None
) -> dict[str, Any]:
    """Return the JSON object of a response.

    Raises ServiceError with the problem document's detail in one line, or PhotoRefusedError if
    the service refuses the photo `photo_name`.
    """
    try:
        data = response.json()
    except ValueError:  # not JSON, or not text at all
        data = None
    status = response.status_code
    if response.is_success:
        if isinstance(data, dict):
            return data
        raise ServiceError(
            f"{url}: the response is not from showtell: is this the right address?", status=status
        )
    problem = data if isinstance(data, dict) else {}
    text = problem.get("detail") or problem.get("title") or response.reason_phrase
    detail = _one_line(str(text))[:_MAX_DETAIL_LENGTH]
    if photo_name is not None and (status == 413 or problem.get("type") == _UNREADABLE_PHOTO):
        detail = detail.removeprefix("photo: ")  # the service's name for a photo without a name
        raise PhotoRefusedError(f"{photo_name}: {detail}", status=status, problem=problem)
    raise ServiceError(f"{url}: {detail} ({status})", status=status, problem=problem)


def dataclass_from_record(kind: type[Record], record: Mapping[str, Any]) -> Record:
    """Return a dataclass with the values of a JSON object; unknown keys are ignored."""
    values: dict[str, Any] = {}
    for field in fields(kind):
        value = record[field.name]
        values[field.name] = tuple(value) if isinstance(value, list) else value
    return kind(**values)


def parse_caption(record: Mapping[str, Any], path: Path | None) -> Caption:
    """Return the caption of a JSON record, with the photo's path on this machine."""
    if record["error"] is not None:
        return Caption(path, error=record["error"])
    return Caption(
        path=path,
        text=record["text"],
        log_probability=record["log_probability"],
        confidence=record["confidence"],
        alternatives=tuple(
            Alternative(alternative["text"], alternative["log_probability"])
            for alternative in record["alternatives"]
        ),
        words=tuple(
            Word(
                word["word"],
                word["log_probability"],
                None if word["attention"] is None else np.array(word["attention"], np.float32),
            )
            for word in record.get("words") or ()
        ),
        keywords=tuple(
            Keyword(keyword["word"], keyword["probability"])
            for keyword in record.get("keywords") or ()
        ),
    )


def retry_after(response: httpx.Response) -> float | None:
    """Return the seconds of the Retry-After header, which holds a number or an HTTP date."""
    value = response.headers.get("Retry-After", "")
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    except ValueError:
        return None


def error_text(error: Exception) -> str:
    """Return the message of an error in one line, or its type if it has none."""
    return _one_line(str(error)) or type(error).__name__


def _one_line(text: str) -> str:
    return printable(" ".join(text.split()))
