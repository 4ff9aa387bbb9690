"""The open elements around an image of HTML: links, figures, and what is hidden.

Only elements that matter to an image are kept. An end tag closes the innermost open element of
its name and all inside it, as browsers do with unclosed elements.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from html import unescape

from showtell.alt.html_tokens import Attribute, attributes_of

_MARKUP = re.compile(r"<!--[\s\S]*?(?:--!?>|\Z)|<[!?/][^>]*>?")
_FOREIGN = ("svg", "math")
_HTML_IN_FOREIGN = ("foreignobject", "desc", "title")
# Elements of HTML that end SVG when they occur in it (section 13.2.6.5 of the standard).
_HTML_ONLY = (
    "b big blockquote body br center code dd div dl dt em embed h1 h2 h3 h4 h5 h6 head hr i img li"
    " listing menu meta nobr ol p pre ruby s small span strong strike sub sup table tt u ul"
    " var"
)
_BREAKOUTS = frozenset(_HTML_ONLY.split())


@dataclass(eq=False, slots=True)
class OpenElement:
    """An element: its tag from `start` to `end`, and what it holds so far.

    `first_text` and `end_text` are its range in `OpenElements.texts`. `is_named` means that
    something inside it has an accessible name; `images` counts the images inside.
    """

    name: str
    markup: str  # its attributes as they stand
    markup_start: int
    start: int
    end: int
    first_text: int
    end_text: int | None = None
    is_hidden: bool = False
    is_named: bool = False
    images: int = 0
    caption: OpenElement | None = None
    sources: list[str] = field(default_factory=list)
    svg_title: str = ""
    parsed: dict[str, Attribute] | None = None

    @property
    def attributes(self) -> dict[str, Attribute]:
        """The attributes by their name; they are parsed when they are first needed."""
        if self.parsed is None:
            self.parsed = attributes_of(self.markup, 0, len(self.markup), self.markup_start)
        return self.parsed

    def value(self, name: str) -> str:
        """Return an attribute's value without space around it, or nothing."""
        if self.parsed is None and name not in self.markup.lower():
            return ""
        attribute = self.attributes.get(name)
        return "" if attribute is None else attribute.value.strip()


class OpenElements:
    """The stack of open elements, and the texts that stand inside them."""

    def __init__(self) -> None:
        self.stack: list[OpenElement] = []
        self.texts: list[str] = []
        self._names: dict[str, int] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._names

    def add_text(self, text: str) -> None:
        """Add text inside the open elements; hidden text does not count."""
        if not self.stack[-1].is_hidden and text and not text.isspace():
            self.texts.append(_MARKUP.sub("", text) if "<" in text else text)

    def push(self, element: OpenElement) -> None:
        """Open an element."""
        self.stack.append(element)
        self._names[element.name] = self._names.get(element.name, 0) + 1

    def close(self, name: str, end: int) -> list[OpenElement]:
        """Close the innermost element of a name; return the closed elements, innermost first."""
        closed = []
        while name in self._names:
            element = self.stack.pop()
            count = self._names.pop(element.name) - 1
            if count:
                self._names[element.name] = count
            element.end_text = len(self.texts)
            element.end = end
            closed.append(element)
            if element.name == name:
                break
        return closed

    def innermost(self, *names: str) -> OpenElement | None:
        """Return the innermost open element of one of these names."""
        return next((element for element in reversed(self.stack) if element.name in names), None)

    @property
    def is_foreign(self) -> bool:
        """Whether the next tag is one of SVG or MathML."""
        if "svg" not in self._names and "math" not in self._names:
            return False
        element = self.innermost(*_FOREIGN, *_HTML_IN_FOREIGN)
        return element is not None and element.name in _FOREIGN

    def ends_foreign(self, name: str) -> str | None:
        """Return the SVG or MathML element that a start tag of this name closes."""
        if name not in _BREAKOUTS or not self.is_foreign:
            return None
        element = self.innermost(*_FOREIGN)
        return None if element is None else element.name

    def text_of(self, element: OpenElement, *, without: OpenElement | None = None) -> str:
        """Return the text inside an element, on one line; that of `without` is left out.

        Character references are resolved: a link around `&nbsp;` has no text.
        """
        if without is None:
            texts = self.texts[element.first_text : element.end_text]
        else:
            texts = self.texts[element.first_text : without.first_text]
            texts += self.texts[without.end_text or len(self.texts) : element.end_text]
        return " ".join(unescape(" ".join(texts)).split())
