"""Write suggested alternative texts into documents, and undo that."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Literal

from showtell.alt.check import AltFinding, ErrorHandler
from showtell.alt.document import MAX_BYTES
from showtell.alt.edits import (
    EditedDocument,
    NewText,
    digest,
    edit_document,
    marked_for_review,
    restore,
)
from showtell.alt.journal import Journal, JournalLine, JournalRun, keep_lines, read_run
from showtell.alt.suggestion import Suggestion
from showtell.errors import DocumentError
from showtell.files.atomic_write import atomic_write
from showtell.files.os_errors import error_reason
from showtell.files.printable_names import printable
from showtell.files.regular_files import read_regular

AltVerdict = Literal["write", "kept", "unsure", "linked", "no_image", "no_place"]


@dataclass(frozen=True)
class AltWriteOptions:
    """What to write: see `showtell alt write --help`."""

    mark_for_review: bool = False
    replace_file_names: bool = False


@dataclass(frozen=True, slots=True)
class PlannedText:
    """What happens to one finding, and the text that is written.

    `kept` has a text that stays; `unsure` a caption under the least confidence; `linked` a caption
    that does not say where the link leads; `no_image` no caption; `no_place` stands where a text
    cannot be written (a cell of a table, several lines).
    """

    finding: AltFinding
    suggestion: Suggestion
    verdict: AltVerdict
    text: str = ""


@dataclass
class AltWriteCounts:
    """Counts of a run: texts and documents written, and documents that failed."""

    texts: int = 0
    documents: int = 0
    failed: int = 0


@dataclass
class AltUndoCounts:
    """Counts of an undo: documents restored, left alone because they changed, and failed."""

    restored: int = 0
    skipped: int = 0
    failed: int = 0
    kept: list[JournalLine] = field(default_factory=list)  # for the next undo


def plan_texts(
    results: Iterable[tuple[AltFinding, Suggestion | None]], options: AltWriteOptions
) -> Iterator[PlannedText]:
    """Yield what happens to each finding that has a suggestion, or a reason for none."""
    for finding, suggestion in results:
        if suggestion is not None:
            verdict = _verdict(finding, suggestion, options)
            text = suggestion.text or ""
            if options.mark_for_review:
                text = marked_for_review(text)
            yield PlannedText(finding, suggestion, verdict, text if verdict == "write" else "")


def _verdict(finding: AltFinding, suggestion: Suggestion, options: AltWriteOptions) -> AltVerdict:
    reference, rule = finding.reference, finding.problem.rule.id
    if suggestion.text is None:
        return "no_image" if suggestion.confidence is None else "unsure"
    is_empty = reference.alt is None or (reference.kind == "markdown" and not reference.alt.strip())
    if not is_empty and not (rule == "file-name" and options.replace_file_names):
        return "kept"
    if suggestion.reason:
        return "linked"
    return "write" if reference.slot is not None else "no_place"


def write_texts(
    plans: Iterable[PlannedText], journal: Journal, *, report: ErrorHandler
) -> AltWriteCounts:
    """Write the planned texts, document by document; return the counts.

    A document is replaced atomically, and only if it is as it was when it was read. Documents
    that fail go to `report`, and the others are written.

    Raises DocumentError if another run is writing, and OSError if the journal cannot be written.
    """
    counts = AltWriteCounts()
    documents: dict[str, list[PlannedText]] = {}
    for plan in plans:
        if plan.verdict == "write":
            path = os.path.realpath(plan.finding.document.path)
            documents.setdefault(path, []).append(plan)
    if not documents:
        return counts
    with journal.locked(), journal.new_run() as run:
        for document_plans in documents.values():
            document = document_plans[0].finding.document
            texts = [NewText(plan.finding.reference, plan.text) for plan in document_plans]
            try:
                edited = edit_document(document, texts)
            except DocumentError as error:
                counts.failed += 1
                report(error)
                continue
            if _replace(edited, run, report):
                counts.documents += 1
                counts.texts += len(edited.edits)
            else:
                counts.failed += 1
    return counts


def _replace(edited: EditedDocument, run: JournalRun, report: ErrorHandler) -> bool:
    """Replace a document by its edited bytes; return False if that fails."""
    path = edited.document.path
    shown = printable(os.fspath(path))
    try:
        if read_regular(path, MAX_BYTES) != edited.old:
            report(DocumentError(f"{shown}: another program has just changed it: left alone"))
            return False
    except OSError as error:
        report(DocumentError(f"{shown}: cannot be read ({error_reason(error)})"))
        return False
    run.add(edited)
    try:
        with atomic_write(path, binary=True) as file:
            file.write(edited.new)
    except OSError as error:
        report(DocumentError(f"{shown}: cannot be written ({error_reason(error)})"))
        return False
    return True


def undo_texts(journal: Journal, *, report: ErrorHandler) -> AltUndoCounts:
    """Undo the last run, byte for byte; return the counts.

    A document that has changed since is left alone and goes to `report`. So does one that cannot
    be read or written now, which the next undo tries again.

    Raises DocumentError if there is nothing to undo, the journal is damaged, or another run is
    writing.
    """
    counts = AltUndoCounts()
    if journal.last_run() is None:
        raise DocumentError("nothing to undo: no run has written texts, or all are undone")
    with journal.locked():
        run = journal.last_run()
        assert run is not None
        for line in read_run(run):
            try:
                _restore(line, counts)
            except DocumentError as error:
                counts.skipped += 1
                report(error)
            except OSError as error:
                counts.failed += 1
                counts.kept.append(line)
                report(
                    DocumentError(
                        f"{printable(os.fspath(line.path))}: cannot be restored"
                        f" ({error_reason(error)}): run undo again when that is solved"
                    )
                )
        keep_lines(run, counts.kept)
    return counts


def _restore(line: JournalLine, counts: AltUndoCounts) -> None:
    shown = printable(os.fspath(line.path))
    try:
        data = read_regular(line.path, MAX_BYTES)
    except FileNotFoundError:
        raise DocumentError(f"{shown}: no longer exists") from None
    if digest(data) == line.before:
        return
    if digest(data) != line.after:
        raise DocumentError(f"{shown}: has changed since, so it is left alone")
    old = restore(data, line.edits)
    if digest(old) != line.before:
        raise DocumentError(f"{shown}: the data that restores it is damaged: left alone")
    with atomic_write(line.path, binary=True) as file:
        file.write(old)
    counts.restored += 1
