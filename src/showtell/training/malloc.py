"""How the C library hands out memory, set for training: large blocks are kept, not given back."""

from __future__ import annotations

import ctypes
import platform

# glibc's malloc.h
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX = -1, -2, -4


def keep_large_blocks() -> bool:
    """Have malloc keep freed blocks of any size for the next step; says whether it could.

    glibc takes each large block from the system anew and gives it back at once, and the system
    fills it with zeros, page by page, before it is written: in training on a CPU, where every
    layer's output is such a block, that cost as much time as the convolutions themselves.
    Elsewhere than with glibc nothing is changed.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    settings = ((_MMAP_MAX, 0), (_TRIM_THRESHOLD, -1), (_TOP_PAD, 64 << 20))
    return all(mallopt(name, value) for name, value in settings)
