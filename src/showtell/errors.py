"""Errors with a one-line text that names the thing and the way out."""

from __future__ import annotations

from collections.abc import Callable

__all__ = [
    "BundleError",
    "CatalogueError",
    "DatasetError",
    "DocumentError",
    "ExportError",
    "MetadataError",
    "MissingExtraError",
    "PhotoError",
    "RecipeError",
    "ShowtellError",
    "TrainingError",
]


def install_command(extra: str) -> str:
    """Return the command that installs an extra, which works in a clone of showtell."""
    return f'pip install ".[{extra}]" in a clone of showtell'


class ShowtellError(Exception):
    """Base class of all errors that showtell raises on purpose; the text is one line."""


class PhotoError(ShowtellError):
    """A photo cannot be read, or a file is not a photo."""


# Internal: the type of functions that are called with each photo that fails.
PhotoErrorHandler = Callable[[PhotoError], None]


class DatasetError(ShowtellError):
    """A captioned dataset, caption file or feature cache cannot be read."""


class DocumentError(ShowtellError):
    """A document cannot be read or written, or its format is unknown."""


class BundleError(ShowtellError):
    """A model bundle is missing, damaged, or in a format that this version cannot read."""


class RecipeError(ShowtellError):
    """A training recipe has a wrong key or value."""


class TrainingError(ShowtellError):
    """A training run cannot start or resume."""


class ExportError(ShowtellError):
    """A training run cannot be exported, or the exported model differs from PyTorch."""


class CatalogueError(ShowtellError):
    """The catalogue of a photo library is missing, locked, damaged or from a newer version."""


class MetadataError(ShowtellError):
    """Metadata of a photo or its sidecar cannot be read or written."""


class MissingExtraError(ShowtellError):
    """A package of an optional extra is needed and not installed."""

    def __init__(self, feature: str, extra: str) -> None:
        super().__init__(f"{feature} needs the extra '{extra}': {install_command(extra)}")
        self.extra = extra
