"""Check the alternative texts of documents."""

from __future__ import annotations

import fnmatch
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from showtell.alt.document import Document, read_document
from showtell.alt.judge import judge
from showtell.alt.markup import image_references, markup_of
from showtell.alt.reference import ImageReference
from showtell.alt.rules import Problem
from showtell.errors import DocumentError, PhotoError
from showtell.files.folder_walk import is_skipped, is_subfolder, walk_folders

_SKIPPED = frozenset({"node_modules", "__pycache__", "site-packages"})
ErrorHandler = Callable[[Exception], None]


@dataclass(frozen=True, slots=True)
class FoundDocument:
    """A document to check. `root` is the folder that was searched, or the folder of a file."""

    path: Path
    root: Path


@dataclass(frozen=True, slots=True)
class AltFinding:
    """An image whose alternative text is missing or wrong."""

    document: Document
    root: Path
    reference: ImageReference
    problem: Problem

    @property
    def line_and_column(self) -> tuple[int, int]:
        """Where the image begins; both count from 1, the column in characters."""
        return self.document.line_and_column(self.reference.start)


@dataclass
class CheckCounts:
    """Counts of a check so far."""

    documents: int = 0
    images: int = 0


def find_documents(
    paths: Iterable[Path], *, exclude: Iterable[str] = (), report: ErrorHandler
) -> Iterator[FoundDocument]:
    """Yield the documents in `paths`, in their order; those of a folder are sorted by name.

    A path that is not a folder is yielded whatever its name is. Folders are searched with their
    subfolders, except hidden ones, links, and those of installed packages. `exclude` has patterns
    of `fnmatch` for paths inside a folder, or names. Folders that cannot be listed go to `report`.
    """
    patterns = tuple(exclude)
    for path in paths:
        if not path.is_dir():
            yield FoundDocument(path, path.parent)
            continue
        for document in _in_tree(path, patterns, report):
            yield FoundDocument(document, path)


def _in_tree(root: Path, patterns: tuple[str, ...], report: ErrorHandler) -> Iterator[Path]:
    def fail(error: PhotoError) -> None:
        report(DocumentError(str(error)))

    excluded: list[str] = []
    for folder in walk_folders(os.fspath(root), report=fail, skip=_is_skipped):
        if any((folder.path + os.sep).startswith(prefix) for prefix in excluded):
            continue
        for entry in folder.entries or ():
            inner = os.path.relpath(entry.path, root)
            is_excluded = any(
                fnmatch.fnmatch(inner, pattern) or fnmatch.fnmatch(entry.name, pattern)
                for pattern in patterns
            )
            if is_subfolder(entry):
                if is_excluded:
                    excluded.append(entry.path + os.sep)
            elif not is_excluded and markup_of(Path(entry.name)) and _is_file(entry):
                yield Path(entry.path)


def check_documents(
    documents: Iterable[FoundDocument],
    *,
    ignore: Iterable[str] = (),
    counts: CheckCounts | None = None,
    report: ErrorHandler,
) -> Iterator[AltFinding]:
    """Yield the images whose alternative text is missing or wrong, document by document.

    `ignore` has ids of rules. Documents that cannot be read go to `report`.

    Raises MissingExtraError if a format needs the extra `alt`, which is not installed.
    """
    counts = CheckCounts() if counts is None else counts
    ignored = frozenset(ignore)
    for to_check in documents:
        try:
            document = read_document(to_check.path)
            references = image_references(document)
        except DocumentError as error:
            report(error)
            continue
        counts.documents += 1
        counts.images += len(references)
        for reference in references:
            problem = judge(reference)
            if problem is not None and problem.rule.id not in ignored:
                yield AltFinding(document, to_check.root, reference, problem)


def _is_skipped(name: str | bytes) -> bool:
    return is_skipped(name) or os.fsdecode(name) in _SKIPPED


def _is_file(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_file()
    except OSError:
        return False
