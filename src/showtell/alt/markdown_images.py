"""The images of Markdown: CommonMark with GitHub's tables, HTML, and MyST's directives."""

from __future__ import annotations

import re
from functools import cache

from markdown_it import MarkdownIt
from markdown_it.rules_inline import StateInline
from markdown_it.rules_inline.html_inline import html_inline
from markdown_it.rules_inline.image import image
from markdown_it.token import Token
from mdit_py_plugins.colon_fence import colon_fence_plugin
from mdit_py_plugins.front_matter import front_matter_plugin

from showtell.alt.fragment import Fragment, lines_of
from showtell.alt.html_images import html_images
from showtell.alt.myst_directives import DIRECTIVE, directive_images
from showtell.alt.reference import AltSlot, ImageReference, LinkOfImage
from showtell.alt.templates import mask_template

_SIGNS = ("![", "<", "{image", "{figure", "image::", "figure::")
_ALT_ATTRIBUTE = re.compile(r"\{[^{}]*\balt=")  # ![](x){alt="…"} of Quarto, MkDocs and MyST


def markdown_images(text: str) -> list[ImageReference]:
    """Return the images of Markdown, in order."""
    if not any(sign in text for sign in _SIGNS):
        return []
    return _Reader(text).references()


class _Reader:
    """Reads the blocks of one text."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.lines = lines_of(text)
        self.images: list[ImageReference] = []
        self.html_spans: list[tuple[int, int]] = []

    def references(self) -> list[ImageReference]:
        column, row = 0, -1  # of the last cell of a table
        for token in _parser().parse(self.text):
            if token.map is None:
                continue
            first_line = token.map[0]
            if token.type == "inline":
                column = column if first_line == row else 0
                fragment = Fragment(self.text, self.lines, token.content, first_line, column)
                self._inline(token, fragment)
                row, column = first_line, self._column_after(fragment, first_line)
            elif token.type == "html_block":
                fragment = Fragment(self.text, self.lines, token.content, first_line)
                self.html_spans += fragment.spans
            elif token.type in ("fence", "colon_fence"):
                self._fence(token)
        self.images += html_images(mask_template(self._html(), is_template=False))
        return sorted(self.images, key=lambda reference: reference.start)

    def _column_after(self, fragment: Fragment, line: int) -> int:
        return fragment.spans[-1][1] - self.lines[line].start if fragment.spans else 0

    def _fence(self, token: Token) -> None:
        directive = DIRECTIVE.match(token.info.strip())
        if directive is None or token.map is None:
            return
        opening = self.lines[token.map[0]]
        marker = self.text.find(token.markup, opening.start, opening.end)
        first_line = self.text[marker : opening.end].rstrip()
        fragment = Fragment(self.text, self.lines, f"{first_line}\n{token.content}", token.map[0])
        images = directive_images(directive[1], directive[2], first_line, token.content)
        if images is None:
            images = markdown_images(f"{' ' * len(first_line)}\n{token.content}")
        self.images += map(fragment.moved, images)

    def _inline(self, token: Token, fragment: Fragment) -> None:
        children = token.children or []
        for child in children:
            if child.type == "html_inline":
                start = fragment.position(child.meta["start"])
                end = fragment.position(child.meta["end"])
                if start is not None and end is not None:
                    self.html_spans.append((start, end))
        links = _links(children)
        for child, link in zip(children, links, strict=True):
            if child.type == "image":
                self.images.append(fragment.moved(_reference(token.content, child, link)))

    def _html(self) -> str:
        """Return the text with its HTML: no other `<` begins a tag."""
        pieces, position = [], 0
        for start, end in sorted(self.html_spans):
            if start >= position:
                pieces += [self.text[position:start].replace("<", " "), self.text[start:end]]
                position = end
        pieces.append(self.text[position:].replace("<", " "))
        return "".join(pieces)


def _reference(content: str, token: Token, link: LinkOfImage | None) -> ImageReference:
    start, end = token.meta["start"], token.meta["end"]
    label_end = start + 2 + len(token.content)
    # the label of `![label]` and `![label][]` is also the name of its address
    is_changeable = content.startswith("](", label_end) or (
        content.startswith("][", label_end) and not content.startswith("][]", label_end)
    )
    slot = AltSlot(start + 2, label_end, "", "", "markdown") if is_changeable else None
    return ImageReference(
        kind="markdown",
        start=start,
        end=end,
        sources=(str(token.attrs.get("src", "")),),
        alt=_plain_text(token.children or []),
        is_dynamic=_ALT_ATTRIBUTE.match(content, end) is not None,
        title=str(token.attrs.get("title", "")),
        link=link,
        slot=slot,
    )


def _links(children: list[Token]) -> list[LinkOfImage | None]:
    """Return for each token of a line the link around it, and whether other tokens name that."""
    links: list[LinkOfImage | None] = [None] * len(children)
    opening = -1
    for index, child in enumerate(children):
        if child.type == "link_open":
            opening = index
        elif child.type == "link_close" and opening >= 0:
            inner = children[opening + 1 : index]
            named = any(token.content.strip() for token in inner)  # of an image: its label
            link = LinkOfImage(str(children[opening].attrs.get("href", "")), named)
            links[opening:index] = [link] * (index - opening)
            opening = -1
    return links


def _plain_text(tokens: list[Token]) -> str:
    """Return the text of a label without its markup, as `alt` has it in HTML."""
    pieces = []
    for token in tokens:
        is_break = token.type in ("softbreak", "hardbreak")
        is_text = token.type in ("text", "text_special", "code_inline")
        if token.type == "image":
            pieces.append(_plain_text(token.children or []))
        else:
            pieces.append(" " if is_break else token.content if is_text else "")
    return "".join(pieces)


@cache
def _parser() -> MarkdownIt:
    parser = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
    parser.use(front_matter_plugin)
    parser.use(colon_fence_plugin)
    parser.inline.ruler.at("image", _located_image)
    parser.inline.ruler.at("html_inline", _located_html)
    return parser


def _located_image(state: StateInline, silent: bool) -> bool:
    start = state.pos
    is_image = image(state, silent)
    if is_image and not silent:
        state.tokens[-1].meta |= {"start": start, "end": state.pos}
    return is_image


def _located_html(state: StateInline, silent: bool) -> bool:
    start = state.pos
    is_html = html_inline(state, silent)
    if is_html and not silent:
        state.tokens[-1].meta |= {"start": start, "end": state.pos}
    return is_html
