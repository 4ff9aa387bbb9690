"""Where showtell keeps things: what it can fetch or compute again, and the photo catalogue."""

from __future__ import annotations

import os
from pathlib import Path

CACHE_VARIABLE = "SHOWTELL_CACHE"


def cache_dir() -> Path:
    """Return the cache folder: $SHOWTELL_CACHE, or the platform's place for caches.

    The folder is not created; whoever writes makes its own room in it (`models`, `features`).
    """
    chosen = os.environ.get(CACHE_VARIABLE)
    if chosen:
        return Path(chosen).expanduser().absolute()
    from platformdirs import user_cache_path  # imported here: captioning need not wait for it

    return user_cache_path("showtell", appauthor=False)


def pulled_models_dir() -> Path:
    """Return the cache's folder of pulled models, one bundle folder each (it may not exist)."""
    return cache_dir() / "models"


def catalogue_file() -> Path:
    """Return where the photo library's catalogue is kept: data of a person's, so no cache."""
    from platformdirs import user_data_path  # imported here: captioning need not wait for it

    return user_data_path("showtell", appauthor=False) / "photos.sqlite"
