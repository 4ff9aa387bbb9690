"""One writing process at a time for each catalogue: a lock that dies with its process."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path

from showtell.errors import CatalogueError
from showtell.photo_files import printable


@contextlib.contextmanager
def only_writer(catalogue: Path) -> Iterator[None]:
    """Hold the catalogue's lock for writes and undos.

    Raises CatalogueError where another process holds it.
    """
    with catalogue.with_name(catalogue.name + "-writing").open("ab") as file:
        try:
            if sys.platform == "win32":
                import msvcrt

                file.seek(0)
                msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
            else:
                import fcntl

                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise CatalogueError(
                f"{printable(str(catalogue))}: another write or undo is at work:"
                " wait until it has finished"
            ) from None
        yield
