"""The folders where showtell keeps caches, pulled models and the photo catalogue."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from showtell.errors import ShowtellError

CACHE_VARIABLE = "SHOWTELL_CACHE"


class NoHomeError(ShowtellError):
    """The user has no home folder: $HOME is not set, and the user is unknown to the system."""


def cache_dir() -> Path:
    """Return the cache folder: $SHOWTELL_CACHE, or the platform's folder for caches.

    The folder is not created; whatever writes to it creates a subfolder (`models`, `features`).
    Raises NoHomeError.
    """
    chosen = os.environ.get(CACHE_VARIABLE)
    if chosen:
        try:
            return Path(chosen).expanduser().absolute()
        except RuntimeError:
            raise NoHomeError(f"${CACHE_VARIABLE}: {chosen}: no such home folder") from None
    from platformdirs import user_cache_path  # imported here: captioning does not need it

    return _user_folder(user_cache_path, f"set HOME or {CACHE_VARIABLE}")


def shipped_models_dir() -> Path:
    """Return the package's folder of models, with one bundle folder each."""
    return Path(__file__).parents[1] / "bundles"


def pulled_models_dir() -> Path:
    """Return the folder of pulled models, one bundle per subfolder (it may not exist).

    Raises NoHomeError.
    """
    return cache_dir() / "models"


def catalogue_file() -> Path:
    """Return the path of the photo catalogue, which is user data and therefore not in the cache.

    Raises NoHomeError.
    """
    from platformdirs import user_data_path  # imported here: captioning does not need it

    return _user_folder(user_data_path, "set HOME, or name a file with --catalogue") / (
        "photos.sqlite"
    )


def alt_journal_dir() -> Path:
    """Return the folder of what `showtell alt write` has changed, for undo (it may not exist).

    Raises NoHomeError.
    """
    from platformdirs import user_data_path  # imported here: captioning does not need it

    return _user_folder(user_data_path, "set HOME, or name a folder with --journal") / "alt"


def _user_folder(platform_folder: Callable[..., Any], remedy: str) -> Path:
    try:
        folder = Path(platform_folder("showtell", appauthor=False))
    except RuntimeError:  # without a home, some versions raise and others return "~/.cache"
        folder = Path("~")
    if not folder.is_absolute():
        raise NoHomeError(f"you have no home folder: {remedy}")
    return folder
