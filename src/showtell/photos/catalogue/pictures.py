"""Store and look up what belongs to a picture: captions, the user's edits and features.

The functions that write must be called inside a transaction.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from showtell.bundle import ENCODER, REQUIRED, Bundle
from showtell.caption import Caption
from showtell.decoding.beam_search import Floats
from showtell.photos.catalogue.caption_text import segment_cjk
from showtell.photos.catalogue.database import Catalogue, now
from showtell.photos.metadata.exif import ExifInfo
from showtell.photos.metadata.image_hash import file_hash

# The current caption is the user's edit, or else the latest caption by a model.
_SET_CURRENT_CAPTION = """
    UPDATE pictures SET (caption, confidence, source, model) = (
        SELECT text, confidence, source, model FROM (
            SELECT text, NULL AS confidence, 'person' AS source, NULL AS model, 1 AS rank,
                   created, 0 AS latest
            FROM edits WHERE picture_id = :id
            UNION ALL
            SELECT text, confidence, 'model', model, 2, created, rowid
            FROM captions WHERE picture_id = :id
        ) ORDER BY rank, created DESC, latest DESC LIMIT 1
    ) WHERE id = :id
"""


@dataclass(frozen=True, slots=True)
class ModelId:
    """The identifiers under which a model's captions and its encoder's features are stored."""

    caption: str
    encoder: str

    @classmethod
    def of(cls, bundle: Bundle) -> ModelId:
        """Return a bundle's identifiers: name and hash of the files that affect the output."""
        files = bundle.manifest.files
        hashes = "".join(files[name] for name in sorted(REQUIRED) if not name.endswith(".md"))
        name = bundle.manifest.name
        return cls(f"{name}@{file_hash(hashes.encode()).hex()[:8]}", f"{name}@{files[ENCODER][:8]}")


def find_picture(catalogue: Catalogue, image_hash: bytes) -> int | None:
    """Return the picture with a hash, or None if it is new."""
    picture = catalogue.value("SELECT id FROM pictures WHERE hash = ?", (image_hash,))
    return None if picture is None else int(picture)


def has_caption(catalogue: Catalogue, picture: int, model: str | None) -> bool:
    """Tell whether a picture has a caption by `model`, or any caption if that is None."""
    if model is None:
        sql = "SELECT 1 FROM pictures WHERE id = ? AND caption IS NOT NULL"
        return catalogue.row(sql, (picture,)) is not None
    sql = "SELECT 1 FROM captions WHERE picture_id = ? AND model = ?"
    return catalogue.row(sql, (picture, model)) is not None


def store_picture(
    catalogue: Catalogue, image_hash: bytes, exif: ExifInfo, size: tuple[int, int] | None
) -> int:
    """Store a picture, or update its size and EXIF values; return its number."""
    width, height = size or (None, None)
    catalogue.execute(
        """
        INSERT INTO pictures (hash, width, height, taken, latitude, longitude)
        VALUES (?, ?, ?, ?, ?, ?)
        ON CONFLICT (hash) DO UPDATE SET
            width = coalesce(excluded.width, width), height = coalesce(excluded.height, height),
            taken = excluded.taken,
            latitude = excluded.latitude, longitude = excluded.longitude
        """,
        (image_hash, width, height, exif.taken, exif.latitude, exif.longitude),
    )
    return int(catalogue.value("SELECT id FROM pictures WHERE hash = ?", (image_hash,)))


def store_caption(
    catalogue: Catalogue, picture: int, caption: Caption, pooled: Floats, model: ModelId
) -> None:
    """Store a model's caption of a picture and its pooled features."""
    catalogue.execute(
        "INSERT OR REPLACE INTO captions VALUES (?, ?, ?, ?, ?, ?)",
        (picture, model.caption, caption.text, caption.confidence, caption.log_probability, now()),
    )
    catalogue.execute(
        "INSERT OR REPLACE INTO features VALUES (?, ?, ?)",
        (picture, model.encoder, quantize_features(pooled)),
    )
    _update_current_caption(catalogue, picture)


def store_edit(catalogue: Catalogue, picture: int, text: str | None) -> None:
    """Store the user's caption of a picture, or remove it (None)."""
    if text is None:
        catalogue.execute("DELETE FROM edits WHERE picture_id = ?", (picture,))
    else:
        catalogue.execute("INSERT OR REPLACE INTO edits VALUES (?, ?, ?)", (picture, text, now()))
    _update_current_caption(catalogue, picture)


def quantize_features(vector: Floats) -> bytes:
    """Return a feature vector's direction, one signed byte for each channel."""
    largest = float(np.abs(vector).max()) or 1.0
    quantized = np.rint(vector * (127 / largest)).astype(np.int8)
    return bytes(quantized.tobytes())


def _update_current_caption(catalogue: Catalogue, picture: int) -> None:
    """Choose a picture's current caption and put it into the search index."""
    catalogue.execute(_SET_CURRENT_CAPTION, {"id": picture})
    catalogue.execute("DELETE FROM search WHERE rowid = ?", (picture,))
    caption: Any = catalogue.value("SELECT caption FROM pictures WHERE id = ?", (picture,))
    if caption is not None:
        catalogue.execute(
            "INSERT INTO search (rowid, caption) VALUES (?, ?)", (picture, segment_cjk(caption))
        )
