"""Schemas of the REST API.

A caption has the fields of `showtell caption --format jsonl --keywords`.
"""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any, Literal

from fastapi import Query
from pydantic import BaseModel, ConfigDict, Field

from showtell.decoding.options import Decoding, Strategy

_HELP = {option.name: option.metadata["help"] for option in dataclasses.fields(Decoding)}
_Number = Annotated[float, Field(allow_inf_nan=False)]


class CaptionQuery(BaseModel):
    """The options of `showtell caption` that a request may set in its query.

    The bounds are tighter than those of `Decoding`, to limit the work of one request.
    """

    model_config = ConfigDict(extra="forbid")

    strategy: Strategy = Field("beam", description=_HELP["strategy"])
    beam: int | None = Field(None, ge=1, le=16, description=_HELP["beam"])
    nbest: int = Field(1, ge=1, le=16, description=_HELP["nbest"])
    length_penalty: _Number | None = Field(None, ge=0, le=10, description=_HELP["length_penalty"])
    max_length: int | None = Field(None, ge=1, le=64, description=_HELP["max_length"])
    no_repeat_ngram: int | None = Field(None, ge=0, le=64, description=_HELP["no_repeat_ngram"])
    groups: int | None = Field(None, ge=1, le=16, description=_HELP["groups"])
    diversity: _Number = Field(0.5, ge=0, le=100, description=_HELP["diversity"])
    seed: int = Field(0, ge=0, lt=2**32, description=_HELP["seed"])
    temperature: _Number = Field(0.5, ge=0.01, le=10, description=_HELP["temperature"])
    top_k: int = Field(0, ge=0, le=1_000_000, description=_HELP["top_k"])
    top_p: _Number = Field(1.0, gt=0, le=1, description=_HELP["top_p"])
    words: bool = Field(False, description="Return each word's log-probability and attention map.")

    def decoding(self) -> dict[str, Any]:
        """Return the options of `Captioner.caption`."""
        return self.model_dump(exclude={"words"}, exclude_none=True)


class WordOut(BaseModel):
    """A word of a caption; `attention` is a [rows][columns] map of where the model looked."""

    word: str
    log_probability: float
    attention: list[list[float]] | None


class AlternativeOut(BaseModel):
    """Another caption that the model considered."""

    text: str
    log_probability: float


class KeywordOut(BaseModel):
    """A noun, and the probability that people who describe the photo name it."""

    word: str
    probability: float


class CaptionOut(BaseModel):
    """A caption, or the `error` why there is none. `words` is only present on request."""

    path: str | None = Field(description="The file name that the client sent; null for a raw body.")
    text: str | None
    log_probability: float | None
    confidence: float | None = Field(
        description="Probability that the caption is good; null if the model has no calibration, or"
        " for another strategy than beam search."
    )
    alternatives: list[AlternativeOut]
    error: str | None
    keywords: list[KeywordOut] = Field(
        description="Nouns, most probable first; empty if the model has no keywords."
    )
    words: list[WordOut] = Field(default=[])


class CaptionsOut(BaseModel):
    """The captions of a form's photos, in the same order."""

    captions: list[CaptionOut]


class DecodingOut(BaseModel):
    """The model's defaults, which apply if a request does not set the option."""

    beam: int
    length_penalty: float
    max_length: int


class InputOut(BaseModel):
    """How the model resizes a photo: to this size in pixels, by `squash`, `crop` or `pad`."""

    width: int
    height: int
    resize: Literal["squash", "crop", "pad"]
    crop_fraction: float


class ModelOut(BaseModel):
    """A model of the service."""

    name: str
    encoder: str = Field(description="The network that turns a photo into features.")
    decoder: str = Field(description="The kind of network that turns features into words.")
    words: int = Field(description="Size of the vocabulary.")
    attention: bool = Field(description="Whether words come with attention maps.")
    grid: list[int] = Field(description="Rows and columns of an attention map.")
    input: InputOut
    decoding: DecodingOut
    confidence: bool = Field(description="Whether captions come with a confidence.")
    keywords: bool = Field(description="Whether captions come with keywords.")
    terms: str = Field(description="The terms under which the model may be used.")


class LimitsOut(BaseModel):
    """The limits of a request."""

    max_body: int = Field(description="Maximum size of the body, in bytes.")
    max_photos: int = Field(description="Maximum photos in a form.")
    max_pixels: int = Field(description="Maximum pixels in a photo.")
    max_request_pixels: int = Field(
        description="Maximum pixels of all photos of a request; of a JPEG, a quarter counts."
    )
    requests_per_minute: int | None = Field(
        description="Maximum requests per minute of one client; null for no limit."
    )


class ModelsOut(BaseModel):
    """The models of this service, and its limits."""

    models: list[ModelOut]
    limits: LimitsOut


class StatusOut(BaseModel):
    """The status of the service."""

    status: Literal["alive", "ready"]


class FieldErrorOut(BaseModel):
    """An invalid parameter and what is wrong with it."""

    parameter: str
    detail: str


class ProblemOut(BaseModel):
    """A problem document (RFC 9457): `type` is for programs, `detail` for people."""

    type: str
    title: str
    status: int
    detail: str
    errors: list[FieldErrorOut] = Field(default=[])


OptionsQuery = Annotated[CaptionQuery, Query()]
