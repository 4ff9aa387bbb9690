"""The address of a folder of shards."""

from __future__ import annotations

from pathlib import Path

from showtell.files.remote import Address

INDEX = "index.json"


def parse_address(text: str | Path) -> Address:
    """Return the folder of shards that a user named: text if it has `://`, else a path.

    The user can also name the index in that folder.
    """
    if isinstance(text, Path) or "://" not in text:
        path = Path(text)
        return path.parent if path.name == INDEX else path
    return text.rstrip("/").removesuffix(f"/{INDEX}")
