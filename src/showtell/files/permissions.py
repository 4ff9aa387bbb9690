"""Create files that nobody else can read yet, and give them the permissions of another file."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Callable
from pathlib import Path

PRIVATE, NEW_FILE = 0o600, 0o666  # the umask removes bits of the second
_PERMISSIONS = 0o777  # without the bits that run a program as another user
_GROUP_BITS = 0o070


def creation_opener(mode: int) -> Callable[[str, int], int]:
    """Return an opener for `open`: a new file has at most `mode`, less what the umask removes.

    A file that exists is narrowed to `mode` too if that is private.
    """

    def opener(name: str, flags: int) -> int:
        descriptor = os.open(name, flags, mode)
        if mode == PRIVATE and hasattr(os, "fchmod"):
            os.fchmod(descriptor, mode)
        return descriptor

    return opener


def copy_permissions(status: os.stat_result, path: Path) -> bool:
    """Give a file the owner, group and permissions of another, of which this is the status.

    The owner is kept where the system allows it. If the group cannot be kept, the file's own
    group gets no more than everybody; then the result is False.
    """
    mode = stat.S_IMODE(status.st_mode) & _PERMISSIONS
    keeps_group = _copy_owner(status, path)
    if not keeps_group:
        mode &= ~_GROUP_BITS | mode << 3
    path.chmod(mode)
    return keeps_group


def _copy_owner(status: os.stat_result, path: Path) -> bool:
    """Copy owner and group, or else the group alone; return whether the group is the same."""
    if not hasattr(os, "chown"):
        return True
    for owner in (status.st_uid, -1):  # only the administrator may give a file away
        with contextlib.suppress(OSError):
            os.chown(path, owner, status.st_gid)
            return True
    return path.stat().st_gid == status.st_gid
