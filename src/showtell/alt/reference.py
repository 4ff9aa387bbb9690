"""An image that a document shows: its alternative text, and where a new one would go."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

Kind = Literal["img", "input", "area", "object", "svg", "role", "markdown", "directive"]
Syntax = Literal["double", "single", "markdown", "line", "option", "yaml"]
_MARKDOWN_SPECIAL = re.compile(r"([\\`*_\[\]<>&|!~$])")
_PLAIN_YAML = re.compile(r"[^\W\d_][\w,. -]* [\w,. -]+")
_ESCAPES: dict[Syntax, Callable[[str], str]] = {
    "double": lambda text: _html(text).replace('"', "&quot;"),
    "single": lambda text: _html(text).replace("'", "&#39;"),
    "markdown": lambda text: _MARKDOWN_SPECIAL.sub(r"\\\1", text),
    "line": lambda text: text,
    "option": lambda text: text if _PLAIN_YAML.fullmatch(text) else _yaml(text),
    "yaml": lambda text: _yaml(text),
}


@dataclass(frozen=True, slots=True)
class AltSlot:
    """Where a document takes an alternative text: in place of the text from `start` to `end`.

    `before` and `after` stand around the text, which `syntax` escapes. `in_json` is for a slot in
    a string of JSON, as in notebooks.
    """

    start: int
    end: int
    before: str
    after: str
    syntax: Syntax
    in_json: bool = False

    def rendered(self, text: str) -> str:
        """Return what stands in the document for an alternative text."""
        escaped = _ESCAPES[self.syntax](" ".join(text.split()))
        inserted = f"{self.before}{escaped}{self.after}"
        return json.dumps(inserted, ensure_ascii=False)[1:-1] if self.in_json else inserted


@dataclass(frozen=True, slots=True)
class LinkOfImage:
    """The link or button around an image: its target, and whether anything else names it."""

    target: str
    has_other_name: bool


@dataclass(frozen=True, slots=True)
class ImageReference:
    """An image in a document, from `start` to `end`.

    `sources` are its addresses, the best first. `alt` is None where there is no alternative text;
    `is_dynamic` means that a template or script writes it, so that it is unknown. `label` is
    another accessible name (`aria-label`), `title` the attribute of that name. `caption` is that
    of a figure which shows nothing else. `is_hidden` means hidden from screen readers.
    """

    kind: Kind
    start: int
    end: int
    sources: tuple[str, ...] = ()
    alt: str | None = None
    is_dynamic: bool = False
    is_hidden: bool = False
    is_presentation: bool = False
    label: str = ""
    title: str = ""
    caption: str = ""
    link: LinkOfImage | None = None
    slot: AltSlot | None = None
    embedded: bytes | None = None  # the encoded image, where the document holds it


def _yaml(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _html(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
