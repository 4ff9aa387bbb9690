"""Find photos that look like a given photo, by the encoder's features."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from showtell.decoding.beam_search import Floats
from showtell.errors import CatalogueError
from showtell.photos.catalogue.database import Catalogue
from showtell.photos.catalogue.filters import PhotoFilter
from showtell.photos.catalogue.pictures import ModelIds, find_picture_id, quantize_features
from showtell.photos.catalogue.records import (
    RECORD_COLUMNS,
    PhotoRecord,
    find_file,
    record_from_row,
)
from showtell.photos.reading import read_photo

if TYPE_CHECKING:
    from showtell.captioner import Captioner

_CHUNK_SIZE = 4096  # vectors compared in one multiplication


def find_similar(
    catalogue: Catalogue,
    photo: Path,
    filters: PhotoFilter | None = None,
    *,
    load_captioner: Callable[[], Captioner],
    limit: int | None = None,
) -> Iterator[PhotoRecord]:
    """Yield the photos most similar to `photo`, best first, by the cosine of their features.

    The photo itself is left out. `load_captioner` is called if the photo is not in the catalogue.

    Raises PhotoError if the photo cannot be read, CatalogueError if no photo has features of the
    same encoder.
    """
    query_picture_id, encoder_id, vector = _query_features(catalogue, photo, load_captioner)
    picture_ids, cosines = _cosines(catalogue, encoder_id, vector)
    if not len(picture_ids):
        raise CatalogueError(
            f"{catalogue.display_path}: no photo has features of the model {encoder_id}:"
            " run showtell photos scan --recaption DIR, or give another --model"
        )
    condition, values = (filters or PhotoFilter()).sql_condition()
    count = 0
    for index in np.argsort(-cosines, kind="stable"):
        picture_id = int(picture_ids[index])
        if picture_id == query_picture_id:
            continue
        rows = catalogue.rows(
            f"""
            SELECT {RECORD_COLUMNS} FROM files
            JOIN folders ON folders.id = files.folder_id
            JOIN pictures ON pictures.id = files.picture_id
            WHERE files.picture_id = ? AND {condition} ORDER BY folders.path, files.name
            """,
            [picture_id, *values],
        )
        for row in rows:
            if limit is not None and count >= limit:
                return
            count += 1
            yield record_from_row(row, float(cosines[index]))


def _query_features(
    catalogue: Catalogue, photo: Path, load_captioner: Callable[[], Captioner]
) -> tuple[int | None, str, bytes]:
    """Return the ids of a photo's picture and encoder, and its features, computed if not stored."""
    file = find_file(catalogue, photo)
    if file is not None and file.picture_id is not None:
        picture_id = file.picture_id
        row = catalogue.row(
            "SELECT encoder, vector FROM features WHERE picture_id = ?", (picture_id,)
        )
        if row is not None:
            return picture_id, row[0], row[1]
    captioner = load_captioner()
    content = read_photo(photo, captioner.bundle.manifest.preprocessing, lambda _: True)
    assert content.pixels is not None
    [(_, pooled)] = captioner.caption_pixels(content.pixels[None], [photo])
    encoder_id = ModelIds.of(captioner.bundle).encoder_id
    return find_picture_id(catalogue, content.hash), encoder_id, quantize_features(pooled)


def _cosines(
    catalogue: Catalogue, encoder_id: str, vector: bytes
) -> tuple[NDArray[np.int64], Floats]:
    """Return the ids of the pictures with an encoder's features, and each cosine to `vector`."""
    query = np.frombuffer(vector, np.int8).astype(np.float32)  # (channels,)
    query /= np.linalg.norm(query) or 1
    picture_ids: list[NDArray[np.int64]] = []
    cosines: list[Floats] = []
    rows = catalogue.rows(
        "SELECT picture_id, vector FROM features WHERE encoder = ? AND length(vector) = ?",
        (encoder_id, len(vector)),
    )
    while chunk := [row for row, _ in zip(rows, range(_CHUNK_SIZE), strict=False)]:
        features = np.frombuffer(b"".join(row[1] for row in chunk), np.int8).astype(np.float32)
        features = features.reshape(len(chunk), -1)  # (chunk, channels)
        norms = np.sqrt(np.einsum("ij,ij->i", features, features))  # (chunk,)
        cosines.append((features @ query) / np.maximum(norms, 1e-9))
        picture_ids.append(np.array([row[0] for row in chunk], np.int64))
    if not picture_ids:
        return np.empty(0, np.int64), np.empty(0, np.float32)
    return np.concatenate(picture_ids), np.concatenate(cosines)
