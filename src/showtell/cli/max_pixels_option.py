"""The option `--max-pixels`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from showtell.image_formats.decoding_memory import MAX_PIXELS

F = TypeVar("F", bound=Callable[..., Any])


def max_pixels_option(default: int = MAX_PIXELS) -> Callable[[F], F]:
    """Give a command the option `--max-pixels`."""
    return click.option(
        "--max-pixels",
        type=click.IntRange(1),
        default=default,
        show_default=True,
        metavar="N",
        help="Maximum pixels of a photo; a JPEG counts as it is decoded, at up to an eighth of its"
        " width and height.",
    )
