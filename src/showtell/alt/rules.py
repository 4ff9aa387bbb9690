"""The rules of alternative text: their ids, which do not change, and what each asks for.

Sources: WCAG 2.2 (success criteria, techniques H and failures F) and the HTML standard, section
4.8.4.4, "Requirements for providing text to act as an alternative for images".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Level = Literal["error", "warning", "note"]
_TECHNIQUES = "https://www.w3.org/WAI/WCAG22/Techniques/"


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule: its id, how serious a finding is, what is asked for, and where that is written."""

    id: str
    level: Level
    text: str
    source: str
    address: str


def _failure(number: str) -> tuple[str, str]:
    return f"WCAG 1.1.1, {number}", f"{_TECHNIQUES}failures/{number}"


_HTML = ("HTML 4.8.4.4", "https://html.spec.whatwg.org/multipage/images.html#alt")
_NULL_ALT = ("WCAG 1.1.1, H67", f"{_TECHNIQUES}html/H67")
_RULES = (
    Rule(
        "missing-alt",
        "error",
        'An image needs an alternative text, or alt="" if it is decoration.',
        *_failure("F65"),
    ),
    Rule(
        "linked-image",
        "error",
        "An image that is all a link or button shows needs a text that says what it does.",
        "WCAG 2.4.4, F89",
        f"{_TECHNIQUES}failures/F89",
    ),
    Rule("file-name", "error", "A file name is not an alternative text.", *_failure("F30")),
    Rule(
        "placeholder",
        "error",
        'A placeholder such as "image" is not an alternative text.',
        *_failure("F30"),
    ),
    Rule(
        "empty-alt",
        "warning",
        'An image of Markdown without text counts as decoration: write <img alt=""> to say so.',
        *_HTML,
    ),
    Rule(
        "blank-alt",
        "warning",
        'An alternative text of spaces is not announced: write alt="" for decoration.',
        *_NULL_ALT,
    ),
    Rule(
        "decoration-with-title",
        "warning",
        'alt="" hides an image from screen readers, but its title is shown to the others.',
        *_NULL_ALT,
    ),
    Rule(
        "hidden-alt",
        "warning",
        'role="presentation" hides the alternative text from screen readers.',
        "ARIA in HTML, img",
        "https://www.w3.org/TR/html-aria/#el-img",
    ),
    Rule(
        "unreviewed",
        "warning",
        "A suggestion that nobody has checked: correct it and remove the mark in front of it.",
        *_failure("F30"),
    ),
    Rule(
        "image-of",
        "note",
        'Screen readers say that it is an image: leave out "image of".',
        *_HTML,
    ),
    Rule(
        "repeated-text",
        "note",
        "The alternative text repeats the caption of its figure, which is read too.",
        *_HTML,
    ),
)
RULES = {rule.id: rule for rule in _RULES}


@dataclass(frozen=True, slots=True)
class Problem:
    """A rule that an image breaks, and one line that says how."""

    rule: Rule
    message: str
