"""Locks between processes; a lock is released when its process ends."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

from filelock import FileLock, Timeout


@contextlib.contextmanager
def only_process(
    path: Path, on_wait: Callable[[], object], while_waiting: Callable[[], object] = lambda: None
) -> Iterator[None]:
    """Hold the lock file `path` during a `with` block.

    If another process holds it, `on_wait` is called once, then `while_waiting` about every second
    until the lock is free. An error that they raise ends the wait.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        on_wait()
        while not lock.is_locked:
            while_waiting()
            with contextlib.suppress(Timeout):
                lock.acquire(timeout=1)
    try:
        yield
    finally:
        lock.release()
