"""What goes in and out, as OpenAPI describes it. A caption's fields are those of JSON lines."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import Query
from pydantic import BaseModel, ConfigDict, Field

from showtell.decoding.options import Strategy

_Number = Annotated[float, Field(allow_inf_nan=False)]


class CaptionOptions(BaseModel):
    """The options of `showtell caption` that a request may have, in its query."""

    model_config = ConfigDict(extra="forbid")

    strategy: Strategy = Field("beam", description="`mbr`: of ten, the one that agrees most.")
    beam: int | None = Field(None, ge=1, le=16, description="Width of the search.")
    nbest: int = Field(1, ge=1, le=16, description="Captions: the best and its alternatives.")
    length_penalty: _Number | None = Field(None, ge=0, le=10)
    max_length: int | None = Field(None, ge=1, le=64, description="Most words.")
    no_repeat_ngram: int | None = Field(None, ge=0, le=64)
    groups: int | None = Field(None, ge=1, le=16, description="Groups of `diverse`.")
    diversity: _Number = Field(0.5, ge=0, le=100)
    seed: int = Field(0, ge=0, lt=2**32, description="The same draws the same (`sample`).")
    temperature: _Number = Field(0.5, ge=0.01, le=10)
    top_k: int = Field(0, ge=0, le=1_000_000)
    top_p: _Number = Field(1.0, gt=0, le=1)
    words: bool = Field(
        False, description="Each word's log-probability, and where the model looked."
    )

    def decoding(self) -> dict[str, Any]:
        """Return the options of `Captioner.caption`."""
        return self.model_dump(exclude={"words"}, exclude_none=True)


class WordOut(BaseModel):
    """A word of a caption; `attention` [height][width] says where the model looked."""

    word: str
    log_probability: float
    attention: list[list[float]] | None


class AlternativeOut(BaseModel):
    """Another caption that the model considered."""

    text: str
    log_probability: float


class CaptionOut(BaseModel):
    """A caption, or the `error` that says why there is none. `words` only where asked for."""

    path: str | None = Field(description="The file's name as it was sent; null for a raw body.")
    text: str | None
    log_probability: float | None
    confidence: float | None = Field(
        description="Probability that the caption is a good one; null where it is not known."
    )
    alternatives: list[AlternativeOut]
    error: str | None
    words: list[WordOut] = Field(default=[])


class CaptionsOut(BaseModel):
    """Captions of the photos of a form, in their order."""

    captions: list[CaptionOut]


class DecodingOut(BaseModel):
    """What holds where a request has no such option."""

    beam: int
    length_penalty: float
    max_length: int


class InputOut(BaseModel):
    """How a photo is made to fit the model: `squash`, `crop` or `pad`, to so many pixels."""

    width: int
    height: int
    resize: Literal["squash", "crop", "pad"]
    crop_fraction: float


class ModelOut(BaseModel):
    """A model that captions."""

    name: str
    encoder: str = Field(description="The network that looks.")
    decoder: str = Field(description="The kind of network that tells.")
    words: int = Field(description="How many words it knows.")
    attention: bool = Field(description="Whether it says where it looked for each word.")
    grid: list[int] = Field(description="Rows and columns of an attention map.")
    input: InputOut
    decoding: DecodingOut
    confidence: bool = Field(description="Whether captions come with a confidence.")
    terms: str


class LimitsOut(BaseModel):
    """What a request may hold."""

    max_body: int = Field(description="Bytes.")
    max_photos: int
    max_pixels: int
    requests_a_minute: int | None = Field(description="Of one client; null for any number.")


class ModelsOut(BaseModel):
    """The models of this service, and its limits."""

    models: list[ModelOut]
    limits: LimitsOut


class StateOut(BaseModel):
    """That the service is there."""

    status: Literal["alive", "ready"]


class FieldErrorOut(BaseModel):
    """What is wrong with one parameter."""

    parameter: str
    detail: str


class ProblemOut(BaseModel):
    """An error (RFC 9457): `type` for programs, `detail` for people."""

    type: str
    title: str
    status: int
    detail: str
    errors: list[FieldErrorOut] = Field(default=[])


OptionsQuery = Annotated[CaptionOptions, Query()]
