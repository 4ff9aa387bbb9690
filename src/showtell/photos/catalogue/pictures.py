"""Store and look up what belongs to a picture: captions, the user's captions and features.

The functions that write must be called inside a transaction.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from showtell.bundle import ENCODER, REQUIRED, Bundle
from showtell.caption import Caption
from showtell.decoding.beam_search import Floats
from showtell.photos.catalogue.caption_text import segment_cjk
from showtell.photos.catalogue.database import Catalogue, now
from showtell.photos.catalogue.file_paths import paths_condition
from showtell.photos.catalogue.keywords import keywords_as_json, update_current_keywords
from showtell.photos.metadata.exif import ExifInfo
from showtell.photos.metadata.image_hash import HASH_SIZE, hash_bytes, image_hash_of

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
class ModelIds:
    """The ids under which a model's captions and its encoder's features are stored."""

    model_id: str
    encoder_id: str

    @classmethod
    def of(cls, bundle: Bundle) -> ModelIds:
        """Return a bundle's ids: its name, and a hash of the files that affect the output."""
        files = bundle.manifest.files
        hashes = "".join(files[name] for name in sorted(REQUIRED) if not name.endswith(".md"))
        name = bundle.manifest.name
        return cls(
            f"{name}@{hash_bytes(hashes.encode()).hex()[:8]}", f"{name}@{files[ENCODER][:8]}"
        )


def find_picture_id(catalogue: Catalogue, image_hash: bytes) -> int | None:
    """Return the id of the picture with a hash, or None if it is new."""
    picture_id = catalogue.value("SELECT id FROM pictures WHERE hash = ?", (image_hash,))
    return None if picture_id is None else int(picture_id)


def related_picture_ids(catalogue: Catalogue, picture_hash: bytes) -> list[int]:
    """Return the ids of the other pictures with the same image data, shown in another way."""
    image_hash = image_hash_of(picture_hash)
    if len(image_hash) < HASH_SIZE:  # not a hash: it would be the beginning of others
        return []
    rows = catalogue.rows(
        "SELECT id FROM pictures WHERE hash >= ? AND hash < ? AND hash <> ?",
        (image_hash, image_hash + b"\xff", picture_hash),
    )
    return [int(row[0]) for row in rows]


def change_picture(catalogue: Catalogue, picture_id: int, picture_hash: bytes) -> None:
    """Give a picture that is now shown in another way its new hash; only the user's edit stays."""
    catalogue.execute("UPDATE pictures SET hash = ? WHERE id = ?", (picture_hash, picture_id))
    catalogue.execute("DELETE FROM captions WHERE picture_id = ?", (picture_id,))
    catalogue.execute("DELETE FROM features WHERE picture_id = ?", (picture_id,))
    _update_current_caption(catalogue, picture_id)
    update_current_keywords(catalogue, picture_id)


def copy_edits(catalogue: Catalogue, source_ids: Sequence[int], picture_id: int) -> None:
    """Give a picture that the user has not edited the latest edits of other pictures, if any."""
    marks = ", ".join("?" * len(source_ids))
    for table, column in (("edits", "text"), ("keyword_edits", "keywords")):
        catalogue.execute(
            f"INSERT OR IGNORE INTO {table} (picture_id, {column}, created)"
            f" SELECT ?, {column}, created FROM {table} WHERE picture_id IN ({marks})"
            " ORDER BY created DESC LIMIT 1",
            (picture_id, *source_ids),
        )
    _update_current_caption(catalogue, picture_id)
    update_current_keywords(catalogue, picture_id)


def has_caption(catalogue: Catalogue, picture_id: int, model_id: str | None) -> bool:
    """Return whether a picture has a caption by a model, or by anybody if `model_id` is None.

    A model's caption that is older than keywords does not count.
    """
    if model_id is None:
        sql = "SELECT 1 FROM pictures WHERE id = ? AND caption IS NOT NULL"
        return catalogue.row(sql, (picture_id,)) is not None
    sql = "SELECT 1 FROM captions WHERE picture_id = ? AND model = ? AND keywords IS NOT NULL"
    return catalogue.row(sql, (picture_id, model_id)) is not None


def count_by_model(catalogue: Catalogue, folders: Sequence[Path]) -> dict[str, int]:
    """Return the number of photos in `folders` by the model of their caption, most photos first.

    Photos whose caption is by a person, and missing photos, do not count.
    """
    in_folders, parameters = paths_condition(folders)
    rows = catalogue.rows(
        f"""
        SELECT pictures.model, count(*) FROM files
        JOIN folders ON folders.id = files.folder_id
        JOIN pictures ON pictures.id = files.picture_id
        WHERE pictures.model IS NOT NULL AND missing_since IS NULL AND {in_folders}
        GROUP BY pictures.model ORDER BY count(*) DESC, pictures.model
        """,
        parameters,
    )
    return dict(rows)


def count_encoders(catalogue: Catalogue) -> int:
    """Return how many encoders have computed features of photos in the catalogue."""
    return int(catalogue.value("SELECT count(DISTINCT encoder) FROM features"))


def store_picture(
    catalogue: Catalogue, image_hash: bytes, exif: ExifInfo, size: tuple[int, int] | None
) -> int:
    """Store a picture, or update its size and EXIF values; return its id."""
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
    catalogue: Catalogue, picture_id: int, caption: Caption, pooled: Floats, ids: ModelIds
) -> None:
    """Store a model's caption and keywords of a picture and its pooled features."""
    catalogue.execute(
        """
        INSERT OR REPLACE INTO captions
            (picture_id, model, text, confidence, log_probability, created, keywords)
        VALUES (?, ?, ?, ?, ?, ?, ?)
        """,
        (
            picture_id,
            ids.model_id,
            caption.text,
            caption.confidence,
            caption.log_probability,
            now(),
            keywords_as_json(caption.keywords),
        ),
    )
    catalogue.execute(
        "INSERT OR REPLACE INTO features VALUES (?, ?, ?)",
        (picture_id, ids.encoder_id, quantize_features(pooled)),
    )
    _update_current_caption(catalogue, picture_id)
    update_current_keywords(catalogue, picture_id)


def store_edit(catalogue: Catalogue, picture_id: int, text: str | None) -> None:
    """Store the user's caption of a picture, or remove it (None)."""
    if text is None:
        catalogue.execute("DELETE FROM edits WHERE picture_id = ?", (picture_id,))
    else:
        catalogue.execute(
            "INSERT OR REPLACE INTO edits VALUES (?, ?, ?)", (picture_id, text, now())
        )
    _update_current_caption(catalogue, picture_id)


def quantize_features(vector: Floats) -> bytes:
    """Return a feature vector's direction, one signed byte for each channel."""
    largest = float(np.abs(vector).max()) or 1.0
    quantized = np.rint(vector * (127 / largest)).astype(np.int8)
    return bytes(quantized.tobytes())


def _update_current_caption(catalogue: Catalogue, picture_id: int) -> None:
    """Choose a picture's current caption and put it into the search index."""
    catalogue.execute(_SET_CURRENT_CAPTION, {"id": picture_id})
    catalogue.execute("DELETE FROM search WHERE rowid = ?", (picture_id,))
    caption: Any = catalogue.value("SELECT caption FROM pictures WHERE id = ?", (picture_id,))
    if caption is not None:
        catalogue.execute(
            "INSERT INTO search (rowid, caption) VALUES (?, ?)", (picture_id, segment_cjk(caption))
        )
