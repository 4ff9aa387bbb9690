"""The journal of written documents, for undo.

Each run has a file of JSON lines. The line of a document is on the disk before the document is
replaced. Undo compares a document's digest with those of its line, so it works
after a killed run too: the document is either as it was or as it was written.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from showtell.alt.edits import Edit, EditedDocument, digest
from showtell.errors import DocumentError
from showtell.files.atomic_write import atomic_write_text, sync_file, sync_folder
from showtell.files.locks import only_process
from showtell.files.permissions import PRIVATE, creation_opener
from showtell.files.printable_names import printable
from showtell.files.regular_files import read_regular

_SUFFIX = ".jsonl"
_MAX_BYTES = 1 << 30  # of one run's file


@dataclass(frozen=True)
class JournalLine:
    """A document that was written: digests of its bytes before and after, and the edits."""

    path: Path
    before: str
    after: str
    edits: tuple[Edit, ...] = field(repr=False)

    def to_json(self) -> str:
        """Return the line of the journal, with its newline."""
        edits = [[edit.offset, edit.old.hex(), edit.new.hex()] for edit in self.edits]
        record = {"before": self.before, "after": self.after, "edits": edits}
        return json.dumps({"path": os.fspath(self.path), **record}) + "\n"


class Journal:
    """The journal in a folder, which is created when the first document is written."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the journal's lock.

        Raises DocumentError while another process writes or undoes.
        """

        def refuse() -> None:
            raise DocumentError(f"{printable(os.fspath(self.folder))}: another run is writing")

        with only_process(self.folder / "lock", refuse):
            yield

    @contextlib.contextmanager
    def new_run(self) -> Iterator[JournalRun]:
        """Yield a run; its file exists from the first document on."""
        runs = self._runs()
        number = 1 + (int(runs[-1].stem) if runs else 0)
        run = JournalRun(self.folder / f"{number:08}{_SUFFIX}")
        try:
            yield run
        finally:
            run.close()

    def last_run(self) -> Path | None:
        """Return the file of the last run that is not undone."""
        runs = self._runs()
        return runs[-1] if runs else None

    def _runs(self) -> list[Path]:
        files = self.folder.glob(f"*{_SUFFIX}") if self.folder.is_dir() else []
        return sorted(path for path in files if path.stem.isdecimal())


class JournalRun:
    """The file of one run."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: IO[str] | None = None

    def add(self, edited: EditedDocument) -> None:
        """Record a document before it is replaced."""
        if self._file is None:
            self._file = open(  # noqa: SIM115 (closed with the run)
                self.path, "x", encoding="utf-8", opener=creation_opener(PRIVATE)
            )
            sync_folder(self.path.parent)
        path = Path(os.path.realpath(edited.document.path))
        line = JournalLine(path, digest(edited.old), digest(edited.new), edited.edits)
        self._file.write(line.to_json())
        sync_file(self._file)

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()


def read_run(path: Path) -> list[JournalLine]:
    """Return the lines of a run; a last line that a killed run left unfinished is ignored.

    Raises DocumentError if the file is damaged.
    """
    text = read_regular(path, _MAX_BYTES).decode("utf-8", "replace")
    *complete, _ = text.split("\n")
    lines = []
    for number, row in enumerate(complete, 1):
        source = f"{printable(os.fspath(path))}, line {number}"
        try:
            record = json.loads(row)
            edits = tuple(
                Edit(int(offset), bytes.fromhex(old), bytes.fromhex(new))
                for offset, old, new in record["edits"]
            )
            document = Path(record["path"])
            lines.append(JournalLine(document, str(record["before"]), str(record["after"]), edits))
        except (KeyError, TypeError, ValueError):
            raise DocumentError(f"{source}: not a line of the journal") from None
    return lines


def keep_lines(path: Path, lines: list[JournalLine]) -> None:
    """Leave only these lines in a run's file; without any, remove it."""
    if lines:
        atomic_write_text(path, "".join(line.to_json() for line in lines))
    else:
        path.unlink()
        sync_folder(path.parent)
