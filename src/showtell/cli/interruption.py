"""Say what a command has saved when it is interrupted."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import click


@contextlib.contextmanager
def on_interrupt(message: Callable[[], str]) -> Iterator[None]:
    """Print a message if the block is interrupted (Ctrl-C), before the command ends."""
    try:
        yield
    except (KeyboardInterrupt, click.Abort):
        click.echo(f"showtell: {message()}", err=True)
        raise
