"""What the service says (`showtell serve`): its captions, what it tells of itself, its problems."""

from __future__ import annotations

import email.utils
import time
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from showtell.caption import Alternative, Caption, Word
from showtell.errors import PhotoError, ShowtellError
from showtell.files.printable_names import printable

if TYPE_CHECKING:
    import httpx

_LONGEST_DETAIL = 400
_UNREADABLE = "urn:showtell:unreadable-photo"  # the problem's type


class ServiceError(ShowtellError):
    """The service refused or failed, or is not there.

    `status` is its HTTP status and `problem` its problem document (RFC 9457); without an answer
    they are None and empty.
    """

    def __init__(
        self, message: str, *, status: int | None = None, problem: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.problem: Mapping[str, Any] = problem or {}


class PhotoRefusedError(ServiceError, PhotoError):
    """The service cannot read the photo, or it is larger than the service takes."""


@dataclass(frozen=True, slots=True)
class ServedModel:
    """A model that the service captions with; `words` is how many it knows.

    `grid` is rows and columns of an attention map; `terms` are the model's own.
    """

    name: str
    encoder: str
    decoder: str
    words: int
    attention: bool
    grid: tuple[int, int]
    confidence: bool
    terms: str


@dataclass(frozen=True, slots=True)
class Limits:
    """What a request may hold: bytes, photos, pixels of a photo; and how many a minute."""

    max_body: int
    max_photos: int
    max_pixels: int
    requests_a_minute: int | None


Described = TypeVar("Described", ServedModel, Limits)


def content_of(response: httpx.Response, url: str, about: str | None) -> dict[str, Any]:
    """Return the answer's JSON object, or raise what the problem document says in one line.

    `about` is the photo that a refusal is about.
    """
    try:
        data = response.json()
    except ValueError:  # not JSON, or not text at all
        data = None
    if response.is_success:
        if isinstance(data, dict):
            return data
        raise ServiceError(
            f"{url}: answers, but not as showtell does: is it the right address?",
            status=response.status_code,
        )
    problem = data if isinstance(data, dict) else {}
    told = problem.get("detail") or problem.get("title") or response.reason_phrase
    detail = printable(" ".join(str(told).split()))[:_LONGEST_DETAIL]
    status = response.status_code
    if about is not None and (status == 413 or problem.get("type") == _UNREADABLE):
        detail = detail.removeprefix("photo: ")  # what the service calls one without a name
        raise PhotoRefusedError(f"{about}: {detail}", status=status, problem=problem)
    raise ServiceError(f"{url}: {detail} ({status})", status=status, problem=problem)


def described(kind: type[Described], record: Mapping[str, Any]) -> Described:
    """Make a description of what the service says; what a newer one says beside is left out."""
    values: dict[str, Any] = {}
    for field in fields(kind):
        value = record[field.name]
        values[field.name] = tuple(value) if isinstance(value, list) else value
    return kind(**values)


def caption_of(record: Mapping[str, Any], path: Path | None) -> Caption:
    """Make a caption of what the service says of it; its path is the one on this side."""
    if record["error"] is not None:
        return Caption(path, error=record["error"])
    return Caption(
        path=path,
        text=record["text"],
        log_probability=record["log_probability"],
        confidence=record["confidence"],
        alternatives=tuple(
            Alternative(other["text"], other["log_probability"]) for other in record["alternatives"]
        ),
        words=tuple(
            Word(
                word["word"],
                word["log_probability"],
                None if word["attention"] is None else np.array(word["attention"], np.float32),
            )
            for word in record.get("words") or ()
        ),
    )


def retry_after(response: httpx.Response) -> float | None:
    """Return how many seconds the service asks to wait: a number, or a date of HTTP."""
    asked = response.headers.get("Retry-After", "")
    try:
        return max(0.0, float(asked))
    except ValueError:
        pass
    try:
        return max(0.0, email.utils.parsedate_to_datetime(asked).timestamp() - time.time())
    except ValueError:
        return None


def reason(error: Exception) -> str:
    """Return what an error says, in one line."""
    return printable(" ".join(str(error).split())) or type(error).__name__
