"""A part of a document, without the quote marks and indentation around its lines."""

from __future__ import annotations

import re
from bisect import bisect_right
from dataclasses import dataclass, replace
from typing import NamedTuple

from showtell.alt.reference import ImageReference

_LINE_END = re.compile(r"\r\n|\n|\r")


class Line(NamedTuple):
    """A line of a text: where it begins, and where its line end does."""

    start: int
    end: int


def lines_of(text: str) -> list[Line]:
    """Return the lines of a text, whatever their line ends are."""
    lines, start = [], 0
    for match in _LINE_END.finditer(text):
        lines.append(Line(start, match.start()))
        start = match.end()
    lines.append(Line(start, len(text)))
    return lines


def line_end_of(text: str) -> str:
    """Return the first line end of a text, or a newline if it has one line."""
    match = _LINE_END.search(text)
    return match[0] if match else "\n"


@dataclass(frozen=True, slots=True)
class _Piece:
    """What a line of the fragment and a line of the whole text have in common."""

    start: int  # in the fragment
    source: int  # in the whole text
    length: int


class Fragment:
    """Maps positions in a fragment to positions in the text that it was taken from.

    Line i of `content` is on line `first_line` + i of `text`, from `column` on in the first. A line
    that is not found as it stands (with an escape that a parser has resolved) has no positions.
    """

    def __init__(
        self, text: str, lines: list[Line], content: str, first_line: int, column: int = 0
    ) -> None:
        self.text, self.lines, self.first_line = text, lines, first_line
        self._pieces: list[_Piece] = []
        start = 0
        for number, shown in enumerate(content.split("\n"), first_line):
            piece = shown.strip()
            line = lines[number] if number < len(lines) else None
            if piece and line is not None:
                first = line.start + column
                source = text.find(piece, first, line.end)
                if column == 0:  # the end of the line, unless it is a cell of a table
                    source = text.rfind(piece, first, line.end)
                if source >= 0:
                    indent = len(shown) - len(shown.lstrip())
                    self._pieces.append(_Piece(start + indent, source, len(piece)))
            start += len(shown) + 1
            column = 0
        self._starts = [piece.start for piece in self._pieces]

    @property
    def spans(self) -> list[tuple[int, int]]:
        """The ranges of the whole text that the fragment shows."""
        return [(piece.source, piece.source + piece.length) for piece in self._pieces]

    def position(self, index: int) -> int | None:
        """Return where a character of the fragment, or the end of a line, is in the whole text."""
        number = bisect_right(self._starts, index) - 1
        if number < 0:
            return None
        piece = self._pieces[number]
        distance = index - piece.start
        return piece.source + distance if distance <= piece.length else None

    def moved(self, reference: ImageReference) -> ImageReference:
        """Return a reference of the fragment as one of the whole text.

        What cannot be written there loses its slot. A slot that adds a line adds what the lines
        of the fragment begin with.
        """
        slot = reference.slot
        if slot is not None:
            start, end = self.position(slot.start), self.position(slot.end)
            if start is None or end is None or end - start != slot.end - slot.start:
                slot = None
            else:
                before = slot.before.replace("\n", line_end_of(self.text) + self._prefix(start))
                slot = replace(slot, start=start, end=end, before=before)
        start = self.position(reference.start)
        if start is None:
            start = self.lines[min(self.first_line, len(self.lines) - 1)].start
        end = self.position(reference.end)
        return replace(
            reference, start=start, end=max(start, start if end is None else end), slot=slot
        )

    def _prefix(self, position: int) -> str:
        """Return what a new line below `position` begins with: quote marks and indentation."""
        number = bisect_right(self.lines, Line(position, len(self.text))) - 1
        line = self.lines[number]
        piece = next((p for p in self._pieces if line.start <= p.source <= line.end), None)
        before = self.text[line.start : piece.source] if piece is not None else ""
        return re.sub(r"[^\s>]", " ", before)
