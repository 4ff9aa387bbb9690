"""What the catalogue knows of pictures: captions, a person's words, features, and which words hold.

All functions that write are called inside a transaction.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from showtell.bundle import ENCODER, REQUIRED, Bundle
from showtell.caption import Caption
from showtell.decoding.beam_search import Floats
from showtell.photos.catalogue.database import Catalogue, now
from showtell.photos.metadata.exif import Facts
from showtell.photos.metadata.image_hash import file_hash

# scripts that write no spaces: each letter is a word of its own, in the index and in a query
_UNSPACED = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff"
    "\uf900-\ufaff\U00020000-\U0003134f]"
)
_CONTROL = re.compile("[\0-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ufffe\uffff\ud800-\udfff]")
_REFRESH = """
    UPDATE pictures SET (caption, confidence, source, model) = (
        SELECT text, confidence, source, model FROM (
            SELECT text, NULL AS confidence, 'person' AS source, NULL AS model, 1 AS rank,
                   made, 0 AS latest
            FROM edits WHERE picture_id = :id
            UNION ALL
            SELECT text, confidence, 'model', model, 2, made, rowid
            FROM captions WHERE picture_id = :id
        ) ORDER BY rank, made DESC, latest DESC LIMIT 1
    ) WHERE id = :id
"""


@dataclass(frozen=True, slots=True)
class ModelName:
    """What captions and features are filed under: a name for people, hashes for sameness."""

    caption: str
    encoder: str

    @classmethod
    def of(cls, bundle: Bundle) -> ModelName:
        """Name the model of a bundle: `flickr8k@0a1b2c3d`, of the files that decide its words."""
        files = bundle.manifest.files
        decisive = "".join(files[name] for name in sorted(REQUIRED) if not name.endswith(".md"))
        name = bundle.manifest.name
        return cls(
            f"{name}@{file_hash(decisive.encode()).hex()[:8]}", f"{name}@{files[ENCODER][:8]}"
        )


def clean_words(text: str) -> str:
    """Return a person's words as XML, IPTC and SQLite can hold them: no control characters."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    return _CONTROL.sub("", text).strip()


def spaced(text: str) -> str:
    """Put spaces around each letter of the scripts that write none, for the search index."""
    return _UNSPACED.sub(r" \g<0> ", text)


def path_of(folder: bytes, name: bytes) -> Path:
    """Return a file's path from what the catalogue holds of it."""
    return Path(os.fsdecode(os.path.join(folder, name)))  # noqa: PTH118


def within(paths: Sequence[Path]) -> tuple[str, list[bytes]]:
    """Return SQL over `folders` and `files` for what lies in `paths` (folders or photos)."""
    if not paths:
        return "TRUE", []
    conditions, values = [], []
    for path in paths:
        # real, so that a library has one name whichever link leads to it
        place = os.fsencode(os.path.realpath(path))
        below = place.rstrip(b"/")
        conditions.append(
            "(folders.path = ? OR (folders.path >= ? AND folders.path < ?)"
            " OR (folders.path = ? AND files.name = ?))"
        )
        # "0" is the byte after "/": what begins with the folder's name and a slash
        values += [place, below + b"/", below + b"0", *real_place(path)]
    return f"({' OR '.join(conditions)})", values


def real_place(path: Path) -> tuple[bytes, bytes]:
    """Return the folder and name under which the catalogue holds a photo; links stay links."""
    folder, name = os.path.split(os.path.abspath(os.fspath(path)))  # noqa: PTH100
    return os.fsencode(os.path.realpath(folder)), os.fsencode(name)


def picture_of(catalogue: Catalogue, image_hash: bytes) -> int | None:
    """Return the picture of a hash, or None where it is new."""
    found = catalogue.value("SELECT id FROM pictures WHERE hash = ?", (image_hash,))
    return None if found is None else int(found)


def has_caption(catalogue: Catalogue, picture: int, model: str | None) -> bool:
    """Tell whether a picture has a caption: of `model`, or anyone's words where that is None."""
    if model is None:
        sql = "SELECT 1 FROM pictures WHERE id = ? AND caption IS NOT NULL"
        return catalogue.row(sql, (picture,)) is not None
    sql = "SELECT 1 FROM captions WHERE picture_id = ? AND model = ?"
    return catalogue.row(sql, (picture, model)) is not None


def store_picture(
    catalogue: Catalogue, image_hash: bytes, facts: Facts, size: tuple[int, int] | None
) -> int:
    """Enter a picture, or renew what its file says of itself; returns its number."""
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
        (image_hash, width, height, facts.taken, facts.latitude, facts.longitude),
    )
    return int(catalogue.value("SELECT id FROM pictures WHERE hash = ?", (image_hash,)))


def store_caption(
    catalogue: Catalogue, picture: int, caption: Caption, pooled: Floats, model: ModelName
) -> None:
    """Enter a model's caption and features of a picture."""
    catalogue.execute(
        "INSERT OR REPLACE INTO captions VALUES (?, ?, ?, ?, ?, ?)",
        (picture, model.caption, caption.text, caption.confidence, caption.log_probability, now()),
    )
    catalogue.execute(
        "INSERT OR REPLACE INTO features VALUES (?, ?, ?)",
        (picture, model.encoder, packed(pooled)),
    )
    refresh(catalogue, picture)


def store_edit(catalogue: Catalogue, picture: int, text: str | None) -> None:
    """Enter a person's words for a picture, or take them back (None)."""
    if text is None:
        catalogue.execute("DELETE FROM edits WHERE picture_id = ?", (picture,))
    else:
        catalogue.execute("INSERT OR REPLACE INTO edits VALUES (?, ?, ?)", (picture, text, now()))
    refresh(catalogue, picture)


def refresh(catalogue: Catalogue, picture: int) -> None:
    """Let the words that hold now, a person's or else the latest model's, be found."""
    catalogue.execute(_REFRESH, {"id": picture})
    catalogue.execute("DELETE FROM search WHERE rowid = ?", (picture,))
    words: Any = catalogue.value("SELECT caption FROM pictures WHERE id = ?", (picture,))
    if words is not None:
        catalogue.execute(
            "INSERT INTO search (rowid, caption) VALUES (?, ?)", (picture, spaced(words))
        )


def packed(vector: Floats) -> bytes:
    """Keep a feature vector's direction in one signed byte for each channel."""
    greatest = float(np.abs(vector).max()) or 1.0
    small = np.rint(vector * (127 / greatest)).astype(np.int8)
    return bytes(small.tobytes())
