"""Where data lies: a folder or file on disk, or an address that fsspec opens."""

from __future__ import annotations

from pathlib import Path

import click


def path(text: str) -> Path | str:
    """Return an address such as s3://bucket/flickr8k as it is, as `Path` would fold its slashes."""
    return text if "://" in text else Path(text)


ADDRESS = click.types.FuncParamType(path)
ON_BROKEN = click.option(
    "--on-broken",
    type=click.Choice(["fail", "skip"]),
    default="fail",
    show_default=True,
    help="What to do about a shard that is gone, cut off or damaged: stop, or leave it out.",
)
