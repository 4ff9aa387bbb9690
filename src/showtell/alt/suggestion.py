"""A suggested alternative text, or why there is none."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Suggestion:
    """An alternative text for one image, from its caption.

    `text` is None where there is none; `reason` then says why. `reason` without a lack of text says
    why it is not written into the document. `image` is the file that was captioned.
    """

    text: str | None = None
    confidence: float | None = None
    image: Path | None = None
    reason: str = ""
