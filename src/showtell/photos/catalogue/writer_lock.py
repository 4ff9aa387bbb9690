"""Allow one process at a time to write captions or undo, for each catalogue."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from showtell.errors import CatalogueError
from showtell.files.locks import only_process
from showtell.files.os_errors import error_reason
from showtell.files.printable_names import printable


@contextlib.contextmanager
def only_writer(catalogue: Path) -> Iterator[None]:
    """Hold the catalogue's lock for write and undo.

    Raises CatalogueError if another process holds it, or the lock file cannot be written.
    """
    display_path = printable(str(catalogue))

    def raise_locked() -> None:
        raise CatalogueError(
            f"{display_path}: another write or undo is running: wait until it has finished"
        )

    lock_file = catalogue.with_name(catalogue.name + "-writing")
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(only_process(lock_file, raise_locked))
        except OSError as error:
            raise CatalogueError(
                f"{display_path}-writing: the lock file cannot be written ({error_reason(error)})"
            ) from error
        yield
