"""The images of reStructuredText: the directives image, figure and raw, with docutils' parser.

Directives and roles of Sphinx and its extensions are unknown to docutils. The content of such a
directive is read as reStructuredText, unless the directive is known to hold code.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from functools import cache
from typing import Any, ClassVar

from docutils import frontend, nodes, utils
from docutils.parsers.rst import Directive, Parser, directives, roles

from showtell.alt.fragment import Fragment, Line, line_end_of, lines_of
from showtell.alt.html_images import html_images
from showtell.alt.literal_directives import LITERAL
from showtell.alt.reference import AltSlot, ImageReference, LinkOfImage

_SIGNS = ("image::", "figure::", "raw::")
_IMAGE = re.compile(r"\.\.[ \t]+(?:\|[^|]*\|[ \t]+)?(?:image|figure)::[ \t]*", re.I)
_OPTION = re.compile(r"([ \t]*):([\w-]+):(?:[ \t]+(.*))?$")
_NEAR = (0, -1, 1, -2, 2)  # lines from the one that docutils names: it counts from a table's top
# These replace a name by text, or change how the rest is read.
_OF_DOCUTILS = frozenset({"replace", "unicode", "date", "default-role"})


def rst_images(text: str) -> list[ImageReference]:
    """Return the images of reStructuredText, in order.

    Raises ValueError where docutils fails.
    """
    lower = text.lower()
    if not any(sign in lower for sign in _SIGNS):
        return []
    reader = _Reader(text)
    with _directives_of(reader):
        try:
            document = utils.new_document("document", _settings())
            Parser().parse(_as_docutils_reads(text), document)
        except Exception as error:  # its parser raises errors of many types on odd input
            raise ValueError(f"docutils: {type(error).__name__}: {error}") from error
    return reader.references()


class _Reader:
    """Collects the images of one text while docutils parses it."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.lines = lines_of(text)
        self.images: list[ImageReference] = []
        self.html_spans: list[tuple[int, int]] = []
        self._starts: set[int] = set()

    def references(self) -> list[ImageReference]:
        pieces, position = [], 0
        for start, end in sorted(self.html_spans):
            pieces += [self.text[position:start].replace("<", " "), self.text[start:end]]
            position = end
        html = "".join(pieces) + self.text[position:].replace("<", " ")
        return sorted([*self.images, *html_images(html)], key=lambda reference: reference.start)

    def add_image(self, directive: Directive, line: int) -> None:
        """Add the image of a directive on a line, which counts from 0."""
        uri = "".join(directive.arguments[0].split())
        located = self._locate(line, directive.arguments[0].split("\n")[0])
        alt, target = directive.options.get("alt"), directive.options.get("target", "")
        start, end, slot = self.lines[min(line, len(self.lines) - 1)].start, 0, None
        if located is not None:
            number, start = located
            end = self.lines[number].end
            slot = self._slot(number, start)
        self.images.append(
            ImageReference(
                kind="directive",
                start=start,
                end=max(start, end),
                sources=(uri,),
                alt=alt,
                link=LinkOfImage(target, has_other_name=False) if target else None,
                slot=slot,
            )
        )

    def _locate(self, line: int, argument: str) -> tuple[int, int] | None:
        """Return the line, and the position in the text, where a directive of an image begins."""
        for number in (line + distance for distance in _NEAR):
            if 0 <= number < len(self.lines):
                start, end = self.lines[number]
                for match in _IMAGE.finditer(self.text, start, end):
                    is_below = not self.text[match.end() : end].strip()
                    is_argument = is_below or self.text.startswith(argument, match.end())
                    if is_argument and match.start() not in self._starts:
                        self._starts.add(match.start())
                        return number, match.start()
        return None

    def _slot(self, number: int, start: int) -> AltSlot | None:
        """Return where the option `:alt:` is, or goes: below the address."""
        line = self.lines[number]
        before = self.text[line.start : start]
        if "|" in before:  # a cell of a table, whose width must not change
            return None
        indent = re.sub(r"\S", " ", before) + "   "
        last, is_address = line, True  # the address may go on for several lines
        for following in self.lines[number + 1 :]:
            shown = self.text[following.start : following.end]
            if not shown.strip() or len(shown) - len(shown.lstrip()) <= len(before):
                break
            option = _OPTION.match(shown)
            if option is None and is_address:
                last = following
            elif option is not None:
                indent, is_address = option[1], False
                if option[2] == "alt":
                    return self._value(option, following)
        newline = line_end_of(self.text)
        return AltSlot(last.end, last.end, f"{newline}{indent}:alt: ", "", "line")

    def _value(self, option: re.Match[str], line: Line) -> AltSlot:
        if option[3] is None:
            return AltSlot(line.end, line.end, " ", "", "line")
        start = line.start + option.start(3)
        return AltSlot(start, start + len(option[3].rstrip()), "", "", "line")

    def add_html(self, content: str, line: int) -> None:
        """Add the HTML of a directive whose content begins on a line, which counts from 0."""
        self.html_spans += Fragment(self.text, self.lines, content, line).spans


class _AnyOptions(dict[str, Any]):
    """Options of any name, with their text as value."""

    def __bool__(self) -> bool:
        return True

    def __getitem__(self, name: str) -> Any:
        return directives.unchanged


def _line_of(directive: Directive) -> int:
    line = directive.state_machine.get_source_and_line(directive.lineno)[1]
    return int((line or directive.lineno) - 1)


def _classes_for(reader: _Reader) -> dict[str, type[Directive]]:
    """Return the directives by what they do: image, raw, container and literal."""

    class Image(Directive):  # type: ignore[misc]
        required_arguments = 1
        final_argument_whitespace = True
        option_spec: ClassVar[dict[str, Any]] = _AnyOptions()
        has_content = True

        def run(self) -> list[nodes.Node]:
            reader.add_image(self, _line_of(self))
            return [*_nested(self), nodes.image(uri="")]

    class Raw(Directive):  # type: ignore[misc]
        required_arguments = 1
        final_argument_whitespace = True
        option_spec: ClassVar[dict[str, Any]] = _AnyOptions()
        has_content = True

        def run(self) -> list[nodes.Node]:
            if self.content and "html" in self.arguments[0].split():
                reader.add_html("\n".join(self.content), self.content.offset(0))
            return []

    class Container(Directive):  # type: ignore[misc]
        has_content = True

        def run(self) -> list[nodes.Node]:
            return _nested(self)

    class Literal(Directive):  # type: ignore[misc]
        has_content = True

        def run(self) -> list[nodes.Node]:
            return []

    return {"image": Image, "figure": Image, "raw": Raw, "container": Container, "code": Literal}


def _nested(directive: Directive) -> list[nodes.Node]:
    parent = nodes.container()
    directive.state.nested_parse(directive.content, directive.content_offset, parent)
    return list(parent.children)


@contextlib.contextmanager
def _directives_of(reader: _Reader) -> Iterator[None]:
    """Have docutils look up its directives and roles here, as Sphinx does too."""
    directive_of, role_of = directives.directive, roles.role
    classes = _classes_for(reader)

    def find_directive(name: str, language: Any, document: Any) -> tuple[Any, list[Any]]:
        lower = name.lower()
        if lower in _OF_DOCUTILS:
            found: tuple[Any, list[Any]] = directive_of(name, language, document)
            return found
        other = "code" if lower in LITERAL else "container"
        return classes.get(lower, classes[other]), []

    def find_role(*_: Any) -> tuple[Any, list[Any]]:
        return _plain_role, []

    directives.directive, roles.role = find_directive, find_role
    try:
        yield
    finally:
        directives.directive, roles.role = directive_of, role_of


def _plain_role(
    name: str, rawtext: str, text: str, *_: Any, **__: Any
) -> tuple[list[nodes.Node], list[nodes.Node]]:
    return [nodes.inline(rawtext, text)], []


@cache
def _settings() -> Any:
    settings = frontend.get_default_settings(Parser)
    settings.report_level = settings.halt_level = 5  # no error of the text is shown or raised
    settings.file_insertion_enabled = False
    settings.warning_stream = False
    return settings


def _as_docutils_reads(text: str) -> str:
    r"""Return the text with line ends that docutils counts as `lines_of` does.

    docutils also splits lines at \v, \f and the line separators of Unicode.
    """
    lines = (text[line.start : line.end] for line in lines_of(text))
    return "\n".join(re.sub("[\v\f\x1c-\x1e\x85\u2028\u2029]", " ", line) for line in lines)
