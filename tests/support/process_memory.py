"""The memory of a service, including its workers."""

from __future__ import annotations

import contextlib

import psutil


def memory_of(pid: int) -> float:
    """Return the megabytes of a process and its descendants; shared pages count once."""
    root = psutil.Process(pid)
    total = 0
    for process in [root, *root.children(recursive=True)]:
        with contextlib.suppress(psutil.NoSuchProcess):
            full = process.memory_full_info()
            total += getattr(full, "pss", full.uss)  # PSS divides shared pages, but only on Linux
    return total / 1e6
