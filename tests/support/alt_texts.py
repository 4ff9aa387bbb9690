"""Documents with alternative texts that tests put in, without a captioner."""

from __future__ import annotations

from pathlib import Path

from showtell.alt.document import decode_document
from showtell.alt.edits import EditedDocument, NewText, edit_document
from showtell.alt.judge import judge
from showtell.alt.markup import image_references

WRITABLE = ("missing-alt", "empty-alt", "file-name")


def rules_in(name: str, text: str) -> list[tuple[str, int]]:
    """Return rule and line of each finding in a document of this name."""
    document = decode_document(Path(name), text.encode())
    problems = [(judge(image), image.start) for image in image_references(document)]
    return [
        (problem.rule.id, document.line_and_column(start)[0])
        for problem, start in problems
        if problem is not None
    ]


def edited(name: str, data: bytes, text: str) -> EditedDocument:
    """Return a document where each image that may get a text has this one."""
    document = decode_document(Path(name), data)
    texts = [
        NewText(image, text)
        for image in image_references(document)
        if image.slot is not None
        and (problem := judge(image)) is not None
        and problem.rule.id in WRITABLE
    ]
    return edit_document(document, texts)


def written(name: str, text: str, alt: str = "A dog") -> str:
    """Return the text of a document after `edited`."""
    return edited(name, text.encode(), alt).new.decode()
