"""What is wrong with the alternative text of one image."""

from __future__ import annotations

import re

from showtell.alt.alt_words import UNREVIEWED, image_of, is_file_name, is_placeholder
from showtell.alt.reference import ImageReference
from showtell.alt.rules import RULES, Problem
from showtell.files.printable_names import printable

_LONGEST_QUOTE = 60  # characters of an alternative text in a message
_NOUNS = {
    "img": "image",
    "input": 'button of <input type="image">',
    "area": "area of an image map",
    "object": "<object> that shows an image",
    "svg": "SVG",
    "role": 'element with role="img"',
    "markdown": "image",
    "directive": "image directive",
}


def judge(reference: ImageReference) -> Problem | None:
    """Return what is wrong with an image's alternative text, or None.

    An image has one problem at most: the most serious.
    """
    if reference.is_hidden or reference.is_dynamic:
        return None
    if reference.alt is None:
        return _judge_missing(reference)
    if not reference.alt.strip():
        return _judge_empty(reference, reference.alt)
    return _judge_text(reference, reference.alt.strip())


def _judge_missing(reference: ImageReference) -> Problem | None:
    if reference.is_presentation or reference.label or reference.title:
        return None
    if reference.link is not None and not reference.link.has_other_name:
        return _linked(reference)
    if reference.caption and reference.kind == "img":  # HTML 4.8.4.4.14
        return None
    if reference.kind == "svg" and reference.link is not None:
        return None  # beside a text, an SVG without a role is decoration
    return _missing(reference)


def _judge_empty(reference: ImageReference, alt: str) -> Problem | None:
    if reference.label:
        return None
    if reference.link is not None and not reference.link.has_other_name:
        return _linked(reference)
    if reference.kind == "markdown":
        return Problem(RULES["empty-alt"], 'no text in "![]": write one, or <img alt=""> instead')
    if reference.kind == "input" and not reference.title:
        return _missing(reference)
    if alt:
        return Problem(RULES["blank-alt"], 'the alternative text is only spaces: write alt=""')
    if reference.title and reference.kind == "img":
        title = _quoted(reference.title)
        return Problem(RULES["decoration-with-title"], f'alt="" beside the title {title}')
    return None


def _judge_text(reference: ImageReference, text: str) -> Problem | None:
    quoted = _quoted(text)
    if reference.is_presentation:
        return Problem(RULES["hidden-alt"], f'role="presentation" hides the text {quoted}')
    if text.startswith(UNREVIEWED.strip()):
        return Problem(RULES["unreviewed"], f"a suggestion to review: {quoted}")
    if is_file_name(text, reference.sources):
        return Problem(RULES["file-name"], f"{quoted} is a file name, not a text")
    if is_placeholder(text):
        return Problem(RULES["placeholder"], f"{quoted} says nothing about the image")
    beginning = image_of(text)
    if beginning is not None:
        return Problem(RULES["image-of"], f"{quoted}: leave out {_quoted(beginning)}")
    if reference.caption and _words(reference.caption) == _words(text):
        return Problem(RULES["repeated-text"], f"{quoted} is also the figure's caption")
    return None


def _missing(reference: ImageReference) -> Problem:
    return Problem(RULES["missing-alt"], f"{_NOUNS[reference.kind]} without alternative text")


def _linked(reference: ImageReference) -> Problem:
    noun = _NOUNS[reference.kind]
    target = reference.link.target if reference.link else ""
    where = f" to {printable(target[:_LONGEST_QUOTE])}" if target else ""
    return Problem(RULES["linked-image"], f"the link{where} has no text but that of this {noun}")


def _quoted(text: str) -> str:
    text = " ".join(text.split())
    cut = text if len(text) <= _LONGEST_QUOTE else text[: _LONGEST_QUOTE - 1] + "…"
    return f'"{printable(cut)}"'


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())
