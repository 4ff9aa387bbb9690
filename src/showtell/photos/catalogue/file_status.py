"""What the catalogue remembers of a file, to notice that it has changed."""

from __future__ import annotations

import os
from typing import NamedTuple

_MAX_INTEGER = 2**63 - 1  # in SQLite


class FileStatus(NamedTuple):
    """Size in bytes, dates in nanoseconds, and permissions with owner and group.

    `ctime_ns` is when the content, the name or the permissions last changed. Programs cannot set
    it, so it shows edits that keep size and modification date. On Windows it is the creation date.
    """

    size: int
    mtime_ns: int
    ctime_ns: int
    access: str

    @classmethod
    def of(cls, status: os.stat_result) -> FileStatus:
        """Return the part of a file's status that the catalogue stores."""
        access = f"{status.st_mode:o} {status.st_uid} {status.st_gid}"
        dates = (_as_64_bits(status.st_mtime_ns), _as_64_bits(status.st_ctime_ns))
        return cls(status.st_size, *dates, access)


def _as_64_bits(nanoseconds: int) -> int:
    """Return a date as the catalogue stores it.

    64 bits end in the years 1677 and 2262; dates beyond, which some cameras write, all count as
    those years.
    """
    return max(-_MAX_INTEGER, min(nanoseconds, _MAX_INTEGER))
