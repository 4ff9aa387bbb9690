"""How much memory a service takes, its workers included."""

from __future__ import annotations

import contextlib

import psutil


def memory_of(pid: int) -> float:
    """Return the megabytes of a process and all below it; pages that they share count once."""
    root = psutil.Process(pid)
    total = 0
    for process in [root, *root.children(recursive=True)]:
        with contextlib.suppress(psutil.NoSuchProcess):
            full = process.memory_full_info()
            total += getattr(full, "pss", full.uss)  # what is shared, shared out: Linux only
    return total / 1e6
