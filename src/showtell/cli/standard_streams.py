"""Standard input, output and error where they are closed, full or no longer read."""

from __future__ import annotations

import os
import sys

_STREAMS = (("stdin", "r"), ("stdout", "w"), ("stderr", "w"))


def open_standard_streams() -> None:
    """Open the standard streams that are closed (`>&-`), so that they are empty or discard text.

    Otherwise they are None in Python, and the next file that is opened gets their number: what a
    library prints would go into that file.
    """
    for number, (name, mode) in enumerate(_STREAMS):
        if getattr(sys, name) is not None:
            continue
        try:
            os.fstat(number)
        except OSError:
            descriptor = os.open(os.devnull, os.O_RDWR)
            if descriptor != number:
                os.dup2(descriptor, number)
                os.close(descriptor)
            os.set_inheritable(number, True)
        stream = open(  # noqa: SIM115 (for the rest of the process)
            number, mode, encoding="utf-8", errors="backslashreplace", closefd=False
        )
        stream.buffer.raw.name = f"<{name}>"  # type: ignore[attr-defined]
        setattr(sys, name, stream)


def discard_output() -> None:
    """Discard what standard output cannot write, now and at exit."""
    try:
        sys.stdout.flush()
    except OSError:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, sys.stdout.fileno())
        os.close(null)
