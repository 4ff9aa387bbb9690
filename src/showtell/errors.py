"""Errors a person can act on: each is one line that names the thing and the way out."""

from __future__ import annotations


class ShowtellError(Exception):
    """Base of every error that showtell raises on purpose; its text is one line for a person."""


class PhotoError(ShowtellError):
    """A photo cannot be read or is not a photo."""


class DatasetError(ShowtellError):
    """A captioned dataset, caption file or feature cache cannot be read."""


class BundleError(ShowtellError):
    """A model bundle is missing, damaged, or of a format that this version cannot read."""


class RecipeError(ShowtellError):
    """A training recipe has a wrong key or value."""


class TrainingError(ShowtellError):
    """A training run cannot start or go on."""


class ExportError(ShowtellError):
    """A training run cannot be exported, or the exported model differs from PyTorch."""


class CatalogueError(ShowtellError):
    """The catalogue of a photo library is missing, locked, damaged or from a newer version."""


class MetadataError(ShowtellError):
    """Words cannot be written into a photo or its sidecar, or read from there."""


class MissingExtraError(ShowtellError):
    """A package of an optional extra is needed and not installed."""

    def __init__(self, thing: str, extra: str) -> None:
        super().__init__(f"{thing} needs the extra '{extra}': pip install \"showtell[{extra}]\"")
        self.extra = extra
