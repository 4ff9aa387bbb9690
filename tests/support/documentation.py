"""Fenced blocks of documentation pages."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

_BLOCK = re.compile(
    r"(?:^<!-- test: (?P<mark>[^\n]*) -->\n)?^```(?P<language>\w+)\n(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True)
class Block:
    """A fenced block of shell or Python.

    `condition` says when tests run it: `always`, `shared` (with Flickr8k) or `parse` (they check
    its commands and options only). `train_options` are added to its `showtell train`.
    """

    language: str
    text: str
    condition: str
    train_options: str


def blocks_of(page: Path) -> list[Block]:
    """Return the shell and Python blocks of a page, in order."""
    blocks = []
    for match in _BLOCK.finditer(page.read_text("utf-8")):
        if match["language"] in ("sh", "python"):
            condition, _, options = (match["mark"] or "always").partition(", train with ")
            blocks.append(Block(match["language"], match["text"], condition, options))
    return blocks
