"""A hard limit of a worker's memory: a photo that needs more fails, and its worker goes on."""

from __future__ import annotations

import contextlib
import resource
from pathlib import Path

PHOTO_BYTES_PER_PIXEL = 16  # of the largest photo: what decoding may take
NETWORK_BYTES = 300_000_000  # for the networks and their results; a batch of 8 takes half of it


def worker_bytes(max_pixels: int) -> int:
    """Return the memory that a worker may take in addition to what all workers share."""
    return NETWORK_BYTES + PHOTO_BYTES_PER_PIXEL * max_pixels


def limit_memory(max_pixels: int) -> None:
    """Let this process allocate `worker_bytes` more than it has now, and no more.

    Only Linux enforces the limit; there an allocation beyond it is a MemoryError.
    """
    limit = _data_size() + worker_bytes(max_pixels)
    with contextlib.suppress(OSError, ValueError):
        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        if hard != resource.RLIM_INFINITY:
            limit = min(limit, hard)
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))


def _data_size() -> int:
    """Return the bytes of private memory that this process has; 0 if the system does not say."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        for line in Path("/proc/self/status").read_text("ascii").splitlines():
            if line.startswith("VmData:"):
                return int(line.split()[1]) * 1024
    return 0
