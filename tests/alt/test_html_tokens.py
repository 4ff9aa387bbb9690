"""The tokenizer of HTML against html5lib's, which follows the standard state by state."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from showtell.alt.html_tokens import TEXT_ELEMENTS, HtmlTokens, attribute_text, attributes_of

MARKUP = (
    "< </ > / img a script title svg !-- --> --!> - ! = \" ' alt src x &amp; &lt <img_alt= <!--"
    " <script> </script> </title> <![CDATA[ ]]> <!DOCTYPE IMG é ` <p> &copy=1 </style <textarea>"
    " <plaintext> <!--> <?php_?> </> &#x41; ?"
)
PIECES = [*(piece.replace("_", " ") for piece in MARKUP.split()), " ", "\n", "\t", "\f", "\x0b"]
pages = st.lists(st.sampled_from(PIECES), max_size=20).map("".join)


def tags(text: str) -> list[tuple[str, bool, dict[str, str]]]:
    return [
        (
            tag.name,
            tag.is_end,
            {
                attribute.name: attribute.value
                for attribute in attributes_of(
                    text, tag.attributes_start, tag.attributes_end
                ).values()
            },
        )
        for tag in HtmlTokens(text)
    ]


def tags_by_html5lib(text: str) -> list[tuple[str, bool, dict[str, str]]]:
    tokenizer_module = pytest.importorskip("html5lib._tokenizer")
    constants = pytest.importorskip("html5lib.constants")
    tokenizer: Any = tokenizer_module.HTMLTokenizer(text)
    states = dict.fromkeys(TEXT_ELEMENTS, tokenizer.rawtextState) | {
        "script": tokenizer.scriptDataState,
        "textarea": tokenizer.rcdataState,
        "title": tokenizer.rcdataState,
        "plaintext": tokenizer.plaintextState,
    }
    found = []
    for token in tokenizer:
        if token["type"] == constants.tokenTypes["StartTag"]:
            found.append((token["name"], False, dict(token["data"])))
            tokenizer.state = states.get(token["name"], tokenizer.state)
        elif token["type"] == constants.tokenTypes["EndTag"]:
            found.append((token["name"], True, {}))
    return found


@pytest.mark.extras
@settings(max_examples=3000)
@given(pages)
@example('<img alt="x" alt=y src=a/>')
@example("<script><!--<script></script>--></script><img>")
def test_malformed_pages_have_the_tags_that_html5lib_reads(page: str) -> None:
    assert tags(page) == tags_by_html5lib(page)


@given(pages)
def test_positions_lead_to_the_tags_and_values_in_the_text(page: str) -> None:
    for tag in HtmlTokens(page):
        assert page[tag.start] == "<"
        assert page[tag.end - 1] == ">"
        attributes = attributes_of(page, tag.attributes_start, tag.attributes_end)
        for attribute in attributes.values():
            assert page[attribute.start :].lower().startswith(attribute.name)
            value = page[attribute.value_start : attribute.value_end]
            assert value.startswith(attribute.quote)
            assert value.endswith(attribute.quote)
            unquoted = value[1:-1] if attribute.quote else value
            assert attribute_text(unquoted) == attribute.value


def test_scripts_and_styles_of_svg_are_ordinary_elements() -> None:
    tokens = HtmlTokens("<style><img></style>")
    tokens.is_foreign = True
    assert [tag.name for tag in tokens] == ["style", "img", "style"]


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("<a href=x>text <code class=y>z</code></a><img>", ["img"]),
        ("<a href=x>text<abbr>z</abbr></a>", ["a"]),
        ("<a href=x>text<img></a>", ["a", "img"]),
        ("<a href=x>text<span Role=img></span></a>", ["a", "span"]),
        ("<a role=img>text</a>", ["a"]),
        ("<a href=x>text<a href=y>text</a>", ["a"]),
    ],
)
def test_an_idle_reader_skips_links_that_hold_text_only(text: str, names: list[str]) -> None:
    tokens = HtmlTokens(text, frozenset({"a", "img"}), ("role",))
    tokens.is_idle = True
    assert [tag.name for tag in tokens] == names
