"""One process at a time: a lock on a file, which dies with the process that holds it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

from filelock import FileLock, Timeout


@contextlib.contextmanager
def only_process(
    path: Path, taken: Callable[[], object], meanwhile: Callable[[], object] = lambda: None
) -> Iterator[None]:
    """Hold the lock file `path` for the length of a `with`.

    Where another process holds it, `taken` is called: what it raises is raised here; where it
    returns, the lock is waited for, and `meanwhile` called about every second: what it raises ends
    the wait.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        taken()
        while not lock.is_locked:
            meanwhile()
            with contextlib.suppress(Timeout):
                lock.acquire(timeout=1)
    try:
        yield
    finally:
        lock.release()
