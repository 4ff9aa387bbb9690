"""Standard input, output and error where they are closed, full or no longer read."""

from __future__ import annotations

import contextlib
import os
import sys
from typing import IO

import click

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


def standard_output(output_format: str) -> IO[str]:
    """Return standard output, where what the terminal's encoding lacks becomes an escape.

    Into a file or pipe, every format but `text` is UTF-8, as programs expect that read it.
    """
    if hasattr(sys.stdout, "reconfigure"):
        is_for_people = output_format == "text" or sys.stdout.isatty()
        encoding = None if is_for_people else "utf-8"
        sys.stdout.reconfigure(encoding=encoding, errors="backslashreplace")
    return sys.stdout


def show_error(error: click.ClickException | str) -> None:
    """Print an error on standard error; one that is full does not change the exit code."""
    with contextlib.suppress(OSError):
        if isinstance(error, str):
            click.echo(error, err=True)
        else:
            error.show()
