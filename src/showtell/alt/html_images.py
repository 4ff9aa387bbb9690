"""The images of an HTML text, with the names that screen readers announce."""

from __future__ import annotations

import re
from dataclasses import dataclass

from showtell.alt.html_elements import OpenElement, OpenElements
from showtell.alt.html_sources import (
    LAZY_SOURCE_SETS,
    LAZY_SOURCES,
    is_image_address,
    source_set,
)
from showtell.alt.html_tokens import TEXT_ELEMENTS, Attribute, HtmlTokens, Tag
from showtell.alt.reference import AltSlot, ImageReference, Kind, LinkOfImage, Syntax
from showtell.alt.templates import CONTROL, EXPRESSION, is_dynamic

# Tags that show an image, or that matter to one around them. Others matter by their attributes.
_IMAGES = frozenset({"img", "image", "input", "area"})
_CONTEXT = frozenset({"a", "button", "figure", "figcaption", "picture", "svg", "math", "object"})
_IN_SVG = frozenset({"title", "desc", "foreignobject"})
_ROLE_MARKS = ("aria-", "role")  # an element with such an attribute matters, whatever its name
_NAME_MARKS = (*_ROLE_MARKS, "title")  # inside a link, a title matters too
_PRESENTATION = frozenset({"presentation", "none"})
_VOID_ELEMENTS = "area base br col embed hr img image input link meta param source track wbr"
_VOID = frozenset(_VOID_ELEMENTS.split())
_HIDDEN_TEXT = TEXT_ELEMENTS - {"title", "textarea", "plaintext"}
# Attributes by which scripts and template languages write an alternative text.
_BOUND_ALT = re.compile(r"(?!data-alt$).*[^a-z]alt\]?|v-bind|x-bind|data-bind|th:attr|\{.*")


@dataclass(slots=True)
class _Pending:
    """An image whose link and figure are not read to their end yet."""

    kind: Kind
    element: OpenElement
    sources: tuple[str, ...]
    alt: Attribute | None
    alt_text: str | None
    is_dynamic: bool
    is_hidden: bool
    link: OpenElement | None
    figure: OpenElement | None
    slot: AltSlot | None


def html_images(text: str) -> list[ImageReference]:
    """Return the images of HTML, in order. The text may be a template (see `mask_template`)."""
    if not _may_have_images(text):
        return []
    return _Reader(text).references()


def _may_have_images(text: str) -> bool:
    lower = text.lower()
    return any(
        part in lower for part in ("<img", "<image", "<svg", "<input", "<area", "<object", "role")
    )


class _Reader:
    """Reads the tags of one text."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.open = OpenElements()
        self.pending: list[_Pending] = []
        self._last_start = ""

    def references(self) -> list[ImageReference]:
        """Return the images."""
        tokens = HtmlTokens(self.text, _IMAGES | _CONTEXT, _ROLE_MARKS)
        opened = self.open
        tokens.is_idle = True
        for tag in tokens:
            if opened.stack:
                if self._last_start not in _HIDDEN_TEXT:
                    opened.add_text(self.text[tag.text_start : tag.start])
                self._last_start = "" if tag.is_end else tag.name
            if tag.is_end:
                if tag.name in opened:
                    self._close(tag.name, tag.end)
                    tokens.is_foreign = opened.is_foreign
            elif self._matters(tag):
                self._start(tag)
                tokens.is_foreign = opened.is_foreign
            tokens.is_idle = not opened.stack
        if opened.stack:
            opened.add_text(self.text[tokens.text_start :])
        while opened.stack:
            self._close(opened.stack[-1].name, len(self.text))
        self.pending.sort(key=lambda pending: pending.element.start)
        return [self._reference(pending) for pending in self.pending]

    def _matters(self, tag: Tag) -> bool:
        name = tag.name
        if name in _IMAGES or name in _CONTEXT or name in self.open:
            return True
        if self.open.stack and (name in _IN_SVG or name == "source" or self.open.is_foreign):
            return True
        if tag.attributes_end - tag.attributes_start < len(' role=""'):
            return False
        attributes = self.text[tag.attributes_start : tag.attributes_end].lower()
        return any(mark in attributes for mark in _NAME_MARKS)

    def _start(self, tag: Tag) -> None:
        opened, name = self.open, tag.name
        if (foreign := opened.ends_foreign(name)) is not None:
            self._close(foreign, tag.start)
        is_foreign = opened.is_foreign
        markup = self.text[tag.attributes_start : tag.attributes_end]
        parent_is_hidden = bool(opened.stack) and opened.stack[-1].is_hidden
        element = OpenElement(
            name, markup, tag.attributes_start, tag.start, tag.end, len(opened.texts)
        )
        element.is_hidden = parent_is_hidden or element.value("aria-hidden").lower() == "true"
        if is_foreign:
            if not self.text.startswith("/>", tag.end - 2):
                opened.push(element)
            return
        if name in _IMAGES:
            self._image(element, tag)
            return
        if name == "source":
            picture = opened.innermost("picture")
            if picture is not None:
                picture.sources += _sources_of_sets(element, ("srcset", "data-srcset"))
            return
        if name in _VOID:
            return
        if name == "a" and "a" in opened:
            self._close("a", tag.start)
        self._name_parents(element)
        is_shown_as_image = _role(element) == "img"
        if name in _CONTEXT or name in opened or element.is_hidden or is_shown_as_image:
            opened.push(element)
            if name == "svg" and self.text.startswith("/>", tag.end - 2):
                self._close("svg", tag.end)

    def _name_parents(self, element: OpenElement) -> None:
        """Record that an element has a name of its own, which also names the link around it."""
        if not element.is_hidden and _own_name(element):
            for parent in self.open.stack:
                parent.is_named = True

    def _close(self, name: str, end: int) -> None:
        for element in self.open.close(name, end):
            if element.name == "figcaption":
                figure = self.open.innermost("figure")
                if figure is not None and figure.caption is None:
                    figure.caption = element
            elif element.name in ("title", "desc"):
                svg = self.open.innermost("svg")
                if svg is not None and element.name == "title":
                    svg.svg_title = svg.svg_title or self.open.text_of(element)
                del self.open.texts[element.first_text :]  # names the SVG, is not text of a link
            elif element.name == "svg":
                self._end_of_svg(element)
            elif element.name == "object":
                self._end_of_object(element)
            elif _role(element) == "img":
                self._add("role", element, (), None, _own_name(element) or None, None)

    def _image(self, element: OpenElement, tag: Tag) -> None:
        if element.name == "input" and element.value("type").lower() != "image":
            return
        if element.name == "area" and "href" not in element.attributes:
            return
        kind: Kind = "img"
        if element.name in ("input", "area"):
            kind = "input" if element.name == "input" else "area"
        alt = element.attributes.get("alt")
        sources = _sources(element, self.open.innermost("picture"))
        slot = self._slot(element, tag, alt)
        self._add(kind, element, sources, alt, None if alt is None else alt.value, slot)

    def _slot(self, element: OpenElement, tag: Tag, alt: Attribute | None) -> AltSlot | None:
        """Return where an alternative text goes: into its attribute, or behind the address."""
        source = element.attributes.get("src")
        quote = (alt.quote if alt else source.quote if source else "") or '"'
        syntax: Syntax = "single" if quote == "'" else "double"
        if alt is not None:
            before = "" if "=" in self.text[alt.start : alt.value_start] else "="
            return AltSlot(alt.value_start, alt.value_end, before + quote, quote, syntax)
        has_address = source is not None and source.value_end > source.value_start  # not `src=>`
        position = source.end if source and has_address else tag.attributes_start
        return AltSlot(position, position, f" alt={quote}", quote, syntax)

    def _end_of_svg(self, element: OpenElement) -> None:
        name = _own_name(element) or element.svg_title
        if _role(element) == "img" or self._link() is not None:
            self._add("svg", element, (), None, name or None, None)

    def _end_of_object(self, element: OpenElement) -> None:
        address = element.value("data")
        is_image = element.value("type").startswith("image/") or is_image_address(address)
        if is_image and not element.images:
            text = self.open.text_of(element) or _own_name(element)
            if element.is_named and not text:
                text = EXPRESSION
            self._add("object", element, (address,), None, text or None, None)

    def _add(
        self,
        kind: Kind,
        element: OpenElement,
        sources: tuple[str, ...],
        alt: Attribute | None,
        alt_text: str | None,
        slot: AltSlot | None,
    ) -> None:
        names = element.attributes
        is_bound = alt is None and any(
            _BOUND_ALT.fullmatch(name) or name[0] == EXPRESSION for name in names
        )
        is_unquoted_code = alt is not None and not alt.quote and alt.value.startswith("{")
        dynamic = is_bound or is_unquoted_code or is_dynamic(alt_text or "")
        hidden = element.is_hidden
        if not hidden and (dynamic or (alt_text or "").strip() or _own_name(element)):
            for parent in self.open.stack:
                parent.is_named = True
        for parent in self.open.stack:
            parent.images += 1
        literal = tuple(source for source in sources if source and not is_dynamic(source))
        self.pending.append(
            _Pending(
                kind,
                element,
                literal,
                alt,
                alt_text,
                dynamic,
                hidden,
                self._link(),
                self.open.innermost("figure"),
                slot,
            )
        )

    def _link(self) -> OpenElement | None:
        link = self.open.innermost("a", "button")
        return (
            None if link is None or (link.name == "a" and "href" not in link.attributes) else link
        )

    def _reference(self, pending: _Pending) -> ImageReference:
        element = pending.element
        role = _role(element)
        return ImageReference(
            kind=pending.kind,
            start=element.start,
            end=element.end,
            sources=pending.sources,
            alt=pending.alt_text,
            is_dynamic=pending.is_dynamic,
            is_hidden=pending.is_hidden,
            is_presentation=role in _PRESENTATION,
            label=element.value("aria-label") or element.value("aria-labelledby"),
            title=element.value("title"),
            caption=self._caption(pending.figure),
            link=self._link_of(pending),
            slot=pending.slot,
        )

    def _caption(self, figure: OpenElement | None) -> str:
        if figure is None or figure.caption is None or figure.images != 1:
            return ""
        if self.open.text_of(figure, without=figure.caption):
            return ""
        return self.open.text_of(figure.caption)

    def _link_of(self, pending: _Pending) -> LinkOfImage | None:
        link = pending.link
        if link is None:
            return None
        text = self.open.text_of(link).replace(CONTROL, "")
        return LinkOfImage(link.value("href"), link.is_named or bool(text or _own_name(link)))


def _own_name(element: OpenElement) -> str:
    names = ("aria-label", "aria-labelledby", "title")
    return next((element.value(name) for name in names if element.value(name)), "")


def _role(element: OpenElement) -> str:
    roles = element.value("role").lower().split()
    return roles[0] if roles else ""


def _sources(element: OpenElement, picture: OpenElement | None) -> tuple[str, ...]:
    """Return the addresses of an image: a lazy one first, because `src` is then a placeholder."""
    lazy = [element.value(name) for name in LAZY_SOURCES]
    sets = _sources_of_sets(element, ("srcset", *LAZY_SOURCE_SETS))
    pictures = [] if picture is None else picture.sources
    addresses = [*lazy, element.value("src"), *sets, *pictures]
    return tuple(dict.fromkeys(address for address in addresses if address))


def _sources_of_sets(element: OpenElement, names: tuple[str, ...]) -> list[str]:
    return [address for name in names for address in source_set(element.value(name))]
