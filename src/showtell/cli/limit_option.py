"""The option `--limit`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])


def limit_option(help_text: str) -> Callable[[F], F]:
    """Give a command the option `--limit`, which takes the first N photos of each split."""
    return click.option(
        "--limit",
        type=click.IntRange(0),
        default=0,
        show_default="all photos",
        metavar="N",
        help=help_text,
    )
