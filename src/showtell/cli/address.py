"""Command line arguments that are a path or an address that fsspec opens."""

from __future__ import annotations

from pathlib import Path

import click


def path_or_address(text: str) -> Path | str:
    """Return text with `://` unchanged, because `Path` would merge its slashes; else a path."""
    return text if "://" in text else Path(text)


ADDRESS = click.types.FuncParamType(path_or_address)
ON_BROKEN = click.option(
    "--on-broken",
    type=click.Choice(["fail", "skip"]),
    default="fail",
    show_default=True,
    help="What to do with a missing, truncated or damaged shard: stop, or leave it out.",
)
