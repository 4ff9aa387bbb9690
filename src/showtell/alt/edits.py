"""Edits of a document: they insert alternative texts and keep every other byte."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass

from showtell.alt.alt_words import UNREVIEWED
from showtell.alt.document import Document, decode_document
from showtell.alt.markup import image_references
from showtell.alt.reference import ImageReference
from showtell.errors import DocumentError
from showtell.files.printable_names import printable


@dataclass(frozen=True, slots=True)
class NewText:
    """An alternative text for one image of a document."""

    reference: ImageReference
    text: str


@dataclass(frozen=True, slots=True)
class Edit:
    """Bytes of the new file at `offset`, and the bytes that were there before."""

    offset: int
    old: bytes
    new: bytes


@dataclass(frozen=True, slots=True)
class EditedDocument:
    """A document's bytes before and after its edits."""

    document: Document
    old: bytes
    new: bytes
    edits: tuple[Edit, ...]


def marked_for_review(text: str) -> str:
    """Return a text that `check` reports until a person removes the mark."""
    return UNREVIEWED + text


def edit_document(document: Document, texts: Sequence[NewText]) -> EditedDocument:
    """Put texts into a document.

    Raises DocumentError where its encoding lacks a character, or where the edited document would
    differ in more than these texts.
    """
    slots = {text.reference.slot.start: text for text in texts if text.reference.slot is not None}
    pieces, edits, position, offset = [document.mark], [], 0, len(document.mark)
    for start in sorted(slots):
        slot = slots[start].reference.slot
        assert slot is not None
        unchanged = document.encoded(document.text[position:start])
        old = document.encoded(document.text[start : slot.end])
        new = document.encoded(slot.rendered(slots[start].text))
        edits.append(Edit(offset + len(unchanged), old, new))
        pieces += [unchanged, new]
        offset += len(unchanged) + len(new)
        position = slot.end
    pieces.append(document.encoded(document.text[position:]))
    edited = EditedDocument(document, document.data, b"".join(pieces), tuple(edits))
    _check(edited, texts)
    return edited


def restore(data: bytes, edits: Sequence[Edit]) -> bytes:
    """Return the bytes before the edits; `data` are those after them."""
    for edit in reversed(edits):
        data = data[: edit.offset] + edit.old + data[edit.offset + len(edit.new) :]
    return data


def digest(data: bytes) -> str:
    """Return the SHA-256 of a file's bytes, in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def _check(edited: EditedDocument, texts: Sequence[NewText]) -> None:
    """Read the edited document, and compare its images with those of the old one."""
    path = edited.document.path
    written = {text.reference.start: " ".join(text.text.split()) for text in texts}
    expected = [
        (image.kind, image.sources, written.get(image.start, image.alt))
        for image in image_references(edited.document)
    ]
    actual = [
        (image.kind, image.sources, image.alt)
        for image in image_references(decode_document(path, edited.new))
    ]
    if actual != expected or restore(edited.new, edited.edits) != edited.old:
        raise DocumentError(
            f"{printable(os.fspath(path))}: left alone: it would change in more than its texts"
        )
