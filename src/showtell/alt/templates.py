"""Templates of HTML (Jinja, Django, Liquid, Handlebars and the like), made readable as HTML.

Each tag of the template language is replaced by as many placeholder characters, so that positions
stay. The placeholders are noncharacters of Unicode, which no text holds.
"""

from __future__ import annotations

import re

EXPRESSION, CONTROL = "\ufdd0", "\ufdd1"  # what may write text, and what does not
_TAG = re.compile(
    r"\{\{~?!--[\s\S]*?--~?\}\}"  # a comment of Handlebars, which may hold tags
    r"|\{\{[\s\S]*?\}\}+|\{%[\s\S]*?%\}|\{#[\s\S]*?#\}"
)
# In a file that may be no template, a tag holds no markup, and a comment is on one line.
_TAG_WITHOUT_MARKUP = re.compile(
    r"\{\{(?:(?!\}\}|<[a-zA-Z/!])[\s\S]){0,2000}?\}\}+"
    r"|\{%(?:(?!%\}|<[a-zA-Z/!])[\s\S]){0,2000}?%\}"
    r"|\{#(?:(?!#\})[^\n]){0,2000}?#\}"
)
_FIRST_WORD = re.compile(r"[{%#/~+\-\s]*(\w*)")
_CONTROL = (
    "if elif else elsif elseif endif unless endunless for endfor each while end range with endwith"
    " block endblock case when endcase set endset comment endcomment autoescape endautoescape"
    " spaceless endspaceless raw endraw verbatim endverbatim extends load import from filter"
    " endfilter trans blocktrans endblocktrans macro endmacro call endcall capture endcapture"
    " assign define"
)
_CONTROL_WORDS = frozenset(_CONTROL.split())
_LITERAL_BLOCKS = {"raw": "endraw", "verbatim": "endverbatim"}
_UNSHOWN_BLOCKS = {"comment": "endcomment"}


def mask_template(text: str, *, is_template: bool) -> str:
    """Return the text with placeholders for the tags of its template language.

    `is_template` says that the file's name is that of a template; in any other HTML only what
    cannot be markup counts as a tag.
    """
    if "{{" not in text and "{%" not in text and not (is_template and "{#" in text):
        return text
    pattern = _TAG if is_template else _TAG_WITHOUT_MARKUP
    # In other HTML, `{{!x}}` is a negation of Angular or Vue.
    comments = ("{#", "{{!", "{{~!") if is_template else ("{#",)
    pieces, position = [], 0
    while (match := pattern.search(text, position)) is not None:
        pieces.append(text[position : match.start()])
        first_word = _FIRST_WORD.match(match[0])
        word = first_word[1] if first_word else ""
        is_control = match[0].startswith(comments) or word in _CONTROL_WORDS
        pieces.append((CONTROL if is_control else EXPRESSION) * len(match[0]))
        position = match.end()
        if match[0].startswith("{%"):
            end = _end_of_block(text, position, _LITERAL_BLOCKS.get(word))
            pieces.append(text[position:end])
            position = end
            end = _end_of_block(text, position, _UNSHOWN_BLOCKS.get(word))
            pieces.append(CONTROL * (end - position))
            position = end
    pieces.append(text[position:])
    return "".join(pieces)


def _end_of_block(text: str, position: int, last_tag: str | None) -> int:
    """Return where the tag that ends a block begins, or `position` without one."""
    if last_tag is None:
        return position
    match = re.compile(rf"\{{%[-+~]?\s*{last_tag}\b").search(text, position)
    return position if match is None else match.start()


def is_dynamic(value: str) -> bool:
    """Return whether a masked text holds a tag of the template language."""
    return EXPRESSION in value or CONTROL in value
