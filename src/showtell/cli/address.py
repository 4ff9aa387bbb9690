"""Where data lies: a folder or file on disk, or an address that fsspec opens."""

from __future__ import annotations

from pathlib import Path

import click


class _Address(click.ParamType):
    """A path, or an address such as s3://bucket/flickr8k, which no `Path` may fold."""

    name = "path"

    def convert(
        self, value: str | Path, param: click.Parameter | None, ctx: click.Context | None
    ) -> Path | str:
        """Return an address as it is, and anything else as a path."""
        return value if isinstance(value, str) and "://" in value else Path(value)


ADDRESS = _Address()
ON_BROKEN = click.option(
    "--on-broken",
    type=click.Choice(["fail", "skip"]),
    default="fail",
    show_default=True,
    help="What to do about a shard that is gone, cut off or damaged: stop, or leave it out.",
)
