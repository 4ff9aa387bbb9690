"""The images in the Markdown cells of notebooks (nbformat 3 and 4), with positions in the JSON."""

from __future__ import annotations

import base64
import binascii
import json
import re
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, replace
from json.decoder import scanstring  # type: ignore[attr-defined]
from typing import Any

from showtell.alt.markdown_images import markdown_images
from showtell.alt.reference import ImageReference

_SPACE = re.compile(r"[ \t\r\n]*")
_ESCAPE = re.compile(
    r"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|.)"
)
_ATTACHMENT = "attachment:"


def notebook_images(text: str) -> list[ImageReference]:
    """Return the images of a notebook's Markdown cells, in order; outputs are not read.

    Raises ValueError where it is not a notebook.
    """
    try:
        json.loads(text)
    except ValueError as error:
        raise ValueError(f"not valid JSON: {error}") from None
    images: list[ImageReference] = []
    for cell in _cells(_Scanner(text).value()):
        if cell.get("cell_type") not in ("markdown", "heading"):
            continue
        source = _CellSource(text, cell.get("source"))
        attachments = cell.get("attachments")
        for reference in markdown_images(source.text):
            embedded = _attachment(reference, attachments)
            images.append(replace(source.moved(reference), embedded=embedded))
    return images


@dataclass(frozen=True, slots=True)
class _String:
    """A string of JSON: its value, and where its first character stands."""

    value: str
    start: int

    def __eq__(self, other: object) -> bool:
        return self.value == (other.value if isinstance(other, _String) else other)

    def __hash__(self) -> int:
        return hash(self.value)


class _Scanner:
    """Reads valid JSON with the positions of its strings."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.position = 0
        self.decoder = json.JSONDecoder()

    def value(self) -> Any:
        """Read the next value: dicts have text as keys, and strings are `_String`."""
        self._skip_space()
        sign = self.text[self.position]
        if sign == '"':
            start = self.position + 1
            value, self.position = scanstring(self.text, start, False)
            return _String(value, start)
        if sign == "{":
            return dict(self._members())
        if sign == "[":
            return list(self._items("]"))
        value, self.position = self.decoder.raw_decode(self.text, self.position)
        return value

    def _members(self) -> Iterator[tuple[str, Any]]:
        for name in self._items("}"):
            self._skip_space()
            self.position += 1  # the colon
            if name.value == "outputs":  # large, and not read
                self._skip_space()
                _, self.position = self.decoder.raw_decode(self.text, self.position)
            else:
                yield name.value, self.value()

    def _items(self, closing: str) -> Iterator[Any]:
        self.position += 1
        while True:
            self._skip_space()
            sign = self.text[self.position]
            if sign == closing:
                self.position += 1
                return
            if sign == ",":
                self.position += 1
            yield self.value()

    def _skip_space(self) -> None:
        match = _SPACE.match(self.text, self.position)
        self.position = self.position if match is None else match.end()


def _cells(notebook: Any) -> Iterator[dict[str, Any]]:
    if not isinstance(notebook, dict) or not notebook.keys() & {"cells", "worksheets"}:
        raise ValueError("not a notebook: it has no cells")
    worksheets = notebook.get("worksheets")  # nbformat 3
    for sheet in [notebook, *(worksheets if isinstance(worksheets, list) else [])]:
        cells = sheet.get("cells") if isinstance(sheet, dict) else None
        if isinstance(cells, list):
            yield from (cell for cell in cells if isinstance(cell, dict))


class _CellSource:
    """The text of a cell, from one string or a list of lines, and where its characters stand."""

    def __init__(self, document: str, source: Any) -> None:
        strings = source if isinstance(source, list) else [source]
        self.parts = [string for string in strings if isinstance(string, _String)]
        self.text = "".join(part.value for part in self.parts)
        self._document = document
        self._starts: list[int] = []
        start = 0
        for part in self.parts:
            self._starts.append(start)
            start += len(part.value)

    def moved(self, reference: ImageReference) -> ImageReference:
        """Return a reference of the cell as one of the document."""
        slot = reference.slot
        if slot is not None:
            start, end = self._position(slot.start), self._position(slot.end, is_end=True)
            same_string = self._part(slot.start) == self._part(max(slot.start, slot.end - 1))
            slot = replace(slot, start=start, end=max(start, end), in_json=True)
            slot = slot if same_string else None
        start = self._position(reference.start)
        end = self._position(reference.end, is_end=True)
        return replace(reference, start=start, end=max(start, end), slot=slot)

    def _part(self, index: int, *, is_end: bool = False) -> int:
        """Return which string holds a character; with `is_end`, the one before it."""
        return max(0, bisect_right(self._starts, index - is_end) - 1)

    def _position(self, index: int, *, is_end: bool = False) -> int:
        """Return where a character stands; with `is_end`, where the one before it ends."""
        number = self._part(index, is_end=is_end)
        position, distance = self.parts[number].start, index - self._starts[number]
        for _ in range(distance):
            match = _ESCAPE.match(self._document, position)
            position = position + 1 if match is None else match.end()
        return position


def _attachment(reference: ImageReference, attachments: Any) -> bytes | None:
    """Return the encoded image that `attachment:NAME` stands for."""
    source = reference.sources[0] if reference.sources else ""
    if not source.startswith(_ATTACHMENT) or not isinstance(attachments, dict):
        return None
    bundle = attachments.get(source.removeprefix(_ATTACHMENT))
    for kind, data in bundle.items() if isinstance(bundle, dict) else ():
        if kind.startswith("image/") and isinstance(data, _String):
            try:
                return base64.b64decode(data.value)
            except binascii.Error:
                return None
    return None
