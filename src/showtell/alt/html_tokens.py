"""The tags of HTML with their positions, as tolerant as the HTML standard's tokenizer.

The regular expressions are the states of the standard (section 13.2.5, "Tokenization"): every text
has tokens, and no error ends the reading. tests/alt/test_html_tokens.py compares the tags and
attributes of malformed pages with those of html5lib.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from dataclasses import dataclass
from html.entities import html5
from typing import NamedTuple

_SPACE = r"[\t\n\f\r ]"
_NAME = r"[a-zA-Z][^\t\n\f\r />]*+"
_VALUE = rf"""{_SPACE}*+={_SPACE}*+(?:"[^"]*+"|'[^']*+'|[^\t\n\f\r >"'][^\t\n\f\r >]*+|(?=>))"""
_ATTRIBUTE = rf"[^\t\n\f\r />][^\t\n\f\r />=]*+(?:{_VALUE}|(?!{_SPACE}*+=))"
_ATTRIBUTES = rf"(?>[\t\n\f\r /]++|{_ATTRIBUTE})*+"
# The last group that takes part says what a token is. A tag that has no end is `unfinished`.
_TOKEN = re.compile(
    rf"<(?:(?P<start>{_NAME})(?P<attributes>{_ATTRIBUTES})>"
    rf"|/(?P<end>{_NAME}){_ATTRIBUTES}>"
    r"|(?P<unfinished>/?[a-zA-Z])"
    r"|!--(?P<comment>-?>|[\s\S]*?(?:--!?>|\Z))"
    r"|(?P<cdata>!\[CDATA\[)"
    r"|(?P<bogus>[!?][^>]*+(?:>|\Z)|/[^a-zA-Z>][^>]*+(?:>|\Z)|/>))"
)
_EACH_ATTRIBUTE = re.compile(
    rf"[\t\n\f\r /]*+(?P<name>[^\t\n\f\r />][^\t\n\f\r />=]*+)"
    rf"""(?:{_SPACE}*+={_SPACE}*+(?:"(?P<double>[^"]*+)"|'(?P<single>[^']*+)'"""
    r"""|(?P<bare>[^\t\n\f\r >"'][^\t\n\f\r >]*+)|(?=>|$)))?+"""
)
_REFERENCE = re.compile(r"&(?:#(?:\d+|[xX][0-9a-fA-F]+);?|[a-zA-Z][a-zA-Z0-9]*+(?:;|(?!=)))")
_NAME_END = r"(?=[\t\n\f\r />])"
# What follows the start tag of a link that holds text and these elements only.
_REST_OF_TEXT_LINK = re.compile(
    rf"(?>[^<]++|</?(?:span|code|em|strong|b|i|tt|br){_NAME_END}{_ATTRIBUTES}>)*+"
    rf"</a{_NAME_END}{_ATTRIBUTES}>"
)
_CDATA_END = "]]>"
# Elements whose content is text up to their end tag.
TEXT_ELEMENTS = frozenset(
    {"script", "style", "xmp", "iframe", "noembed", "noframes", "textarea", "title", "plaintext"}
)
# In a script, `<!--` and then `<script>` hide an end tag.
_SCRIPT_STEP = re.compile(rf"<!--|-->|<(/?)script{_NAME_END}", re.I)
_END_TAGS = {
    name: re.compile(rf"</{name}{_NAME_END}", re.I) for name in TEXT_ELEMENTS - {"plaintext"}
}


class Tag(NamedTuple):
    """A tag in the text: `name` in lower case, and the range of its attributes.

    `text` begins after the token before it.
    """

    name: str
    is_end: bool
    start: int
    end: int
    attributes_start: int
    attributes_end: int
    text_start: int


@dataclass(frozen=True, slots=True)
class Attribute:
    """An attribute: its value without character references, and where it stands.

    `start` and `end` are the whole attribute, `value_start` and `value_end` what follows `=`, with
    quotes; both are `end` where there is no value. `quote` is `"`, `'` or empty.
    """

    name: str
    value: str
    start: int
    end: int
    value_start: int
    value_end: int
    quote: str


class HtmlTokens:
    """Reads the tags of a text in order, from `start` to `end`.

    Comments, and the text in scripts, styles and the like, have no tags. The reader of the tags
    sets `is_foreign` while it is inside SVG or MathML, where these elements are ordinary ones.
    While it sets `is_idle`, it gets only start tags with one of `names`, or with one of `marks`
    (lower case) in their attributes, and no link that holds text only. This is faster.
    """

    def __init__(
        self, text: str, names: frozenset[str] = frozenset(), marks: tuple[str, ...] = ()
    ) -> None:
        self.text = text
        self.names, self.marks = names, marks
        self.is_foreign = self.is_idle = False
        self.text_start = 0  # of the text after the last token

    def __iter__(self) -> Iterator[Tag]:
        """Yield the tags; after the last one, `text_start` is where the last text begins."""
        text, position = self.text, 0
        while (match := _TOKEN.search(text, position)) is not None:
            position = match.end()
            kind = match.lastgroup
            if kind == "attributes":
                name = match["start"].lower()
                if self.is_idle and name == "a" and (end := self._end_of_text_link(match)):
                    self.text_start = position = end
                    continue
                if not self.is_idle or name in self.names or self._is_marked(match["attributes"]):
                    attributes = match.span("attributes")
                    yield Tag(name, False, match.start(), position, *attributes, self.text_start)
                self.text_start = position
                if name in TEXT_ELEMENTS and not self.is_foreign:
                    position = self._end_of_text(name, position)
            elif kind == "end":
                if not self.is_idle:
                    name = match["end"].lower()
                    start = match.start()
                    yield Tag(name, True, start, position, position, position, self.text_start)
                self.text_start = position
            elif kind == "unfinished":
                self.text_start = len(text)
                return
            elif kind == "cdata":
                position = self._end_of_cdata(position)

    def _end_of_text_link(self, start_tag: re.Match[str]) -> int | None:
        """Return where a link ends that holds no element which the idle reader gets."""
        rest = _REST_OF_TEXT_LINK.match(self.text, start_tag.end())
        if rest is None or self._is_marked(start_tag["attributes"]) or self._is_marked(rest[0]):
            return None
        return rest.end()

    def _is_marked(self, attributes: str) -> bool:
        if len(attributes) < 2:
            return False
        lower = attributes.lower()
        for mark in self.marks:  # noqa: SIM110 (twice as fast as `any`)
            if mark in lower:
                return True
        return False

    def _end_of_cdata(self, position: int) -> int:
        closing = _CDATA_END if self.is_foreign else ">"
        end = self.text.find(closing, position)
        return len(self.text) if end < 0 else end + len(closing)

    def _end_of_text(self, name: str, position: int) -> int:
        """Return where the end tag of an element begins whose content is text."""
        if name == "plaintext":
            return len(self.text)
        if name == "script":
            return self._end_of_script(position)
        match = _END_TAGS[name].search(self.text, position)
        return len(self.text) if match is None else match.start()

    def _end_of_script(self, position: int) -> int:
        is_escaped = is_twice_escaped = False
        while (match := _SCRIPT_STEP.search(self.text, position)) is not None:
            # `<!-->` opens and closes: its dashes count for both
            position = match.end() - 2 if match[0] == "<!--" else match.end()
            if match[0] == "<!--":
                is_escaped = True
            elif match[0] == "-->":
                is_escaped = is_twice_escaped = False
            elif match[1]:
                if not is_twice_escaped:
                    return match.start()
                is_twice_escaped = False
            else:
                is_twice_escaped = is_escaped
        return len(self.text)


def attributes_of(text: str, start: int, end: int, offset: int = 0) -> dict[str, Attribute]:
    """Return the attributes in a tag's range by their name in lower case; the first one counts.

    `offset` is added to their positions.
    """
    attributes: dict[str, Attribute] = {}
    while start < end and (match := _EACH_ATTRIBUTE.match(text, start, end)) is not None:
        start = match.end()
        name = match["name"].lower()
        if name in attributes:
            continue
        group = match.lastgroup or "name"
        if group == "name":
            end_of_name = offset + start
            attributes[name] = Attribute(
                name, "", offset + match.start("name"), end_of_name, end_of_name, end_of_name, ""
            )
            continue
        quote = {"double": '"', "single": "'", "bare": ""}[group]
        value_start, value_end = (offset + position for position in match.span(group))
        attributes[name] = Attribute(
            name,
            attribute_text(match[group]),
            offset + match.start("name"),
            value_end + len(quote),
            value_start - len(quote),
            value_end + len(quote),
            quote,
        )
    return attributes


def attribute_text(value: str) -> str:
    """Return an attribute's value without character references.

    In attributes, a name without its semicolon is no reference before `=` or a letter: `?a&copy=1`.
    """
    return _REFERENCE.sub(_referenced, value) if "&" in value else value


def _referenced(match: re.Match[str]) -> str:
    is_known = match[0].startswith("&#") or match[0][1:] in html5
    return html.unescape(match[0]) if is_known else match[0]
