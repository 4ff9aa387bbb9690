"""Stops libtiff from writing its messages about damaged files to standard error."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import importlib.util


@functools.cache
def silence_libtiff() -> None:
    """Remove the handlers with which Pillow's copy of libtiff prints errors and warnings.

    Pillow raises an exception for an error as before. Where libtiff is a hidden part of Pillow (as
    on Windows), nothing happens.
    """
    with contextlib.suppress(OSError, AttributeError):
        pillow = importlib.util.find_spec("PIL._imaging")
        library = ctypes.CDLL(pillow.origin if pillow else None)
        for name in ("TIFFSetErrorHandler", "TIFFSetWarningHandler"):
            set_handler = getattr(library, name)
            set_handler.restype = ctypes.c_void_p
            set_handler.argtypes = [ctypes.c_void_p]
            set_handler(None)
