"""Settings of the C library's memory allocator for training on a CPU."""

from __future__ import annotations

import ctypes
import platform

# glibc's malloc.h
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX = -1, -2, -4


def keep_large_blocks() -> bool:
    """Make malloc keep freed blocks of any size for reuse; return whether it could.

    By default, glibc requests each large block from the system and returns it when it is freed,
    and the system fills it with zeros, page by page. In training on a CPU every layer's output is
    such a block, and this takes as much time as the convolutions. With another C library, nothing
    changes.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    settings = ((_MMAP_MAX, 0), (_TRIM_THRESHOLD, -1), (_TOP_PAD, 64 << 20))
    return all(mallopt(name, value) for name, value in settings)
