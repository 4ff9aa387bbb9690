"""Allow one process at a time to write captions or undo, for each catalogue."""

from __future__ import annotations

import contextlib
from pathlib import Path

from showtell.errors import CatalogueError
from showtell.files.locks import only_process
from showtell.files.printable_names import printable


def only_writer(catalogue: Path) -> contextlib.AbstractContextManager[None]:
    """Hold the catalogue's lock for write and undo.

    Raises CatalogueError if another process holds it.
    """

    def raise_locked() -> None:
        raise CatalogueError(
            f"{printable(str(catalogue))}: another write or undo is running:"
            " wait until it has finished"
        )

    return only_process(catalogue.with_name(catalogue.name + "-writing"), raise_locked)
