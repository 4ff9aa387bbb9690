"""Convert between paths and the folders and names that the catalogue stores, as bytes."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path


def file_path(folder: bytes, name: bytes) -> Path:
    """Return a photo's path from its stored folder and name."""
    return Path(os.fsdecode(os.path.join(folder, name)))  # noqa: PTH118


def folder_and_name(path: Path) -> tuple[bytes, bytes]:
    """Return the folder and name under which the catalogue stores a photo.

    The folder is a real path. The name is not resolved: a link stays a link.
    """
    folder, name = os.path.split(os.path.abspath(os.fspath(path)))  # noqa: PTH100
    return os.fsencode(os.path.realpath(folder)), os.fsencode(name)


def paths_condition(paths: Sequence[Path]) -> tuple[str, list[bytes]]:
    """Return an SQL condition and its parameters for files in `paths`: folders or photos.

    The condition uses the tables `folders` and `files`. Without paths it holds for all files.
    """
    if not paths:
        return "TRUE", []
    conditions, values = [], []
    for path in paths:
        folder = os.fsencode(os.path.realpath(path))
        conditions.append(f"({SUBTREE_CONDITION} OR (folders.path = ? AND files.name = ?))")
        values += [*subtree_parameters(folder), *folder_and_name(path)]
    return f"({' OR '.join(conditions)})", values


SUBTREE_CONDITION = "(folders.path = ? OR (folders.path >= ? AND folders.path < ?))"


def subtree_parameters(folder: bytes) -> tuple[bytes, bytes, bytes]:
    """Return the parameters of SUBTREE_CONDITION: a folder and all folders below it."""
    prefix = folder.rstrip(b"/")
    return folder, prefix + b"/", prefix + b"0"  # "0" is the byte after "/"
