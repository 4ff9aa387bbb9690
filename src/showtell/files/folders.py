"""The folders where showtell keeps caches, pulled models and the photo catalogue."""

from __future__ import annotations

import os
from pathlib import Path

CACHE_VARIABLE = "SHOWTELL_CACHE"


def cache_dir() -> Path:
    """Return the cache folder: $SHOWTELL_CACHE, or the platform's folder for caches.

    The folder is not created; whatever writes to it creates a subfolder (`models`, `features`).
    """
    chosen = os.environ.get(CACHE_VARIABLE)
    if chosen:
        return Path(chosen).expanduser().absolute()
    from platformdirs import user_cache_path  # imported here: captioning does not need it

    return user_cache_path("showtell", appauthor=False)


def pulled_models_dir() -> Path:
    """Return the folder of pulled models, one bundle per subfolder (it may not exist)."""
    return cache_dir() / "models"


def catalogue_file() -> Path:
    """Return the path of the photo catalogue, which is user data and therefore not in the cache."""
    from platformdirs import user_data_path  # imported here: captioning does not need it

    return user_data_path("showtell", appauthor=False) / "photos.sqlite"
